"""Training as a path through the space of per-token losses: where it turns (Olsson et al., O5).

`gram` and `turning` ask in the full space, in which no projection decides what is long and what is
short. `projected` is the paper's picture, the first two principal components of all runs together;
`corners` and `turns` are what this book first asked of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lib.analyses.trajectories import Trajectory
from lib.analyses.trajectory_parts import Parts, doublings
from lib.measures import onsets, statistics
from lib.measures.statistics import Estimate

TOKENS = 8  # of each text in the projection; the paper takes one, of far more texts


def gram(run: Trajectory) -> Float[Tensor, "text snapshot snapshot"]:
    """Inner products of the snapshots, seen from the first: what each text contributes to them."""
    moved = (run.losses - run.losses[:1]).transpose(0, 1).double()
    return moved @ moved.transpose(1, 2)


def turning(runs: Mapping[str, Trajectory]) -> pd.DataFrame:
    """One row per run and place of its path: the step, and the degrees by which it turns there."""
    found = []
    for name, run in runs.items():
        steps, degrees = onsets.bends(gram(run).mean(0), run.steps)
        found.append(pd.DataFrame({"step": steps, "degrees": degrees, "model": name}))
    return pd.concat(found, ignore_index=True)


def turns_at(
    ask: Parts, parts: tuple[str, str], runs: Sequence[Trajectory], of: Sequence[Trajectory]
) -> list[Estimate]:
    """Of the sharpest turn of each run: its distance from the middle of a window in doublings
    (largest of several), and its degrees (smallest). The windows are those of `of`."""
    apart, degrees = [], []
    for run, other in zip(runs, of, strict=True):
        drawn = statistics.draws(_sharpest(run), gram(run), ask.rng, ask.resamples)
        apart.append(doublings(drawn[:, 0], other.middle).abs())
        degrees.append(drawn[:, 1])
    worst = torch.stack(apart).amax(0), torch.stack(degrees).amin(0)
    named = zip(parts, worst, strict=True)
    n = len(runs[0].loss)
    return [Estimate.of(part, runs[0].seed, statistics.interval(w), n) for part, w in named]


def _sharpest(run: Trajectory):
    """The statistic [draw, snapshot, snapshot] -> [draw, 2]: step and degrees of the sharpest
    turn."""

    def sharpest(drawn: Tensor) -> Tensor:
        steps, degrees = onsets.bends(drawn, run.steps)
        found = degrees.max(-1)
        return torch.stack([steps.gather(-1, found.indices[:, None])[:, 0], found.values], 1)

    return sharpest


# --- the projection ---


@dataclass(frozen=True)
class Projected:
    """Paths in the plane of the first two joint principal components: what each text contributes to
    each coordinate, so that the mean over texts is the path."""

    runs: Sequence[Trajectory]
    parts: Float[Tensor, "text run snapshot 2"]

    def corners(self, ask: Parts, part: str) -> Estimate:
        """Distance of each path's corner from the middle of its window in doublings, largest of
        several."""

        def largest(drawn: Tensor) -> Tensor:
            corners = onsets.corner(drawn)
            runs = enumerate(self.runs)
            apart = [doublings(r.steps[corners[:, i]], r.middle).abs() for i, r in runs]
            return torch.stack(apart).amax(0)

        return self._estimate(ask, part, largest)

    def turns(self, ask: Parts, part: str) -> Estimate:
        """Degrees by which each path turns at its corner, smallest of several."""

        def smallest(drawn: Tensor) -> Tensor:
            return onsets.angle(drawn, onsets.corner(drawn)).amin(1)

        return self._estimate(ask, part, smallest)

    def only(self, places: slice) -> Projected:
        """Some of the runs, in the same plane."""
        return Projected(self.runs[places], self.parts[:, places])

    def frame(self, names: Iterable[str]) -> pd.DataFrame:
        """One row per run and snapshot: both components, the step and the run's name."""
        frames = []
        for name, run, path in zip(names, self.runs, self.parts.mean(0), strict=True):
            columns = {"first component": path[:, 0], "second component": path[:, 1]}
            frames.append(pd.DataFrame(columns | {"step": run.steps, "model": name}))
        return pd.concat(frames, ignore_index=True)

    def _estimate(self, ask: Parts, part: str, statistic: statistics.Statistic) -> Estimate:
        found = statistics.bootstrapped(statistic, self.parts, ask.rng, ask.resamples)
        return Estimate.of(part, self.runs[0].seed, found, len(self.parts))


def projected(runs: Iterable[Trajectory], rng: np.random.Generator) -> Projected:
    """One joint PCA of all snapshots of all runs, each a vector of the losses of the same random
    tokens of each text. The runs must share texts and snapshots."""
    runs = tuple(runs)
    losses = torch.stack([run.losses for run in runs])  # [run, snapshot, text, position]
    texts, positions = losses.shape[2:]
    order = rng.permuted(np.tile(np.arange(positions), (texts, 1)), axis=1)[:, :TOKENS]
    index = torch.from_numpy(order).expand(*losses.shape[:2], -1, -1)
    tokens = losses.gather(3, index)
    flat = tokens.flatten(2).flatten(0, 1)  # [run x snapshot, text x token]
    parts = (flat - flat.mean(0))[..., None] * onsets.plane(flat)
    of_text = parts.unflatten(1, (texts, -1)).sum(2) * texts
    return Projected(runs, of_text.unflatten(0, losses.shape[:2]).permute(2, 0, 1, 3))
