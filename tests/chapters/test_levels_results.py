"""What the world's models must show of the levels of in-context learning under the default profile,
in every seed: the format first, the right labels after a change that can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib import profiles
from lib.analyses import levels, trajectories
from lib.analyses.level_parts import BINARY
from lib.data import fewshot, lexicon
from lib.models import recipes

ROOT = Path(__file__).resolve().parents[2]
P = profiles.load(ROOT / "params" / "embedded.yaml").model_copy(
    update={"runs_dir": str(ROOT / "runs"), "trajectory_texts": 8}
)
pytestmark = pytest.mark.trained("world")
SHOTS, PROMPTS = 20, 96


@pytest.fixture(scope="module", params=P.seeds)
def course(request) -> levels.Course:
    """A model through training on binary tasks, with the most shots."""
    torch.set_num_threads(1)
    world = recipes.RECIPES["world"].make_corpus()
    asked = levels.questions(world, np.random.default_rng(0), BINARY, [SHOTS], PROMPTS)
    texts = trajectories.texts_of("world", P)
    return levels.follow("world", request.param, P, asked, texts)


def shares(course: levels.Course, mark: str) -> torch.Tensor:
    """Share of a mark by [task, snapshot]."""
    return torch.stack([course.curve(mark, task, SHOTS).mean(0) for task in BINARY])


def test_the_categories_that_are_asked_never_met_in_a_list():
    for task in BINARY:
        assert frozenset(fewshot.TASKS[task][1]) in lexicon.HELD_OUT


def test_the_format_is_there_before_the_pattern(course):
    """From the snapshot at which nine answers in ten are labels up to the one before the labels are
    first more than three quarters right, at least nine in ten are labels on average. (At a single
    snapshot it may be fewer: formats waver while the pattern forms.)"""
    form, right = shares(course, "in_format"), shares(course, "right")
    for task in range(len(BINARY)):
        known = int((form[task] >= 0.9).int().argmax())
        change = int((right[task] > 0.75).int().argmax())
        assert 0 < known < change and form[task, known:change].mean() >= 0.9


def test_the_pattern_is_there_in_the_end(course):
    assert shares(course, "right")[:, -1].min() >= 0.8
