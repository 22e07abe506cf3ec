"""What a check says of a prediction: it may be wrong, what was run may not."""

from __future__ import annotations

import pytest
import torch

from lib.report import exercises, predictions


@pytest.fixture
def said(monkeypatch):
    """Ask a check, and read what it shows."""
    shown = []
    monkeypatch.setattr(
        predictions, "display", lambda what, metadata: shown.append((what.data, metadata))
    )

    def ask(guess, found, right=0.5, **more):
        done = predictions.check(guess, found, right, high="HIGH", low="LOW", **more)
        text, beside = shown.pop()
        assert set(beside["exercise"]) == {"shape", "tolerance", "digests"}
        return done, text

    return ask


@pytest.mark.parametrize(
    ("guess", "told"),
    [
        (0.9, "it is 0.50: 0.40 too high. HIGH"),
        (0.1, "it is 0.50: 0.40 too low. LOW"),
        (0.45, "as you said"),
        (torch.tensor(0.55), "as you said"),
    ],
)
def test_any_prediction_will_do_if_the_run_is_right(said, guess, told):
    done, text = said(guess, torch.tensor(0.5))
    assert done and text.startswith("**Right.**") and told in text


@pytest.mark.parametrize(
    ("guess", "found", "told"),
    [
        (..., ..., "predict first"),
        (..., 0.5, "predict first"),
        (0.9, ..., "Now run it"),
        ("much", 0.5, "prediction as a number"),
        (0.9, -0.5, "sign"),
        (0.9, 50, "per cent"),
        (0.9, 0.62, "Another number"),
        (0.9, [0.5], "a single number is asked for"),
    ],
)
def test_without_a_prediction_and_a_right_run_it_is_not_done(said, guess, found, told):
    done, text = said(guess, found)
    assert not done and told in text and "Right" not in text and "0.5" not in text


def test_how_near_counts_as_right_is_the_exercise_s_to_say(said):
    assert "as you said" in said(4, 3, 3, near=1)[1]
    assert "1.00 too high" in said(4, 3, 3, near=0)[1]


def test_a_run_too_short_to_measure_blames_nobody(said):
    done, text = said(0.9, float("nan"), float("nan"))
    assert done and "too short to tell" in text


def test_a_sealed_outcome_is_compared_without_being_read(said):
    assert said(0.9, 0.5, exercises.sealed(0.5, 0.01))[0]
    assert not said(0.9, 0.6, exercises.sealed(0.5, 0.01))[0]
