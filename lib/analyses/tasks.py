"""The circuit and its parts on tasks of several sizes (Singh et al. 2024, figure 6).

Idea. Classes must be told apart by matching (B), labels by copying (C); so a task that
makes one of them harder should delay it alone, and the whole by way of it. `Tasks.of` finds the
whole, B and C of a seed for each task, as smoothed losses; `Tasks.later` compares two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import torch

from lib.analyses import clamped, fewshot_circuit
from lib.analyses.clamped import SEQUENCES
from lib.measures import learning, plateaus, statistics
from lib.measures.statistics import Estimate, Interval
from lib.models.run_recipes import CLASSES, HEADS, LABELS, LIVE

BY_CLASSES = tuple(f"{n} classes" for n in CLASSES)
BY_LABELS = tuple(f"{n} labels" for n in LABELS)
FIRST = BY_CLASSES[0], BY_LABELS[0]  # one task under two names
RECIPES = ("fewshot", "fewshot_previous", "fewshot_classes", "fewshot_labels", "fewshot_parts")
SUBCIRCUITS = ("B", "C")


@dataclass(frozen=True)
class Tasks:
    """The losses of a seed: (whole, B or C; task) -> curve; and of the whole from another start."""

    seed: int
    curves: dict[tuple[str, str], learning.Curve]
    starts: tuple[learning.Curve, learning.Curve]  # one task and one head, from two starts
    recipes: dict[str, fewshot_circuit.Trained]

    @classmethod
    def of(cls, seed: int, p) -> Tasks:
        """All of them, trained first if they are not there yet."""
        found = {name: fewshot_circuit.trained(name, seed, p) for name in RECIPES}
        curves = {}
        for task in (*BY_CLASSES, *BY_LABELS):
            for part in SUBCIRCUITS:
                same = FIRST[0] if task == FIRST[1] else task
                curves[part, task] = clamped.curve_of(found["fewshot_parts"], f"{part}, {same}")
            curves["whole", task] = _whole(found, task)
        starts = ("fewshot", f"head {LIVE}"), ("fewshot_previous", "other start")
        one, other = (clamped.curve_of(found[recipe], run) for recipe, run in starts)
        return cls(seed, curves, (one, other), found)

    def later(self, part: str, tasks: Sequence[str]) -> Interval:
        """Doublings of training by which a part learns later on the second task than on the
        first."""
        first, second = (self.curves[part, task] for task in tasks)
        return plateaus.later(second, first)

    def apart(self) -> Interval:
        """The same for one task from two starts: how much runs differ by themselves."""
        return plateaus.later(*self.starts)

    def lone(self, head: int) -> learning.Curve:
        """The loss of one head of layer 2 that is trained alone, on the first task."""
        return clamped.curve_of(self.recipes["fewshot"], f"head {head}")

    def slowed_more(self, part: str, other: str, tasks: Sequence[str]) -> Interval:
        """Doublings by which a change of the task delays one subcircuit more than another."""
        one, less = self.later(part, tasks), self.later(other, tasks)
        return Interval(one.value - less.value, one.low - less.high, one.high - less.low)

    def slower_part(self, task: str) -> Interval:
        """Learning time of the slower of B and C alone, in steps."""
        times = [plateaus.learnt(self.curves[part, task]) for part in SUBCIRCUITS]
        return max(times, key=lambda time: float(time.value))

    def faster(self) -> Interval:
        """Doublings by which the whole learns later than the slower part, smallest over tasks."""
        found = [
            learning.doublings(plateaus.learnt(self.curves["whole", task]), self.slower_part(task))
            for task in (*BY_CLASSES, *BY_LABELS)
        ]
        return clamped.smallest(found)

    def agreement(self, rng: np.random.Generator | None = None) -> float:
        """Share of pairs of tasks in which slower part and whole have the same order; with `rng`
        the whole's times are dealt anew among the tasks of a series."""
        same = []
        for series in (BY_CLASSES, BY_LABELS):
            whole = [float(plateaus.learnt(self.curves["whole", task]).value) for task in series]
            whole = whole if rng is None else rng.permutation(whole)
            part = [float(self.slower_part(task).value) for task in series]
            pairs = combinations(range(len(series)), 2)
            same += [(whole[i] - whole[j]) * (part[i] - part[j]) > 0 for i, j in pairs]
        return float(np.mean(same))

    def straightness(self, parts: Sequence[str]) -> Interval:
        """Explained variance of ln(loss) by a line until a part has learnt, mean over tasks, the
        smallest of some parts; the interval is the range over tasks."""
        by_part = []
        for part in parts:
            fits = [fit(self.curves[part, task])[1] for task in (*BY_CLASSES, *BY_LABELS[1:])]
            by_part.append(torch.tensor(fits, dtype=torch.double))
        worst = min(by_part, key=torch.mean)
        return Interval(worst.mean(), worst.min(), worst.max())


def fit(curve: learning.Curve) -> tuple[float, float]:
    """Rate per 1,000 sequences at which a loss decays until it is learnt, and the share of the
    variance of its logarithm that the line explains."""
    last = max(int(plateaus.learnt(curve).value) - curve.start, 3)
    logs = curve.mean[:last].log()
    steps = torch.arange(len(logs), dtype=logs.dtype)
    centred, level = steps - steps.mean(), logs - logs.mean()
    slope = (centred * level).sum() / (centred**2).sum()
    left = ((level - slope * centred) ** 2).sum() / (level**2).sum()
    return float(-slope * 1000 / SEQUENCES), float(1 - left)


