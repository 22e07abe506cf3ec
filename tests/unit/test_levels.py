"""The three levels: marks worked out by hand, prompts that keep the paper's rules, and batches that
change no answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.analyses import levels as asking
from lib.data import fewshot
from lib.data.worlds import World
from lib.measures import levels
from tests import tiny

WORLD = World(topics=1)


def test_marks_worked_out_by_hand():
    """Five tokens, legal are 3 and 4; the label is 3. One row each: right; the other label; no
    label, though 3 leads among the legal ones."""
    p = torch.tensor(
        [[0.1, 0.1, 0.1, 0.5, 0.2], [0.1, 0.1, 0.1, 0.2, 0.5], [0.6, 0.05, 0.05, 0.2, 0.1]]
    )
    marks = levels.graded(p.log(), torch.tensor([3, 3, 3]), torch.tensor([3, 4]))
    assert marks["answer"].tolist() == [3, 4, 0]
    assert marks["in_format"].tolist() == [True, True, False]
    assert marks["right"].tolist() == [True, False, False]
    assert marks["right_among_legal"].tolist() == [True, False, True]
    torch.testing.assert_close(marks["legal_mass"], torch.tensor([0.7, 0.7, 0.3]))
    torch.testing.assert_close(marks["p_right"], torch.tensor([0.5, 0.2, 0.2]))


def test_a_label_that_is_not_legal_is_refused():
    with pytest.raises(ValueError, match="every label"):
        levels.graded(torch.zeros(1, 5), torch.tensor([1]), torch.tensor([3, 4]))


def test_loss_reduction_as_printed_and_scaled():
    """Losses that fall by one a token fall by the distance of the two stretches: 50 and 450 as
    printed; 31 and 56 in a text of 63 losses."""
    falling = -torch.arange(500.0)[None]
    assert levels.loss_reduction(falling, 50, 50).tolist() == [-50]
    assert levels.loss_reduction(falling, 50, 450).tolist() == [-450]
    assert levels.loss_reduction(falling[:, :63], 50, 50).tolist() == [-31]
    assert levels.loss_reduction(falling[:, :63], 50, 450).tolist() == [-56]
    assert levels.windows(63, 50, 450) == (6, 56)


def test_questions_are_balanced_and_never_among_their_examples(rng):
    for task, classes in (("binary", 2), ("four", 4), ("nine", 9), ("part-whole", 2)):
        asked = fewshot.questions(WORLD, rng, task, 20, 90)
        counts = np.unique(asked.label, return_counts=True)[1]
        assert len(counts) == classes and counts.max() - counts.min() <= 1
        lines = asked.tokens[:, 1:].numpy()
        shown = lines[:, :60].reshape(90, 20, 3)[..., :2]
        assert not (shown == lines[:, None, 60:]).all(2).any()


def test_questions_draw_again_where_a_line_would_stand_among_its_examples(rng):
    """Of 14 words on three classes some occur twice; with one word a line this happens often."""
    asked = fewshot.questions(WORLD, rng, "three", 14, 60)
    assert not (asked.tokens[:, 1:-1:2] == asked.tokens[:, -1:]).any()


def test_shuffled_prompts_keep_all_but_what_goes_with_what(rng):
    asked = fewshot.questions(WORLD, rng, "four", 10, 30)
    dealt = fewshot.shuffled(asked, rng)
    labels, others = asked.tokens[:, 3::3], dealt.tokens[:, 3::3]
    assert torch.equal(labels.sort(1).values, others.sort(1).values)
    assert 0.1 < (labels == others).float().mean() < 0.5
    kept = torch.arange(asked.tokens.shape[1]) % 3 != 0
    assert torch.equal(asked.tokens[:, kept], dealt.tokens[:, kept])
    assert torch.equal(dealt.label, asked.label)


def cell(lengths: list[int], seed: int = 0) -> fewshot.Prompts:
    """Random prompts of a tiny model, of several lengths, padded."""
    tokens = tiny.tokens(len(lengths), max(lengths), seed)
    for row, length in zip(tokens, lengths, strict=True):
        row[length:] = 0
    label = torch.tensor([7, 8] * len(lengths))[: len(lengths)]
    return fewshot.Prompts(
        "any", 0, tokens, torch.tensor(lengths) - 1, label, torch.tensor([7, 8]), 2
    )


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "organism"])
def test_batches_give_what_one_prompt_at_a_time_gives(family):
    opened, asked = tiny.opened(family), [cell([5, 9, 5]), cell([9, 3], seed=2)]
    marks = asking.answered(opened, asked, batch=12)
    for given, marked in zip(asked, marks, strict=True):
        for row, last in enumerate(given.last.tolist()):
            with torch.no_grad():
                logits = opened.module(given.tokens[row : row + 1, : last + 1]).logits[0, -1]
            p = logits.softmax(-1)
            assert marked["answer"][row] == logits.argmax()
            torch.testing.assert_close(marked["legal_mass"][row], p[7] + p[8])
            torch.testing.assert_close(marked["p_right"][row], p[given.label[row]])


def test_only_cells_that_the_context_holds_are_asked(rng):
    asked = asking.questions(WORLD, rng, ("binary", "nine"), (0, 20, 21), 9)
    assert [(c.task, c.shots) for c in asked] == [
        (task, shots) for task in ("binary", "nine") for shots in (0, 20)
    ]
