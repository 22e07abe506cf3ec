"""What the loss of a training says of its shape: a plateau, a change, and how long both take.

Idea. The log of a training holds the loss of every step on sequences of its own, so the mean over a
window of steps is an evaluation, and their spread tells how well it is known. Times are those at
which this mean crosses a level; their intervals, those at which the ends of its band do.

    curve = smoothed(losses)                     # of steps
    time = first_below(curve, 0.4 * LN2)         # Interval, in steps

Distances between times are in doublings of training, so that a fast learner and a slow one compare.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.measures.statistics import Interval

LN2 = math.log(2)  # loss of a choice between the two labels of the context
LEARNT = 0.4 * LN2  # Singh et al.'s mark of a task that is learnt
NEAR = 0.1  # of ln 2: a loss that close to it is on the plateau
WINDOW = 50  # steps behind each mean


class Curve(NamedTuple):
    """Mean loss up to each step, and half the width of its 95 % band; the first step is `start`."""

    mean: Float[Tensor, "step"]
    half: Float[Tensor, "step"]
    start: int

    @property
    def steps(self) -> Int[Tensor, "step"]:
        """How many steps have been made at each mean."""
        return torch.arange(len(self.mean)) + self.start + 1


def smoothed(losses: Float[Tensor, "step"], window: int = WINDOW) -> Curve:
    """Means over the last `window` steps, fewer where the training is shorter."""
    windows = losses.double().unfold(0, min(window, len(losses)), 1)
    spread = windows.std(1) if windows.shape[1] > 1 else torch.zeros(len(windows))
    half = 1.96 * spread / windows.shape[1] ** 0.5
    return Curve(windows.mean(1), half, windows.shape[1] - 1)


def first_below(curve: Curve, level: float) -> Interval:
    """Steps until the mean lies below a level; infinite where it never does."""
    times = [_first(curve.mean + sign * curve.half < level) for sign in (0, -1, 1)]
    return Interval(*(torch.tensor(float(t) + curve.start + 1) for t in times))


def _first(below: Tensor) -> float:
    return float(below.double().argmax()) if below.any() else math.inf


def doublings(later: Interval, earlier: Interval) -> Interval:
    """How many times training doubles from one time to another, at worst and at best."""
    first = torch.log2(later.value / earlier.value)
    return Interval(
        first, torch.log2(later.low / earlier.high), torch.log2(later.high / earlier.low)
    )


def plateau(curve: Curve) -> Interval:
    """Doublings of training from the first time near ln 2 until the loss has left it downwards."""
    return doublings(first_below(curve, (1 - NEAR) * LN2), first_below(curve, (1 + NEAR) * LN2))


def change(curve: Curve) -> Interval:
    """Doublings of training from leaving the plateau until the task is learnt."""
    return doublings(first_below(curve, LEARNT), first_below(curve, (1 - NEAR) * LN2))


def exponential(curve: Curve) -> Curve:
    """What a loss would do that decays exponentially, with the same start and learning time."""
    learnt = float(first_below(curve, LEARNT).value)
    return decaying(curve, float(curve.mean[0]), curve.start + 1, learnt)


def decaying(curve: Curve, begin: float, since: int, learnt: float) -> Curve:
    """At the steps of a curve, a loss that decays exponentially from `begin` at step `since`, and
    whose task is learnt at step `learnt`."""
    rate = math.log(begin / LEARNT) / max(learnt - since, 1)
    decayed = begin * torch.exp(-rate * (curve.steps.double() - since))
    return Curve(decayed, torch.zeros_like(decayed), curve.start)
