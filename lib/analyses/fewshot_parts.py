"""The parts of claims S1 to S7, each an estimate with its interval.

Idea. Every part is a number of one seed's runs with a 95 % interval: over fresh sequences, or, for
times of learning, over the sequences of the training log. The nulls go through the same functions.

    ask = Parts(rng, p.resamples)
    ask.plateau("plateau", t, "all")
    ask.plateau("plateau", t, learning.exponential(t.curve("all"))).on("exponential")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.analyses.fewshot_circuit import Followed, Outcome, Trained
from lib.measures import learning, onsets, statistics
from lib.measures.statistics import Estimate, Interval

Curves = learning.Curve


def curve_of(t: Trained, run: str | Curves) -> Curves:
    """The learning curve of a run by name, or the curve itself."""
    return t.curve(run) if isinstance(run, str) else run


def log_of_ratio(later: float | Tensor, earlier: float | Tensor) -> Tensor:
    """Doublings from one time to another."""
    return torch.log2(torch.as_tensor(later) / torch.as_tensor(earlier))


def middle(times: Sequence[Interval]) -> Interval:
    """Median of times of several runs, and of the ends of their intervals."""
    return Interval(*(_median(torch.stack(part)) for part in zip(*times, strict=True)))


def _median(values: Float[Tensor, "run"]) -> Float[Tensor, ""]:
    """Mean of the two in the middle where their number is even; times may be infinite."""
    ordered, count = values.sort().values, len(values)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2


@dataclass
class Parts:
    """Where resamples come from, and how many there are."""

    rng: np.random.Generator
    resamples: int

    def _mean(self, part: str, seed: int, samples: Tensor, statistic=lambda m: m) -> Estimate:
        """A statistic of means over sequences, samples [sequence, ...], result one number."""
        found = statistics.bootstrapped(statistic, samples.double(), self.rng, self.resamples)
        return Estimate.of(part, seed, found, len(samples))

    # --- how it is learnt (S1, S4, S5) ---

    def plateau(self, part: str, t: Trained, run: str | Curves) -> Estimate:
        """Doublings of training for which the loss stays near ln 2."""
        found = learning.plateau(curve_of(t, run))
        return Estimate.of(part, t.seed, found, learning.WINDOW * t.recipe.batch)

    def change(self, part: str, t: Trained, run: str | Curves) -> Estimate:
        """Doublings of training from leaving ln 2 until the task is learnt."""
        found = learning.change(curve_of(t, run))
        return Estimate.of(part, t.seed, found, learning.WINDOW * t.recipe.batch)

    def together(self, part: str, t: Trained, followed: Followed, moment: float) -> Estimate:
        """Doublings between a moment and the time at which half of the summed induction strength
        has formed, in either direction."""
        whole = followed.strengths.sum(1)
        steps = followed.steps

        def distance(curves: Tensor) -> Tensor:
            return log_of_ratio(onsets.crossing(steps, curves), moment).abs()

        return self._mean(part, t.seed, whole, distance)

    def faster(
        self, part: str, t: Trained, slow: Sequence[str], fast: Sequence[str], fastest: bool = False
    ) -> Estimate:
        """Doublings from the median learning time of some runs to that of others (or to the
        fastest of them)."""
        early = middle(self.times(t, fast))
        later = self.times(t, slow)
        late = min(later, key=lambda time: float(time.value)) if fastest else middle(later)
        n = learning.WINDOW * t.recipe.batch
        return Estimate.of(part, t.seed, learning.doublings(late, early), n)

    def times(self, t: Trained, names: Sequence[str]) -> list[Interval]:
        """When runs have learnt, in steps."""
        return [learning.first_below(t.curve(name), learning.LEARNT) for name in names]

    def worst(self, part: str, t: Trained, came: Outcome) -> Estimate:
        """Accuracy of the worst of several runs."""
        return self._mean(part, t.seed, came.right.T, lambda means: means.amin(1))

    # --- which heads carry it (S2, S3) ---

    def third(self, part: str, t: Trained, strength: Float[Tensor, "head sequence"]) -> Estimate:
        """Induction strength of the third-strongest head."""
        return self._mean(part, t.seed, strength.T, lambda means: means.sort(1).values[:, -3])

    def follows(
        self, part: str, t: Trained, strength: Float[Tensor, "head sequence"], lone: Outcome
    ) -> Estimate:
        """Rank correlation over heads between strength and lone accuracy."""
        both = torch.stack([strength.T.double(), lone.right.T.double()], 1)
        return self._mean(
            part, t.seed, both, lambda m: statistics.rank_correlation(m[:, 0], m[:, 1])
        )

    def falls(self, part: str, t: Trained, added: Outcome) -> Estimate:
        """The smallest of the falls of the loss as the second, third and fourth head are added."""
        first = added.losses[:4].T
        return self._mean(part, t.seed, first, lambda m: -m.diff(dim=1).amax(1))

    # --- how they are wired (S6, S7) ---

    def contrast(self, part: str, t: Trained, better: Tensor, worse: Tensor) -> Estimate:
        """Share of right answers in one condition less that in another, [sequence] each."""
        return self._mean(part, t.seed, better.double() - worse.double())

    def second_input(
        self, part: str, t: Trained, weakened: Tensor, strong: Sequence[int]
    ) -> Estimate:
        """What the second most important head of layer 1 is worth to a strong head of layer 2."""
        lost = weakened[:, list(strong)].permute(2, 0, 1)
        return self._mean(part, t.seed, lost, lambda m: m.sort(1).values[:, -2].mean(1))

    def second_output(
        self, part: str, t: Trained, weakened: Tensor, strong: Sequence[int]
    ) -> Estimate:
        """What the most important head of layer 1 is worth to the strong head of layer 2 that needs
        it second most."""
        lost = weakened[:, list(strong)]
        giver = int(lost.mean((1, 2)).argmax())
        return self._mean(part, t.seed, lost[giver].T, lambda m: m.sort(1).values[:, -2])

    def path(self, part: str, t: Trained, followed: Followed, at: int | None) -> Estimate:
        """Nats lost without the path from layer 1 to the output, at a snapshot; the most that is
        lost at any after the first when None."""
        lost = followed.without_path - followed.losses
        if at is None:
            return self._mean(part, t.seed, lost[:, 1:], lambda means: means.amax(1))
        return self._mean(part, t.seed, lost[:, at])
