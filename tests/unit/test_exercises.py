"""What a check cell says of answers: right ones, and each kind of wrong one."""

from __future__ import annotations

import math

import pytest
import torch

from lib.report import exercises

TARGET = torch.tensor([[0.0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]])
SQUARE = torch.tensor([[1.0, 2], [3, 4]])


def said(answer, correct, tolerance: float = 1e-3) -> str:
    return exercises.error(answer, exercises.sealed(correct, tolerance))


@pytest.mark.parametrize(
    ("answer", "correct", "tolerance"),
    [
        (0.25, 0.25, 1e-3),
        (-5.5, -math.log(256), 0.05),
        (0.4995, 0.5, 1e-3),
        (0.5005, 0.4996, 1e-3),
        (torch.tensor(4), 4, 1e-3),
        ([0.0, 1 / 3], [0.0, 0.333], 0.01),
        (TARGET.bool(), TARGET.double(), 1e-3),
        (torch.full((2,), -1e9), [-1e9, -1e9], 1e-3),
        (" b ", "B", 1e-3),
        (float("nan"), float("nan"), 1e-3),
    ],
)
def test_a_right_answer_is_right_to_the_tolerance(answer, correct, tolerance):
    assert said(answer, correct, tolerance) == ""


@pytest.mark.parametrize(
    ("answer", "correct", "kind"),
    [
        (5.545, -5.545, "sign"),
        (25, 0.25, "per cent where a share"),
        (0.25, 25, "share where per cent"),
        (0.7, 0.3, "one less"),
        (4.0, 0.25, "upside down"),
        (1.0, math.log(2), "bits"),
        (SQUARE.T, SQUARE, "Rows and columns"),
        (TARGET.roll(1, 1), TARGET, "one place off"),
        (TARGET.roll(-1, 1), TARGET, "one place off"),
        (TARGET[:, :3], TARGET, r"[3, 3]; [3, 4] is asked for"),
        ([0.5], 0.5, "a single number is asked for"),
        (1 - TARGET, TARGET, "one less"),
        (torch.tensor([1.0, 5.0]), [1.0, 2.0], "1 of 2 numbers"),
        (float("nan"), 0.5, "no number"),
        ("many", 0.5, "cannot be read"),
        (None, 0.5, "cannot be read"),
        ("C", "B", "another word"),
        (2, "B", "another word"),
        (0.11, 0.25, "Another number"),
        (0.252, 0.25, "Another number"),
    ],
)
def test_a_wrong_answer_is_told_its_kind_and_not_the_right_one(answer, correct, kind):
    assert kind in said(answer, correct)
    assert not isinstance(correct, float) or str(correct) not in said(answer, correct)


def test_a_sealed_answer_checks_as_an_open_one_and_cannot_be_read():
    seal = exercises.sealed(0.225)
    assert "0.225" not in repr(seal) and seal.digests == exercises.sealed(0.225).digests
    assert exercises.check(0.225, seal) and not exercises.check(0.3, seal)


def test_what_goes_with_the_output_is_what_a_page_needs(monkeypatch):
    shown = []
    monkeypatch.setattr(
        exercises, "display", lambda what, metadata: shown.append((what.data, metadata))
    )
    assert not exercises.check(..., 0.5, tolerance=0.01)
    ((text, beside),) = shown
    assert "Not answered yet" in text and set(beside["exercise"]) == {
        "shape",
        "tolerance",
        "digests",
    }