def straight_fall(curve: learning.Curve) -> Interval:
    """What `fit` explains of a loss that falls in a straight line, from this curve's start to where
    it has learnt: no exponential, and no plateau."""
    last = max(int(plateaus.learnt(curve).value) - curve.start, 3)
    line = torch.linspace(float(curve.mean[0]), learning.LEARNT, last + 1, dtype=curve.mean.dtype)
    fallen = learning.Curve(line, torch.zeros_like(line), curve.start)
    return number(fit(fallen)[1])


def dealt_anew(tasks: Tasks, rng: np.random.Generator, rounds: int = 400) -> Interval:
    """Agreement where the whole's times are dealt anew: mean, and the middle 95 %."""
    drawn = torch.tensor([tasks.agreement(rng) for _ in range(rounds)], dtype=torch.double)
    ends = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=torch.double))
    return Interval(drawn.mean(), *ends)


def lone_heads(every: Sequence[Tasks], part: str) -> list[list[Estimate]]:
    """By how much one head learns later than another, both on one task: a trial of every seed for
    each ordered pair of heads, which differ by nothing that a claim is about."""
    trials = []
    for one, other in permutations(range(HEADS), 2):
        apart = [plateaus.later(found.lone(one), found.lone(other)) for found in every]
        both = zip(every, apart, strict=True)
        trials.append([clamped.Parts(found.seed).of(part, value) for found, value in both])
    return trials


def by_luck(every: Sequence[Tasks]) -> float:
    """Share of the ordered pairs of lone heads in which the first learns later than the second in
    every seed: how often luck looks like a delay."""
    least = []
    for trial in lone_heads(every, "luck"):
        least.append(min(float(one.value) for one in trial))
    return float(np.mean(np.array(least) > 0))


def number(value: float) -> Interval:
    """A number that is counted, without a spread of its own."""
    return Interval(*torch.full((3,), value, dtype=torch.double))


# --- frames ---


def times(every: Sequence[Tasks]) -> pd.DataFrame:
    """Sequences until each part has learnt each task: columns series, task, part, sequences, low,
    high, seed."""
    rows = []
    for found in every:
        for (part, task), curve in found.curves.items():
            series, place = (
                ("classes", CLASSES[BY_CLASSES.index(task)])
                if task in BY_CLASSES
                else ("labels", LABELS[BY_LABELS.index(task)])
            )
            value, low, high = (float(x) * SEQUENCES for x in plateaus.learnt(curve))
            told = {"sequences": value, "low": low, "high": high, "seed": found.seed}
            rows.append({"series": series, "number": place, "part": part, **told})
    return pd.DataFrame(rows)


def unfinished(every: Sequence[Tasks]) -> int:
    """How many runs of the whole, over tasks and seeds, have not learnt by their end."""
    wholes = [one.curves["whole", task] for one in every for task in (*BY_CLASSES, *BY_LABELS)]
    return sum(bool((curve.mean >= learning.LEARNT).all()) for curve in wholes)


def fits(every: Sequence[Tasks], rng: np.random.Generator, resamples: int) -> pd.DataFrame:
    """Rate of decay of B and C by task, mean over seeds with its bootstrap interval."""
    rows = []
    for part in SUBCIRCUITS:
        for task in (*BY_CLASSES, *BY_LABELS[1:]):
            both = [fit(found.curves[part, task]) for found in every]
            rates = torch.tensor([rate for rate, _ in both], dtype=torch.double)
            mean, low, high = (
                statistics.bootstrap_mean(rates, rng, resamples)
                if len(rates) > 1
                else (rates.mean(),) * 3
            )
            told = {"rate": float(mean), "low": float(low), "high": float(high)}
            least = min(share for _, share in both)
            rows.append({"part": part, "task": task, **told, "explained": least})
    return pd.DataFrame(rows)


def example(found: Tasks, part: str, tasks: Sequence[str]) -> pd.DataFrame:
    """Losses of one part on several tasks: columns sequences, loss, task."""
    parts = []
    for task in tasks:
        curve = found.curves[part, task]
        last = min(len(curve.mean), int(2 * plateaus.learnt(curve).value))
        index = torch.linspace(0, last - 1, min(last, 120)).round().long().unique()
        seen = curve.steps[index] * SEQUENCES
        parts.append(pd.DataFrame({"sequences": seen, "loss": curve.mean[index], "task": task}))
    return pd.concat(parts, ignore_index=True).round(4)


def _whole(found: dict[str, fewshot_circuit.Trained], task: str) -> learning.Curve:
    if task in BY_CLASSES:
        return clamped.curve_of(found["fewshot_classes"], task)
    if task == FIRST[1]:
        return clamped.curve_of(found["fewshot"], "all")
    return clamped.curve_of(found["fewshot_labels"], task)


def delays(every: Sequence[Tasks]) -> pd.DataFrame:
    """Doublings by which B and C learn later with the most classes or labels than with the fewest:
    columns change, doublings, low, high, seed."""
    rows = []
    for series, ends in (("classes", BY_CLASSES[::2]), ("labels", BY_LABELS[::2])):
        for part in SUBCIRCUITS:
            for found in every:
                value, low, high = map(float, found.later(part, ends))
                told = {"doublings": value, "low": low, "high": high, "seed": found.seed}
                rows.append({"change": f"{part}, more {series}", **told})
    return pd.DataFrame(rows)
