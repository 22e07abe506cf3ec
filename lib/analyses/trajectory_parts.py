"""What claims ask of trajectories: each method measures one part of a claim, with its interval.

    ask = Parts(rng, p.resamples)
    ask.excess("two-layers", two)
    ask.excess("two-layers", one).on("one layer")      # the same code where nothing is to be found

A part that speaks of several models takes the one that fits the claim least, anew in each resample
of the texts. The intervals are over texts, or over sequences of random tokens where heads alone are
asked. What stands for *no change at all* is `trajectory_nulls.flattening`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.analyses import trajectory_nulls
from lib.analyses.trajectories import Trajectory
from lib.measures import onsets, statistics
from lib.measures.statistics import Estimate

Curves = Callable[[Trajectory], Tensor]  # -> [sample, *rest, snapshot]
_scores, _heads = attrgetter("scores"), attrgetter("heads")
_loss, _slopes = attrgetter("loss"), attrgetter("slopes")
OfRun = Callable[[Trajectory, Tensor], Tensor]  # of resampled means [draw, *rest] -> [draw]


def doublings(step: Tensor, other: Tensor | float) -> Tensor:
    """How many doublings of training lie between two steps; positive where `step` is the later
    one."""
    return torch.log2(step.clamp(min=1) / other)


@dataclass(frozen=True)
class Parts:
    """Estimates of parts, all drawn from one generator."""

    rng: np.random.Generator
    resamples: int = 2000

    def estimate(
        self,
        part: str,
        runs: Sequence[Trajectory],
        curves: Curves,
        statistic: OfRun,
        worst: str = "amax",
    ) -> Estimate:
        """A statistic of each run's mean curve, the largest (`amax`) or smallest (`amin`) of
        them."""
        samples = torch.stack([curves(run) for run in runs], 1)

        def of_runs(drawn: Tensor) -> Tensor:
            found = [statistic(run, drawn[:, i]) for i, run in enumerate(runs)]
            return getattr(torch.stack(found), worst)(0)

        found = statistics.bootstrapped(of_runs, samples, self.rng, self.resamples)
        return Estimate.of(part, runs[0].seed, found, len(samples))

    # --- how the score forms (O1, O2, O7, O9) ---

    def formed(self, part: str, run: Trajectory) -> Estimate:
        """Share of the final in-context score that forms within the window."""
        return self.estimate(part, [run], _scores, _share)

    def excess(self, part: str, run: Trajectory) -> Estimate:
        """That share, less the share of a curve with the same onset that flattens all the time."""
        smooth = trajectory_nulls.flattening(run)
        flat = smooth.held
        return self.estimate(part, [run], _scores, lambda r, drawn: _share(r, drawn) - flat)

    def formed_later(self, part: str, runs: Sequence[Trajectory]) -> Estimate:
        """Share that forms after the window, largest of several models."""
        return self.estimate(part, runs, _scores, _share_after)

    def share_of(self, part: str, run: Trajectory, other: Trajectory) -> Estimate:
        """Final in-context score of one model as a share of another's, on the same texts."""
        return self._ratio(part, run.seed, run.scores[:, -1], other.scores[:, -1])

    def _ratio(self, part: str, seed: int | None, top: Tensor, bottom: Tensor) -> Estimate:
        """Ratio of two means over the same texts."""
        found = statistics.ratio(top, bottom, self.rng, self.resamples)
        return Estimate.of(part, seed, found, len(top))

    # --- heads (O2, O3, O7, O9) ---

    def most_matching(self, part: str, run: Trajectory) -> Estimate:
        """Prefix matching of the best head at any snapshot."""
        return self.estimate(part, [run], _heads, lambda r, drawn: drawn.amax((1, 2)))

    def matching_finally(self, part: str, run: Trajectory) -> Estimate:
        """Prefix matching of the best head at the last snapshot."""
        return self.estimate(part, [run], _heads, lambda r, drawn: drawn[..., -1].amax(1))

    def matching_at(
        self,
        part: str,
        runs: Sequence[Trajectory],
        edge: int,
        heads: slice = slice(None),
        later: float | int = 1,
    ) -> Estimate:
        """Prefix matching of the best head at the window's start (`edge` 0: largest of the models)
        or end (1: smallest).

        heads: only these are asked. later: factor on the step, for a window that is not the run's.
        """
        drawn = [self._matching(run, run.window[edge] * later, heads) for run in runs]
        worst = torch.stack(drawn).amin(0) if edge else torch.stack(drawn).amax(0)
        return Estimate.of(part, runs[0].seed, statistics.interval(worst), len(runs[0].heads))

    def _matching(self, run: Trajectory, step: float | int, heads: slice) -> Float[Tensor, "draw"]:
        def best(drawn: Tensor) -> Tensor:
            return onsets.at(run.steps, drawn, step).amax(1)

        return statistics.draws(best, run.heads[:, heads], self.rng, self.resamples)

    # --- onsets (O3, O9) ---

    def onset_draws(self, run: Trajectory) -> dict[str, Float[Tensor, "draw"]]:
        """Onset of each quantity, over resamples."""
        return {name: self._onsets(run, curves) for name, curves in run.quantities().items()}

    def _onsets(
        self, run: Trajectory, samples: Float[Tensor, "sample snapshot"]
    ) -> Float[Tensor, "draw"]:
        def crossing(drawn: Tensor) -> Tensor:
            return onsets.crossing(run.steps, drawn)

        return statistics.draws(crossing, samples, self.rng, self.resamples)

    def together(
        self, part: str, runs: Sequence[Trajectory], others: Sequence[Trajectory] | None = None
    ) -> Estimate:
        """Distance in doublings between the onset of each run's best head and that of the
        in-context score, its own or that of another run; the largest of several."""
        apart = []
        for run, other in zip(runs, others or runs, strict=True):
            heads, score = self._onsets(run, run.best), self._onsets(other, other.scores)
            apart.append(doublings(heads, score).abs())
        largest = torch.stack(apart).amax(0)
        return Estimate.of(part, runs[0].seed, statistics.interval(largest), len(runs[0].best))

    def later(self, part: str, run: Trajectory, other: Trajectory) -> Estimate:
        """Onset of the in-context score of one model after that of another, in doublings of
        training; negative is earlier."""
        apart = doublings(self._onsets(run, run.scores), self._onsets(other, other.scores))
        return Estimate.of(part, run.seed, statistics.interval(apart), len(run.scores))

    def carried(
        self, part: str, runs: Sequence[Trajectory], others: Sequence[Trajectory] | None = None
    ) -> Estimate:
        """Onset of each run's best previous-token head after that of the best matching head, its
        own or that of another run, in doublings; the latest of several."""
        apart = []
        for run, other in zip(runs, others or runs, strict=True):
            carrying, matching = self._onsets(run, run.carrier), self._onsets(other, other.best)
            apart.append(doublings(carrying, matching))
        largest = torch.stack(apart).amax(0)
        return Estimate.of(part, runs[0].seed, statistics.interval(largest), len(runs[0].best))

    # --- the loss (O4, O6, O15) ---

    def bump(self, part: str, runs: Sequence[Trajectory]) -> Estimate:
        """Steepest fall of the loss after the warm-up over the slowest fall before it, smallest of
        several models."""

        def ratio(run: Trajectory, drawn: Tensor) -> Tensor:
            return onsets.steepening(run.steps, drawn, run.warmup)

        return self.estimate(part, runs, _loss, ratio, "amin")

    def bump_place(
        self, part: str, runs: Sequence[Trajectory], of: Sequence[Trajectory] | None = None
    ) -> Estimate:
        """Distance of that steepest fall from the middle of the window, the run's own or that of
        another (`of`), in doublings; largest of several models."""
        windows = dict(zip(map(id, runs), of or runs, strict=True))

        def apart(run: Trajectory, drawn: Tensor) -> Tensor:
            steepest = onsets.steepest(run.steps, drawn, run.warmup)
            return doublings(steepest, windows[id(run)].middle).abs()

        return self.estimate(part, runs, _loss, apart)

    def slope(
        self, part: str, runs: Sequence[Trajectory], edge: int, worst: str = "amax"
    ) -> Estimate:
        """Slope of the loss over ln(index) at the window's start (`edge` 0) or end (1), the largest
        (least steep) or smallest of several models."""

        def there(run: Trajectory, drawn: Tensor) -> Tensor:
            return onsets.at(run.steps, drawn, run.window[edge])

        return self.estimate(part, runs, _slopes, there, worst)

    def flatness(self, part: str, runs: Sequence[Trajectory]) -> Estimate:
        """Slope at the window's start as a share of that at its end, largest of several models."""

        def share(run: Trajectory, drawn: Tensor) -> Tensor:
            start, end = (onsets.at(run.steps, drawn, step) for step in run.window)
            return start / end

        return self.estimate(part, runs, _slopes, share)

    def steeper(self, part: str, runs: Sequence[Trajectory], plain: Trajectory) -> Estimate:
        """Change of that slope over each run's window, less that of another model between the same
        steps on the same texts; largest of several models."""

        def beyond(run: Trajectory) -> Tensor:
            return run.slopes - plain.slopes

        return self.estimate(part, runs, beyond, _over_window)

    def changed(
        self,
        part: str,
        run: Trajectory,
        steps: Float[Tensor, "snapshot"],
        losses: Float[Tensor, "text snapshot"],
    ) -> Estimate:
        """Change of a loss, measured at some steps, over the window of a run, in nats."""

        def change(drawn: Tensor) -> Tensor:
            start, end = (onsets.at(steps, drawn, edge) for edge in run.window)
            return end - start

        found = statistics.bootstrapped(change, losses, self.rng, self.resamples)
        return Estimate.of(part, run.seed, found, len(losses))

    def spread(self, part: str, runs: Sequence[Trajectory]) -> Estimate:
        """Range of the final in-context score over several models, as a share of its mean."""
        ends = torch.stack([run.scores[:, -1] for run in runs], 1)

        def wide(drawn: Tensor) -> Tensor:
            return (drawn.amax(1) - drawn.amin(1)) / drawn.mean(1).abs()

        found = statistics.bootstrapped(wide, ends, self.rng, self.resamples)
        return Estimate.of(part, runs[0].seed, found, len(ends))

    def faster(
        self,
        part: str,
        small: Trajectory,
        large: Trajectory,
        between: tuple[float | int, float | int],
        aligned: bool = True,
    ) -> Estimate:
        """Fall of the loss per doubling of training between two moments, that of the small model
        less that of the large one. The moments are multiples of each model's own onset, or steps
        where they are not `aligned`."""
        units = [run.onset if aligned else 1.0 for run in (small, large)]
        falls = [_fall(run, between, u) for run, u in zip((small, large), units, strict=True)]
        found = statistics.bootstrap_mean(falls[0] - falls[1], self.rng, self.resamples)
        return Estimate.of(part, small.seed, found, len(small.loss))


