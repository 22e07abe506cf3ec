"""Interventions against plain torch hooks that do the same thing by hand, and no-ops that change
not one bit."""

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lib.tracing import ablation, capture
from tests import tiny

FAMILIES = list(tiny.FAMILIES)
GROUPS = [[], [(0, 1)], [(1, 3), (2, 0)], [(2, h) for h in range(tiny.HEADS)]]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_intervention_changes_no_bit(family):
    opened, ids = tiny.opened(family), tiny.tokens()
    plain = capture.token_losses(opened, ids)
    assert torch.equal(ablation.run(opened, ids, ablation.sets([[]], opened))[0], plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pattern_clamped_to_itself_changes_no_bit(family):
    opened, ids = tiny.opened(family), tiny.tokens()
    plain, patterns, nothing = (
        capture.token_losses(opened, ids),
        capture.patterns(opened, ids),
        ablation.sets([[]], opened),
    )
    assert torch.equal(ablation.run(opened, ids, nothing, hold=patterns)[0], plain)
    assert torch.equal(
        ablation.run(opened, ids, nothing, put={(1, 2): patterns[1][:, 2]})[0], plain
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_removed_heads_write_nothing(family):
    opened, ids = tiny.opened(family), tiny.tokens()
    found = ablation.run(opened, ids, ablation.sets(GROUPS, opened))
    for heads, losses in zip(GROUPS, found, strict=True):

        def without(layer, z, heads=heads):
            z[:, :, [h for at, h in heads if at == layer]] = 0
            return z

        with tiny.edited(opened, without):
            torch.testing.assert_close(losses, tiny.losses(opened, ids))
    assert len({round(float(x.mean()), 5) for x in found}) == len(
        GROUPS
    )  # each set of heads matters


@pytest.mark.parametrize("family", FAMILIES)
def test_without_all_its_heads_a_layer_has_no_attention(family):
    """All that is left of attention is the bias of its output projection."""
    opened, ids = tiny.opened(family), tiny.tokens()
    found = ablation.run(
        opened, ids, ablation.sets([[(1, h) for h in range(opened.n_heads)]], opened)
    )[0]
    projection = tiny.projection_of(opened, 1)
    bias = torch.zeros(opened.d_model) if projection.bias is None else projection.bias
    handle = projection.register_forward_hook(lambda module, inputs, output: bias.expand_as(output))
    try:
        torch.testing.assert_close(found, tiny.losses(opened, ids))
    finally:
        handle.remove()


@pytest.mark.parametrize("family", ["gpt2", "llama", "organism"])
def test_interventions_side_by_side_equal_one_by_one(family):
    opened, ids = tiny.opened(family), tiny.tokens()
    removed, hold = ablation.sets(GROUPS, opened), capture.patterns(opened, ids)
    put = {(0, 2): ablation.previous_pattern(ids.shape[1])}
    donors = ablation.outputs(opened, ids).roll(1, 1)
    for keywords in ({}, {"hold": hold}, {"put": put}, {"replacement": donors}):
        together = ablation.run(opened, ids, removed, **keywords, side_by_side=3)
        alone = torch.cat([ablation.run(opened, ids, row[None], **keywords) for row in removed])
        torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("family", ["gpt2", "llama", "organism"])
@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_replacements_stand_where_the_head_stood(family, kind):
    opened, ids, heads = tiny.opened(family), tiny.tokens(), [(0, 1), (2, 3)]
    own = ablation.outputs(opened, ids)
    donors = own.mean((1, 2), keepdim=True) if kind == "mean" else own.roll(1, 1)
    found = ablation.run(opened, ids, ablation.sets([heads, []], opened), replacement=donors)

    def replaced(layer, z):
        picked = [h for at, h in heads if at == layer]
        z[:, :, picked] = donors[layer].expand_as(own[layer])[:, :, picked]
        return z

    # The second head's donor comes from an untouched run, as in the run under test.
    with tiny.edited(opened, replaced):
        torch.testing.assert_close(found[0], tiny.losses(opened, ids))
    torch.testing.assert_close(found[1], tiny.losses(opened, ids))


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "organism"])
def test_held_patterns_stay_when_earlier_heads_go(family, monkeypatch):
    """Against an attention function of transformers' own registry that never computes a pattern."""
    opened, ids = tiny.opened(family), tiny.tokens()
    patterns, gone = capture.patterns(opened, ids), [(0, 0), (1, 2)]
    put = {(2, 1): ablation.previous_pattern(ids.shape[1])}
    found = ablation.run(opened, ids, ablation.sets([gone], opened), hold=patterns, put=put)[0]

    def held(module, query, key, value, *_, **__):
        pattern = patterns[module.layer_idx].clone()
        for (layer, head), ideal in put.items():
            if layer == module.layer_idx:
                pattern[:, head] = ideal
        groups = query.shape[1] // value.shape[1]
        return torch.einsum("bhqk,bhkd->bqhd", pattern, value.repeat_interleave(groups, 1)), pattern

    def without(layer, z):
        z[:, :, [h for at, h in gone if at == layer]] = 0
        return z

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "held", held)
    monkeypatch.setattr(opened.module.config, "_attn_implementation", "held")
    with tiny.edited(opened, without):
        by_hand = tiny.losses(opened, ids)
    monkeypatch.setattr(opened.module.config, "_attn_implementation", "eager")
    torch.testing.assert_close(found, by_hand)
    with tiny.edited(opened, without):  # holding patterns is not the same as removing heads
        assert (found - tiny.losses(opened, ids)).abs().max() > 1e-3


def test_any_measure_of_the_logits():
    opened, ids = tiny.opened("llama"), tiny.tokens()
    found = ablation.run(
        opened,
        ids,
        ablation.sets([[]], opened),
        measure=lambda logits, tokens: logits[:, -1].argmax(-1).float(),
    )
    assert torch.equal(found[0], opened.module(ids).logits[:, -1].argmax(-1).float())


def test_ideal_patterns():
    assert ablation.previous_pattern(3).tolist() == [[[1, 0, 0], [1, 0, 0], [0, 1, 0]]]
    target = torch.tensor([[[False, False, False], [True, False, False], [True, True, False]]])
    assert ablation.spread(target).tolist() == [[[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]]


@pytest.mark.parametrize("head", [(3, 0), (0, 4), (-1, 0)])
def test_a_head_that_the_model_does_not_have(head):
    with pytest.raises(ValueError, match=rf"Head {head[0]}\.{head[1]} is not in"):
        ablation.sets([[head]], tiny.opened("gpt2"))
