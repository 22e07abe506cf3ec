"""How much of its learning time a run spends on a plateau, and how much later one learns than
another.

Idea. Times are crossings of the smoothed loss (`learning.first_below`); a run that has not crossed
a level by its end counts as crossing it there, so that it is at least as late as said. The
*plateau* is the share of the learning time that the loss spends within a tenth of ln 2. A loss that
decays exponentially spends about a ninth there: ln(1 / .9) / ln(1 / .4) if it starts at ln 2,
ln(1.1 / .9) / ln(2 / .4) if it starts at twice that.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lib.measures import learning
from lib.measures.statistics import Interval

WINDOW = 20  # steps behind each mean: the fastest runs learn in a hundred


def smoothed(losses: Float[Tensor, "step"]) -> learning.Curve:
    """The loss of each step's own sequences, mean over the last twenty steps."""
    return learning.smoothed(losses, WINDOW)


def reached(curve: learning.Curve, level: float) -> Interval:
    """Steps until the mean lies below a level, at most those that there are."""
    last = float(curve.start + len(curve.mean))
    return Interval(*(time.clamp(max=last) for time in learning.first_below(curve, level)))


def learnt(curve: learning.Curve) -> Interval:
    """Steps until the loss lies below 0.4 ln 2."""
    return reached(curve, learning.LEARNT)


def share(curve: learning.Curve) -> Interval:
    """Share of the learning time within a tenth of ln 2, between 0 and 1."""
    above, below = ((1 + sign * learning.NEAR) * learning.LN2 for sign in (1, -1))
    came, left, done = reached(curve, above), reached(curve, below), learnt(curve)
    if curve.mean[0] < above:  # it begins there, before the first mean
        came = Interval(*torch.zeros(3, dtype=curve.mean.dtype))
    spent = left.value - came.value, left.low - came.high, left.high - came.low
    times = done.value, done.high, done.low
    shares = (a.clamp(min=0) / b for a, b in zip(spent, times, strict=True))
    return Interval(*(one.clamp(max=1) for one in shares))


def later(one: learning.Curve, other: learning.Curve) -> Interval:
    """Doublings of training by which the first run learns later than the other."""
    return learning.doublings(learnt(one), learnt(other))


def exponential(curve: learning.Curve) -> learning.Curve:
    """A loss that decays exponentially from its start, or from twice ln 2 if that is higher, and is
    learnt at the same step: what a run without a plateau looks like."""
    begin = max(float(curve.mean[0]), 2 * learning.LN2)
    return learning.decaying(curve, begin, 0, float(learnt(curve).value))