def aligned_spans(*runs: Trajectory) -> list[tuple[float | int, float]]:
    """From the end of the warm-up to the start of the window, and from its end to the last step, in
    multiples of the onset, as far as all the runs reach."""
    starts = max(run.warmup / run.onset for run in runs), min(r.window[0] / r.onset for r in runs)
    ends = max(run.window[1] / run.onset for run in runs)
    return [starts, (ends, min(float(run.steps[-1]) / run.onset for run in runs))]


def spans(*runs: Trajectory) -> list[tuple[float | int, float]]:
    """The same two stretches in steps."""
    before = max(1.0, *(run.warmup for run in runs)), min(run.window[0] for run in runs)
    return [before, (max(run.window[1] for run in runs), float(runs[0].steps[-1]))]


def _fall(
    run: Trajectory, between: tuple[float | int, float | int], unit: float
) -> Float[Tensor, "text"]:
    """Fall of each text's loss per doubling; not a number where no training lies between."""
    start, end = between
    span = float(np.log2(end / start)) if end > start > 0 else float("nan")
    ends = [onsets.at(run.steps, run.loss, edge * unit) for edge in between]
    return (ends[0] - ends[1]) / span


def _over_window(run: Trajectory, drawn: Tensor) -> Tensor:
    start, end = (onsets.at(run.steps, drawn, step) for step in run.window)
    return end - start


def _share(run: Trajectory, drawn: Tensor) -> Tensor:
    return onsets.share_within(run.steps, drawn, *run.window)


def _share_after(run: Trajectory, drawn: Tensor) -> Tensor:
    return onsets.share_within(run.steps, drawn, run.window[1], float(run.steps[-1]))
