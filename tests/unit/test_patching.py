"""Patching, blinding and gradients: identities that hold for any model."""

from __future__ import annotations

import pytest
import torch

from lib.analyses.importance import within_layers
from lib.tracing import ablation, capture, patching
from tests import tiny

TOKENS = torch.randint(1, 50, (3, 7), generator=torch.Generator().manual_seed(0))
LAST = torch.full((3,), 6)


@pytest.fixture(scope="module", params=["gpt2", "gpt_neox", "qwen2"])
def opened(request):
    return tiny.opened(request.param)


def test_an_empty_intervention_changes_no_bit(opened):
    nothing = ablation.sets([[]], opened)
    found = patching.run(opened, TOKENS, nothing, LAST)[0]
    torch.testing.assert_close(found, capture.logits(opened, TOKENS)[:, -1], rtol=0, atol=1e-5)
    again = patching.run(opened, TOKENS, nothing, LAST, hide=torch.zeros(3, 7, 7).bool())
    assert torch.equal(again[0], found)


def test_a_head_that_says_what_it_says_anyway_changes_nothing(opened):
    own = ablation.outputs(opened, TOKENS)
    sets = patching.every_head(opened)
    clean = patching.run(opened, TOKENS, torch.zeros_like(sets[:1]), LAST)
    found = patching.run(opened, TOKENS, sets, LAST, own)
    torch.testing.assert_close(found, clean.expand_as(found))


def test_all_heads_from_another_prompt_give_its_answer_where_the_last_tokens_agree(opened):
    other = TOKENS.roll(1, 0).clone()
    other[:, -1] = TOKENS[:, -1]
    everything = torch.ones(1, opened.n_layers, opened.n_heads, dtype=torch.bool)
    given = ablation.outputs(opened, other)
    found = patching.run(opened, TOKENS, everything, LAST, given)[0]
    wanted = capture.logits(opened, other)[:, -1]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_place_is_replaced_and_no_other(opened):
    first = torch.zeros(3, 7, dtype=torch.bool)
    first[:, -1] = True
    everything = torch.ones(1, opened.n_layers, opened.n_heads, dtype=torch.bool)
    losses = patching.run(opened, TOKENS, everything, at=first)[0]
    # The loss of a token hangs on the places before it, and the last place predicts nothing here.
    torch.testing.assert_close(losses, capture.token_losses(opened, TOKENS), rtol=0, atol=1e-5)


def test_each_prompt_is_read_where_it_ends(opened):
    nothing = ablation.sets([[]], opened)
    last = torch.tensor([6, 4, 2])
    found = patching.run(opened, TOKENS, nothing, last)[0]
    wanted = capture.logits(opened, TOKENS)[torch.arange(3), last]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_hidden_keys_are_not_looked_at_and_the_rest_is_scaled_up():
    pattern = torch.tensor([[0.1, 0.2, 0.1, 0.5, 0.1]])
    hide = torch.tensor([[False, False, False, True, True]])
    found = patching.without_keys(pattern, hide)
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.5, 0.25, 0.0, 0.0]]))
    assert patching.without_keys(pattern, torch.ones(1, 5).bool()).abs().sum() == 0


def test_a_gradient_is_the_slope_of_the_answer(opened):
    def answer(logits):
        return logits[:, 3] - logits[:, 4]

    slope = patching.gradients(opened, TOKENS, LAST, answer)
    z, step = ablation.outputs(opened, TOKENS), 1e-2
    sets = patching.every_head(opened)
    there, back = (
        answer(patching.run(opened, TOKENS, sets[-1:], LAST, z + way * step)[0]) for way in (1, -1)
    )
    first_order = slope[-1, :, :, -1].sum((1, 2))
    torch.testing.assert_close((there - back) / (2 * step), first_order, rtol=0.05, atol=1e-3)


def test_ranks_within_layers_forget_the_layer():
    score = torch.tensor([[1.0, 2.0, 3.0], [30.0, 10.0, 10.0]])
    wanted = torch.tensor([[-0.5, 0.0, 0.5], [0.5, -0.25, -0.25]])
    torch.testing.assert_close(within_layers(score), wanted)
