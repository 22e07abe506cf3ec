"""The three levels: marks worked out by hand, prompts that keep the paper's rules, and batches that
change no answer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.analyses import level_parts
from lib.analyses import levels as asking
from lib.data import english_fewshot, fewshot
from lib.data.worlds import World
from lib.measures import levels
from lib.models import opening
from lib.report import claims
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


def test_beyond_guessing_is_nothing_for_form_alone_and_all_for_the_pattern():
    """Two classes: a right answer counts 1/2, the other label -1/2, any other token 0."""
    marks = {
        "right": torch.tensor([True, False, False]),
        "answer": torch.tensor([3, 4, 0]),
    }
    own = torch.tensor([3, 4])
    assert levels.beyond_guessing(marks, own).tolist() == [0.5, -0.5, 0]


def test_bias_and_fewest_shots_worked_out_by_hand():
    """Of four answers three are token 3 and one is no label, of two labels each due in half."""
    found = levels.bias(torch.tensor([3, 3, 3, 0]), torch.tensor([3, 4]))
    assert found.tolist() == [0.25, -0.5]
    shots, share = torch.tensor([0, 1, 5]), torch.tensor([[0.1, 0.9, 0.7], [0.0, 0.5, 0.79]])
    few = levels.fewest(shots, share)
    assert few[0] == 1 and few[1].isnan()


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


def made_course(right_from: float, form_from: float, tasks=level_parts.TASKS) -> asking.Course:
    """A model of which is known when it learns what: from one step on its answers are labels, any
    in turn, from another on they are right. Snapshots every 50 steps, 20 shots, 36 prompts a task;
    losses fall by one nat between steps 200 and 300."""
    steps = torch.arange(0.0, 1001.0, 50)
    label = torch.arange(36) % 18  # as often each of 2 and of 9 classes
    asked, right, answer = [], [], []
    for task in tasks:
        classes = fewshot.classes_of(task)
        due, legal = label % classes, torch.arange(10)
        tokens = torch.zeros(36, 63, dtype=torch.int64)
        asked.append(fewshot.Prompts(task, 20, tokens, torch.full((36,), 62), due, legal, classes))
        turn = torch.arange(36).div(18, rounding_mode="floor")  # says nothing of the class
        said = torch.where(steps[:, None] >= form_from, turn % classes, 11)
        said = torch.where(steps[:, None] >= right_from, due, said)
        answer.append(said)
        right.append(said == due)
    form = torch.stack(answer, 1) < 10
    marks = {"answer": torch.stack(answer, 1), "right": torch.stack(right, 1), "in_format": form}
    fall = ((steps - 200) / 100).clamp(0, 1)
    losses = torch.zeros(len(steps), 8, 60)
    losses[:, :, 30:] -= fall[:, None, None]
    return asking.Course(0, steps, asked, marks, losses)


def parts_of(course: asking.Course, rng) -> level_parts.Parts:
    return level_parts.Parts(course, rng, 200)


def test_onsets_of_levels_come_out_where_they_were_put(rng):
    """Between two snapshots a step is half-way: 300 is learnt between 250 and 300, and so on."""
    ask = parts_of(made_course(right_from=600, form_from=100), rng)
    form = ask.onset("", ask.format(["binary"]), level_parts.half)
    pattern = ask.onset("", ask.pattern(["binary", "nine"]), level_parts.half)
    assert (form.value, pattern.value) == (75, 575)
    loss = ask.onset("", ask.loss(), level_parts.half)
    begun = ask.onset("", ask.loss(), level_parts.tenth)
    assert loss.value == pytest.approx(250) and begun.value == pytest.approx(210)
    late = ask.onset("", ask.delayed(ask.loss()), level_parts.half)
    assert late.value == pytest.approx(350)


def test_form_alone_is_no_pattern_discovery(rng):
    """Answers that are labels in turn are right in half of all binary prompts, and reach nothing:
    the last step stands for never."""
    course = made_course(right_from=2000, form_from=100)
    assert course.curve("right", "binary", 20)[:, -1].mean() == 0.5
    ask = parts_of(course, rng)
    assert ask.pattern(["binary"]).mean(0).abs().max() < 1e-6
    never = ask.onset("", ask.pattern(["binary"]), level_parts.reach(0.5))
    assert never.value == never.low == 1000


RULES = claims.load()


@pytest.mark.parametrize(("right_from", "verdict"), [(600, "reproduced"), (100, "not reproduced")])
def test_the_rule_of_order_follows_what_was_planted(right_from, verdict, rng):
    """Right 500 steps after the form passes, right as soon as the form is there does not."""
    ask = parts_of(made_course(right_from, form_from=100), rng)
    found = ask.later("x", ask.pattern(["binary"]), ask.format(["binary"]), level_parts.half)
    rule = RULES["R6"].parts["format-before-pattern"]
    assert claims.verdict_of(rule, [found], 1) == verdict


def test_a_series_whose_steps_are_out_of_the_cells_is_named():
    with pytest.raises(ValueError, match="was not asked"):
        made_course(600, 100).curve("right", "binary", 3)


def test_english_prompts_end_where_one_token_is_due(tmp_path, rng):
    opened = opening.open_model(tiny.save_gpt2(tmp_path / "model"))
    for task in ("nine", "part-whole"):
        asked = english_fewshot.questions(opened, rng, task, 3, 18)
        for row in range(3):
            ids = asked.tokens[row, : int(asked.last[row]) + 1].tolist()
            text = opened.tokenizer.decode([*ids[1:], int(asked.label[row])])
            lines = text.split("\n")
            assert len(lines) == 4 and all(": " in line and "," in line for line in lines)
            assert lines[-1].split(": ")[1] in fewshot.said(task)
        assert not (asked.tokens[torch.arange(18), asked.last] == 0).any()
        assert asked.label.unique(return_counts=True)[1].float().std() < 1


def test_every_english_word_stands_in_one_list():
    words = [word for said in english_fewshot.WORDS.values() for word in said.split()]
    assert len(set(words)) == len(words) == 12 * len(english_fewshot.WORDS)
    for pairs in english_fewshot.PAIRS.values():
        found = [tuple(pair.split()) for pair in pairs.split(", ")]
        assert len(set(found)) == 16 and {len(pair) for pair in found} == {2}


def test_labels_of_several_tokens_are_refused(rng):
    """A tokenizer that spells by letters has no token for `true`."""

    class Letters:
        def __call__(self, text, add_special_tokens):
            return {"input_ids": [ord(letter) for letter in text]}

    opened = SimpleNamespace(name="letters", bos=None, tokenizer=Letters())
    assert english_fewshot.questions(opened, rng, "binary", 1, 4).legal[0] == ord("0")
    with pytest.raises(ValueError, match="one token"):
        english_fewshot.questions(opened, rng, "mod-obj", 1, 4)
    with pytest.raises(ValueError, match="in English"):
        english_fewshot.questions(opened, rng, "three", 1, 4)


def test_only_cells_that_the_context_holds_are_asked(rng):
    asked = asking.questions(WORLD, rng, ("binary", "nine"), (0, 20, 21), 9)
    assert [(c.task, c.shots) for c in asked] == [
        (task, shots) for task in ("binary", "nine") for shots in (0, 20)
    ]
