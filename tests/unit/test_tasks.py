"""Tasks side by side: what a narrower task shows, and what is read off several of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lib.analyses import clamped, tasks
from lib.data.fewshot_features import Task
from lib.measures import learning
from lib.measures.statistics import Interval
from lib.models import run_training
from lib.models.run_recipes import RUNS
from lib.tracing import clamping


def straight(rate: float, steps: int = 2000) -> learning.Curve:
    """An exponential loss from 2 nats on."""
    mean = 2 * torch.exp(-rate * torch.arange(1, steps + 1, dtype=torch.double))
    return learning.Curve(mean, torch.zeros_like(mean), 0)


@pytest.fixture
def planted() -> tasks.Tasks:
    """B slows with classes, C with labels, and the whole with both."""
    curves = {}
    for series in (tasks.BY_CLASSES, tasks.BY_LABELS):
        for place, task in enumerate(series):
            slow = 2.0**-place
            by_class = series is tasks.BY_CLASSES
            curves["B", task] = straight(0.02 * slow if by_class else 0.02)
            curves["C", task] = straight(0.02 if by_class else 0.02 * slow)
            curves["whole", task] = straight(0.002 * slow)
    return tasks.Tasks(0, curves, (straight(0.002), straight(0.002)), {})


def test_what_is_planted_is_found(planted):
    ends = tasks.BY_CLASSES[::2]
    assert float(planted.later("B", ends).value) == pytest.approx(2, abs=0.05)
    assert float(planted.later("C", ends).value) == pytest.approx(0, abs=0.05)
    assert float(planted.slowed_more("B", "C", ends).value) == pytest.approx(2, abs=0.05)
    assert planted.agreement() == 1
    assert float(planted.apart().value) == 0
    rate, explained = tasks.fit(planted.curves["B", "50 classes"])
    assert rate == pytest.approx(0.02 * 1000 / 32)
    assert explained == pytest.approx(1)


def test_a_run_that_never_falls_below_the_mark_is_unfinished(planted):
    assert tasks.unfinished([planted]) == 2  # the slowest of each series
    late = planted.curves | {("whole", tasks.BY_LABELS[0]): straight(1e-6)}
    assert tasks.unfinished([planted, dataclasses.replace(planted, curves=late)]) == 5


class LoneHeads(tasks.Tasks):
    """A seed in which each head learns faster than the next; in seed 1 the first two the other way
    round."""

    def lone(self, head: int) -> learning.Curve:
        place = 1 - head if self.seed and head < 2 else head
        return straight(0.02 / (place + 1))


def test_luck_is_counted_over_pairs_that_agree_in_every_seed():
    one, other = (LoneHeads(seed, {}, (straight(0.1), straight(0.1)), {}) for seed in (0, 1))
    assert tasks.by_luck([one]) == 0.5  # of two different heads one is the later
    assert tasks.by_luck([one, other]) == pytest.approx(27 / 56)


def test_dealt_anew_the_orders_agree_by_chance(planted):
    chance = tasks.dealt_anew(planted, np.random.default_rng(0))
    assert 0.35 < float(chance.value) < 0.65
    assert float(chance.low) < 0.3


def test_a_narrower_task_has_the_first_classes_and_labels():
    whole = Task.generated(7, classes=20, labels=6)
    small = whole.narrowed(7, 5, 4)
    assert torch.equal(small.features[:5], whole.features[:5])
    assert torch.equal(small.features[5:], whole.features[20:])
    shown = small.training(np.random.default_rng(0), (1, 500))
    assert int(shown.items.max()) < 5 and int(shown.labels.max()) < 4
    assert whole.narrowed(7, 20, 6) is whole


def test_runs_side_by_side_see_their_own_tasks():
    recipe = RUNS["fewshot_classes"]
    stream = run_training.sequences(recipe, 100, 0, run_training.tasks_of(recipe, 100))
    shown = next(stream)
    for run, variant in enumerate(recipe.variants):
        assert int(shown.items[run].max()) < variant.classes


def test_labels_beyond_a_task_cannot_be():
    value = torch.zeros(2, 4, 3)
    made = clamping.Labels(torch.tensor([2, 4])).at("logits", value, clamping.Passing(None, None))
    assert (made[0, 2:] == clamping.NEVER).all() and (made[0, :2] == 0).all()
    assert torch.equal(made[1], value[1])


def test_an_interval_without_its_sign():
    def of(*numbers):
        return Interval(*(torch.tensor(x) for x in numbers))

    assert [float(x) for x in clamped.size(of(-2.0, -3.0, -1.0))] == [2, 1, 3]
    assert [float(x) for x in clamped.size(of(0.5, -1.0, 2.0))] == [0.5, 0, 2]
