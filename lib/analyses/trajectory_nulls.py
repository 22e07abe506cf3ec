"""Where there is nothing to find: made trajectories for the same code that measures the real ones,
and how often a place would be found by chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lib.analyses.trajectories import Trajectory
from lib.measures import onsets
from lib.measures.statistics import Estimate, Rate

T = TypeVar("T")


def flattening(trajectory: Trajectory) -> Trajectory:
    """The same run with in-context scores that flatten all the time: from the end of the warm-up on
    each text's score approaches its last value exponentially, with the onset of the run's own."""
    steps, start = trajectory.steps, trajectory.warmup
    # An onset within the warm-up leaves no time: then the curve is as steep as one step allows.
    tau = max((trajectory.onset - start) / log(2), 1.0)
    way = 1 - torch.exp(-(steps - start).clamp(min=0) / tau)
    losses = torch.zeros_like(trajectory.losses)
    late = trajectory.scores[:, -1] * (way / way[-1])[:, None]
    losses[..., trajectory.places[1]] = late[..., None]
    return replace(trajectory, losses=losses)


def untrained(trajectory: Trajectory) -> Trajectory:
    """The same run without any training: at every snapshot what was there at the first."""
    return replace(trajectory, losses=trajectory.losses[:1].expand_as(trajectory.losses))


def delayed(trajectory: Trajectory, factor: float) -> Trajectory:
    """The same run with everything `factor` times later, as far as its training goes."""
    steps = trajectory.steps

    def later(values: Tensor) -> Tensor:
        curves = values.movedim(0, -1)
        return torch.stack([onsets.at(steps, curves, step) for step in (steps / factor).tolist()])

    names = ("losses", "prefix", "previous")
    return replace(trajectory, **{name: later(getattr(trajectory, name)) for name in names})


def beside(measure: Callable[[T], Estimate], subject: T, nulls: Mapping[str, T]) -> list[Estimate]:
    """One measure of a claim's own subject, and of each null by name."""
    return [measure(subject), *(measure(null).on(name) for name, null in nulls.items())]


def random_places(
    part: str,
    runs: Sequence[Trajectory],
    centres: Sequence[float],
    tolerance: float,
    rng: np.random.Generator,
    trials: int = 1000,
) -> Rate:
    """How often places drawn among the snapshots after the warm-up, one a run, would all lie within
    `tolerance` doublings of their centres."""
    passed = np.ones(trials, bool)
    for run, centre in zip(runs, centres, strict=True):
        later = run.steps[run.steps >= max(1, run.warmup)]
        drawn = rng.choice(later.numpy(), trials)
        passed &= np.abs(np.log2(drawn / centre)) < tolerance
    return Rate(part, "false alarms on random places", int(passed.sum()), trials)
