"""Interventions against plain torch hooks that do the same thing by hand, no-ops that change not
one bit, and identities that hold for any model."""

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lib.analyses.importance import within_layers
from lib.tracing import capture
from lib.tracing.clamping import Hold
from lib.tracing.interventions import (
    Hide,
    Put,
    Replace,
    Silence,
    every_head,
    gradients,
    held,
    outputs,
    patterns,
    previous_pattern,
    run,
    sets,
    spread,
    without_keys,
)
from tests import tiny

FAMILIES = list(tiny.FAMILIES)
GROUPS = [[], [(0, 1)], [(1, 3), (2, 0)], [(2, h) for h in range(tiny.HEADS)]]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_intervention_changes_no_bit(family):
    opened, ids = tiny.opened(family), tiny.tokens()
    plain = capture.token_losses(opened, ids)
    assert torch.equal(run(opened, ids)[0], plain)
    assert torch.equal(run(opened, ids, [Silence(sets([[]], opened))])[0], plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pattern_clamped_to_itself_changes_no_bit(family):
    opened, ids = tiny.opened(family), tiny.tokens()
    plain, own = capture.token_losses(opened, ids), capture.patterns(opened, ids)
    assert torch.equal(run(opened, ids, held(own))[0], plain)
    assert torch.equal(run(opened, ids, [Put(sets([[(1, 2)]], opened), own[1][:, 2])])[0], plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_removed_heads_write_nothing(family):
    opened, ids = tiny.opened(family), tiny.tokens()
    found = run(opened, ids, [Silence(sets(GROUPS, opened))])
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
    layer = sets([[(1, head) for head in range(opened.n_heads)]], opened)
    found = run(opened, ids, [Silence(layer)])[0]
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
    donors, keys = outputs(opened, ids).roll(1, 1), torch.eye(ids.shape[1]).bool()[None]
    put = Put(sets([[(0, 2)]], opened), previous_pattern(ids.shape[1]))
    for kind, more in (
        (Silence, []),
        (Silence, held(capture.patterns(opened, ids))),
        (Silence, [put]),
        (lambda heads: Replace(heads, donors), []),
        (lambda heads: Hide(heads, keys.expand(len(ids), -1, -1)), []),
    ):
        every = sets(GROUPS, opened)
        together = run(opened, ids, [kind(every), *more], side_by_side=3)
        alone = [run(opened, ids, [kind(row[None]), *more]) for row in every]
        torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("family", ["gpt2", "llama", "organism"])
@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_replacements_stand_where_the_head_stood(family, kind):
    opened, ids, heads = tiny.opened(family), tiny.tokens(), [(0, 1), (2, 3)]
    own = outputs(opened, ids)
    donors = own.mean((1, 2), keepdim=True) if kind == "mean" else own.roll(1, 1)
    found = run(opened, ids, [Replace(sets([heads, []], opened), donors)])

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
    before, gone = capture.patterns(opened, ids), [(0, 0), (1, 2)]
    ideal = previous_pattern(ids.shape[1])
    put = Put(sets([[(2, 1)]], opened), ideal)
    found = run(opened, ids, [Silence(sets([gone], opened)), *held(before), put])[0]

    def eager(module, query, key, value, *_, **__):
        pattern = before[module.layer_idx].clone()
        if module.layer_idx == 2:
            pattern[:, 1] = ideal
        groups = query.shape[1] // value.shape[1]
        return torch.einsum("bhqk,bhkd->bqhd", pattern, value.repeat_interleave(groups, 1)), pattern

    def without(layer, z):
        z[:, :, [h for at, h in gone if at == layer]] = 0
        return z

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "held", eager)
    monkeypatch.setattr(opened.module.config, "_attn_implementation", "held")
    with tiny.edited(opened, without):
        by_hand = tiny.losses(opened, ids)
    monkeypatch.setattr(opened.module.config, "_attn_implementation", "eager")
    torch.testing.assert_close(found, by_hand)
    with tiny.edited(opened, without):  # holding patterns is not the same as removing heads
        assert (found - tiny.losses(opened, ids)).abs().max() > 1e-3


def test_any_measure_of_the_logits():
    opened, ids = tiny.opened("llama"), tiny.tokens()
    found = run(opened, ids, measure=lambda logits, _: logits[:, -1].argmax(-1).float())
    assert torch.equal(found[0], opened.module(ids).logits[:, -1].argmax(-1).float())


def test_ideal_patterns():
    assert previous_pattern(3).tolist() == [[[1, 0, 0], [1, 0, 0], [0, 1, 0]]]
    target = torch.tensor([[[False, False, False], [True, False, False], [True, True, False]]])
    assert spread(target).tolist() == [[[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0]]]


@pytest.mark.parametrize("head", [(3, 0), (0, 4), (-1, 0)])
def test_a_head_that_the_model_does_not_have(head):
    with pytest.raises(ValueError, match=rf"Head {head[0]}\.{head[1]} is not in"):
        sets([[head]], tiny.opened("gpt2"))


# --- patching, blinding, gradients ---

TOKENS = torch.randint(1, 50, (3, 7), generator=torch.Generator().manual_seed(0))
LAST = torch.full((3,), 6)


@pytest.fixture(scope="module", params=["gpt2", "gpt_neox", "qwen2"])
def opened(request):
    return tiny.opened(request.param)


def everything(opened):
    return torch.ones(1, opened.n_layers, opened.n_heads, dtype=torch.bool)


def test_heads_that_are_hidden_nothing_say_what_they_say_anyway(opened):
    found = run(opened, TOKENS, last=LAST)[0]
    torch.testing.assert_close(found, capture.logits(opened, TOKENS)[:, -1], rtol=0, atol=1e-5)
    nothing = torch.zeros(3, 7, 7, dtype=torch.bool)
    assert torch.equal(run(opened, TOKENS, [Hide(sets([[]], opened), nothing)], LAST)[0], found)
    hidden = run(opened, TOKENS, [Hide(everything(opened), nothing)], LAST)[0]
    torch.testing.assert_close(hidden, found)


def test_heads_that_others_are_hidden_from_see_as_before(opened):
    """The hidden keys of one head leave its neighbours in the layer to the bit."""
    keys = torch.ones(3, 7, 7).tril(-1).bool()
    own = patterns(opened, TOKENS, [])
    found = patterns(opened, TOKENS, [Hide(sets([[(1, 2)]], opened), keys)])
    assert torch.equal(own, capture.patterns(opened, TOKENS))
    assert torch.equal(found[0], own[0]) and torch.equal(
        found[1][:, [0, 1, 3]], own[1][:, [0, 1, 3]]
    )
    assert torch.equal(found[1][:, 2], torch.eye(7).expand(3, -1, -1))
    assert not torch.equal(found[2], own[2])


def test_a_head_that_says_what_it_says_anyway_changes_nothing(opened):
    clean = run(opened, TOKENS, last=LAST)
    found = run(opened, TOKENS, [Replace(every_head(opened), outputs(opened, TOKENS))], LAST)
    torch.testing.assert_close(found, clean.expand_as(found))


def test_all_heads_from_another_prompt_give_its_answer_where_the_last_tokens_agree(opened):
    other = TOKENS.roll(1, 0).clone()
    other[:, -1] = TOKENS[:, -1]
    given = outputs(opened, other)
    found = run(opened, TOKENS, [Replace(everything(opened), given)], LAST)[0]
    wanted = capture.logits(opened, other)[:, -1]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_place_is_replaced_and_no_other(opened):
    first = torch.zeros(3, 7, dtype=torch.bool)
    first[:, -1] = True
    zero = torch.zeros(opened.n_layers, 1, 1, opened.n_heads, opened.d_head)
    losses = run(opened, TOKENS, [Replace(everything(opened), zero, first)])[0]
    # The loss of a token hangs on the places before it, and the last place predicts nothing here.
    torch.testing.assert_close(losses, capture.token_losses(opened, TOKENS), rtol=0, atol=1e-5)


def test_each_prompt_is_read_where_it_ends(opened):
    last = torch.tensor([6, 4, 2])
    found = run(opened, TOKENS, last=last)[0]
    wanted = capture.logits(opened, TOKENS)[torch.arange(3), last]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_hidden_keys_are_not_looked_at_and_the_rest_is_scaled_up():
    pattern = torch.tensor([[0.1, 0.2, 0.1, 0.5, 0.1]])
    hide = torch.tensor([[False, False, False, True, True]])
    found = without_keys(pattern, hide)
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.5, 0.25, 0.0, 0.0]]))
    assert without_keys(pattern, torch.ones(1, 5).bool()).abs().sum() == 0


