"""What the chapter on detectors of others needs from lib, against literal computation and the
truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.analyses import detection, wild
from lib.models import opening, planted_wild
from lib.tracing import capture
from tests import tiny


@pytest.fixture(scope="module")
def made():
    return planted_wild.decoys(context=256)


@pytest.fixture(scope="module")
def hand(made):
    return opening.open_model(made.model, tokenizer=made.tokenizer)


def test_our_detector_names_the_planted_heads_and_no_decoy(made, hand):
    found = detection.detect(
        hand, np.random.default_rng(0), [20, 50, 80], 3, examples=4, resamples=200
    )
    assert set(found.of("induction head")) == set(made.truth["induction head"])
    assert set(found.of("positional copier")) == set(made.truth["positional copier"])


def test_one_of_them_rests_on_the_first_token_where_nothing_matches(hand):
    tokens = detection.random_repeats(hand, np.random.default_rng(0), 30, 2, 3)
    first = capture.patterns(hand, tokens)[..., :31, 0].mean((1, 3))  # nothing has stood before
    assert first[1, 6] > 0.99 and first[1, 2] < 0.2


def test_tokens_read_again_are_others_with_the_same_words(made, hand):
    tokens = detection.random_repeats(hand, np.random.default_rng(0), 50, 2, 3)
    for row, read in zip(tokens, wild.read_again(made.tokenizer, tokens), strict=True):
        assert read[0, 0] == row[0] and read.shape[1] != len(row)
        assert made.tokenizer.decode(read[0, 1:]) == made.tokenizer.decode(row[1:])
    score = detection.attention_scores(hand, read, np.random.default_rng(0))["prefix"]
    assert score[0, 1, 2] > 0.9  # on what it was really fed the head does what it does


def test_what_comes_again_stood_so_far_before():
    tokens = torch.arange(40).reshape(1, -1)
    again = wild.coming_again(tokens, length=5, distance=12)
    assert again[0, :35].tolist() == list(range(35))
    assert again[0, 35:].tolist() == list(range(23, 28))


def test_slices_are_cut_after_the_projection_and_heads_before_it():
    opened, ids = tiny.opened("gpt2"), tiny.tokens(2, 8)
    slices, heads = wild.removed_slices(opened, ids), wild.removed_heads(opened, ids)
    block = tiny.attention_of(opened, 1)
    width = opened.d_model // opened.n_heads

    def cut(module, inputs, output):
        output[0][..., 2 * width : 3 * width] = 0
        return output

    hook = block.register_forward_hook(cut)
    expected = tiny.losses(opened, ids)
    hook.remove()
    torch.testing.assert_close(slices[1, 2], expected)

    def silent(layer, z):
        z[:, :, 2] *= layer != 1
        return z

    with tiny.edited(opened, silent):
        expected = tiny.losses(opened, ids)
    torch.testing.assert_close(heads[1, 2], expected)
    assert not torch.allclose(slices, heads, atol=1e-3)
    torch.testing.assert_close(tiny.losses(opened, ids), capture.token_losses(opened, ids))


def test_a_summary_counts_what_is_found_missed_and_named_besides(made):
    right = torch.zeros(2, 8, dtype=torch.bool)
    right[1, 2] = right[1, 6] = True
    half = torch.zeros_like(right)
    half[1, 2] = half[1, 4] = half[0, 1] = half[0, 2] = True
    found = wild.verdicts(made, {"right": right, "half": half})
    rows = wild.summary(found, ["right", "half"]).set_index("way")
    assert rows.loc["right"].tolist() == [2, 0, "–"]
    assert rows.loc["half", ["found", "missed"]].tolist() == [1, 1]
    assert "1.4 anti-copying" in rows.loc["half", "named besides"]
    assert "22 % of the noise" in rows.loc["half", "named besides"]
    assert found.groupby("way").wanted.sum().tolist() == [2, 2]
