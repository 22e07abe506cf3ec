"""What claims ask of the levels of in-context learning: each function measures one part of a claim
in one model, with its interval over prompts or texts.

    ask = Parts(course, rng, p.resamples)
    ask.later("format-before-pattern", ask.pattern(BINARY), ask.format(BINARY), half)

Onsets, stated beforehand (`measures.onsets`): *half*, the step at which a level has made half of
its way from its first to its last value; *tenth*, a tenth of it; and for tasks of which some are
never done well, the step that `reach`es a level which is the same for all: the last step where it
is not reached.

Caveat. Pattern discovery is measured beyond guessing: a model that knows the form alone is right in
one of two cases of a binary task, and has discovered nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.analyses.levels import Course, Marks, beyond
from lib.data import fewshot
from lib.data.fewshot import Prompts, classes_of
from lib.measures import onsets, statistics
from lib.measures.statistics import Estimate

BINARY = ("binary", "binary-2")
TASKS = (*fewshot.TASKS, *fewshot.JUSTIFY)  # of the paper
GOAL = 0.8  # of the answers in the right format: the paper's
Onset = Callable[[Tensor, Tensor], Tensor]  # (steps, curves [draw, snapshot]) -> [draw]
Curve = Float[Tensor, "unit snapshot"]


def half(steps: Tensor, curves: Tensor) -> Tensor:
    """Where half of the way is made."""
    return onsets.crossing(steps, curves)


def tenth(steps: Tensor, curves: Tensor) -> Tensor:
    """Where a tenth of the way is made."""
    return onsets.crossing(steps, curves, 0.1)


def reach(level: float) -> Onset:
    """Where a curve reaches a level; the last step where it does not."""
    return lambda steps, curves: onsets.reaching(steps, curves, level)


@dataclass(frozen=True)
class Parts:
    """Estimates of parts in one model, all drawn from one generator."""

    course: Course
    rng: np.random.Generator
    resamples: int = 2000

    @property
    def shots(self) -> int:
        """The most shots, with which onsets are measured."""
        return max(cell.shots for cell in self.course.asked)

    def format(self, tasks: Sequence[str]) -> Curve:
        """Answers in format, mean over tasks, with the most shots."""
        curves = [self.course.curve("in_format", task, self.shots) for task in tasks]
        return torch.stack(curves).mean(0)

    def pattern(self, tasks: Sequence[str], null: str = "") -> Curve:
        """What goes beyond guessing, as a share of what can (1 where all is right), mean over
        tasks, with the most shots."""
        curves = [
            self.course.curve("beyond", task, self.shots, null) / (1 - 1 / classes_of(task))
            for task in tasks
        ]
        return torch.stack(curves).mean(0)

    def loss(self) -> Curve:
        """Loss reduction with (i, j) = (50, 450)."""
        return self.course.loss_reduction(50, 450)

    def delayed(self, curve: Curve, by: float = 100) -> Curve:
        """The same curve so many steps later."""
        steps = self.course.steps
        return torch.stack([onsets.at(steps, curve, step - by) for step in steps.tolist()], -1)

    def later(self, part: str, curve: Curve, earlier: Curve, onset: Onset) -> Estimate:
        """By how many steps the onset of a curve comes after that of another; of two onsets, each
        resampled over its own units."""
        drawn = self._onset(curve, onset) - self._onset(earlier, onset)
        units = len(curve) + len(earlier)
        return Estimate.of(part, self.course.seed, statistics.interval(drawn), units)

    def onset(self, part: str, curve: Curve, onset: Onset) -> Estimate:
        """The onset of a curve."""
        drawn = statistics.interval(self._onset(curve, onset))
        return Estimate.of(part, self.course.seed, drawn, len(curve))

    def _onset(self, curve: Curve, onset: Onset) -> Float[Tensor, "draw"]:
        steps = self.course.steps
        return statistics.draws(lambda m: onset(steps, m), curve, self.rng, self.resamples)

    def found(self, part: str, asked: Sequence[Prompts], marks: Sequence[Marks]) -> Estimate:
        """Share of right answers with the most shots in the binary task that is done worse, with
        Wilson's interval."""
        rows = [
            statistics.wilson(given["right"])
            for cell, given in zip(asked, marks, strict=True)
            if cell.task in BINARY and cell.shots == self.shots
        ]
        worst = min(rows, key=lambda row: float(row.value))
        return Estimate.of(part, self.course.seed, worst, len(asked[0].tokens))

    def slope(self, part: str, asked: Sequence[Prompts], marks: Sequence[Marks]) -> Estimate:
        """Growth of what goes beyond guessing for each doubling of the shots, from one shot on,
        mean over tasks."""
        scores, shots = _scores(asked, marks)
        x = torch.log2(shots)
        weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        return self._mean(part, (scores @ weights).mean(1))

    def beyond_coverage(
        self, part: str, asked: Sequence[Prompts], marks: Sequence[Marks]
    ) -> Estimate:
        """What goes beyond guessing with the most shots, less that with the fewest that show every
        class, mean over tasks."""
        scores, shots = _scores(asked, marks)
        classes = [classes_of(task) for task in _tasks(asked)]
        fewest = [int((shots >= count).int().argmax()) for count in classes]
        gains = [scores[:, i, -1] - scores[:, i, few] for i, few in enumerate(fewest)]
        return self._mean(part, torch.stack(gains).mean(0))

    def _mean(self, part: str, samples: Float[Tensor, "prompt"]) -> Estimate:
        """The mean over prompts; the prompts of different cells are drawn apart, and so may be
        resampled together."""
        found = statistics.bootstrap_mean(samples, self.rng, self.resamples)
        return Estimate.of(part, self.course.seed, found, len(samples))


def _tasks(asked: Sequence[Prompts]) -> list[str]:
    return list(dict.fromkeys(cell.task for cell in asked))


def _scores(
    asked: Sequence[Prompts], marks: Sequence[Marks]
) -> tuple[Float[Tensor, "prompt task shots"], Float[Tensor, "shots"]]:
    """What goes beyond guessing in every task, and the numbers of shots, from one on."""
    shots = sorted({cell.shots for cell in asked if cell.shots})
    found = {
        (cell.task, cell.shots): beyond(cell, given)
        for cell, given in zip(asked, marks, strict=True)
    }
    columns = [found[place] for place in product(TASKS, shots)]
    scores = torch.stack(columns, 1).unflatten(1, (len(TASKS), len(shots)))
    return scores, torch.tensor(shots, dtype=torch.float32)