def test_a_gradient_is_the_slope_of_the_answer(opened):
    def answer(logits, prompts=None):
        return logits[:, 3] - logits[:, 4]

    slope = gradients(opened, TOKENS, LAST, answer)
    z, step = outputs(opened, TOKENS), 1e-2
    head = every_head(opened)[-1:]
    there, back = (
        answer(run(opened, TOKENS, [Replace(head, z + way * step)], LAST)[0]) for way in (1, -1)
    )
    first_order = slope[-1, :, :, -1].sum((1, 2))
    torch.testing.assert_close((there - back) / (2 * step), first_order, rtol=0.05, atol=1e-3)


def test_ranks_within_layers_forget_the_layer():
    score = torch.tensor([[1.0, 2.0, 3.0], [30.0, 10.0, 10.0]])
    wanted = torch.tensor([[-0.5, 0.0, 0.5], [0.5, -0.25, -0.25]])
    torch.testing.assert_close(within_layers(score), wanted)


# --- clamps in general ---


def test_clamps_act_one_after_another(opened):
    """At each place as listed: the last word counts, and a replaced head is silenced again."""
    heads, given = sets([[(1, 1), (2, 0)]], opened), outputs(opened, TOKENS).roll(1, 1)
    silent = run(opened, TOKENS, [Silence(heads)])
    replaced = run(opened, TOKENS, [Replace(heads, given)])
    assert torch.equal(run(opened, TOKENS, [Replace(heads, given), Silence(heads)]), silent)
    assert torch.equal(run(opened, TOKENS, [Silence(heads), Replace(heads, given)]), replaced)


def test_what_cannot_stand_side_by_side_is_named(opened):
    many, few = Silence(every_head(opened)), Silence(sets([[], [(0, 0)]], opened))
    with pytest.raises(ValueError, match="Clamps of 2, 12 sets cannot stand side by side"):
        run(opened, TOKENS, [many, few])
    with pytest.raises(ValueError, match="no place 7.pattern"):
        run(opened, TOKENS, [Hold("7.pattern", torch.ones(3, 4, 7, 7))])
