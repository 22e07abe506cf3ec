"""When curves of heads and abilities rise, which comes first, and which heads are the same later.

Estimators, stated before anything is measured:

- *onset* of a curve that rises: averaged over three neighbouring snapshots, the step at which it
  has made half of its way from its first value to its highest, interpolated linearly (`onset`). The
  highest and not the last, for some heads fall again. An accuracy is cut off below at what guessing
  gives, or else its way would begin before anything is known (`above_chance`);
- *lead* of one onset over another: how many doublings of training it comes earlier (`lead`);
- *overlap* of the heads at two moments: the Jaccard index of the sets of the k highest (`overlap`).

Curves are [..., snapshot], with leading dimensions for draws of a bootstrap.

Caveat. An onset orders events and names no cause; and two curves with one common cause, such as the
fall of the loss, rise together too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.measures import onsets


@dataclass(frozen=True, eq=False)
class Ratio:
    """A quantity as the sum of `above` over that of `below`, both by unit; units are resampled."""

    above: Float[Tensor, "unit *cell"]
    below: Float[Tensor, "unit *cell"]

    @property
    def value(self) -> Float[Tensor, "*cell"]:
        """Over all units; 0 where nothing stands below the line."""
        return _divided(self.above.sum(0), self.below.sum(0))

    def at(self, units: Tensor) -> Ratio:
        """Some of the units."""
        return Ratio(self.above[units], self.below[units])

    def draws(self, rng: np.random.Generator, resamples: int) -> Float[Tensor, "draw *cell"]:
        """The quantity of all units first, then of resamples of them."""
        n = len(self.above)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
        weights = torch.from_numpy(np.concatenate([np.ones((1, n)), counts])).to(self.above)
        sums = (torch.tensordot(weights, part, 1) for part in (self.above, self.below))
        return _divided(*sums)


def _divided(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below, torch.zeros_like(above))


def halves(ratio: Ratio) -> tuple[Ratio, Ratio]:
    """The units with even numbers, and the others."""
    number = torch.arange(len(ratio.above))
    return ratio.at(number % 2 == 0), ratio.at(number % 2 == 1)


def onset(
    steps: Float[Tensor, " snapshot"], curves: Float[Tensor, "*draw snapshot"], share: float = 0.5
) -> Float[Tensor, "*draw"]:
    """Step at which a smoothed curve has first made `share` of its way from first to highest value.

    Not a number for a curve that never rises.
    """
    curves = smoothed(curves)
    highest = curves.amax(-1, keepdim=True)
    ended = torch.cat([curves, highest], -1)  # `crossing` asks for the way to the last value
    found = onsets.crossing(torch.cat([steps, steps[-1:]]), ended, share)
    return torch.where(highest[..., 0] > curves[..., 0], found, torch.nan)


def smoothed(curves: Float[Tensor, "*draw snapshot"]) -> Float[Tensor, "*draw snapshot"]:
    """Means over each snapshot and its two neighbours; the ends stay as they are.

    (What a curve starts from is soon left, and would be lost in a mean.)
    """
    middle = (curves[..., :-2] + curves[..., 1:-1] + curves[..., 2:]) / 3
    return torch.cat([curves[..., :1], middle, curves[..., -1:]], -1)


def rise(curves: Float[Tensor, "*rest snapshot"]) -> Float[Tensor, "*rest"]:
    """From the first snapshot to the mean of the last three."""
    return curves[..., -3:].mean(-1) - curves[..., 0]


def above_chance(
    accuracy: Float[Tensor, "*draw snapshot"], chance: float
) -> Float[Tensor, "*draw snapshot"]:
    """What an accuracy exceeds guessing by, never below zero."""
    return (accuracy - chance).clamp(min=0)


def lead(earlier: Tensor, later: Tensor) -> Tensor:
    """Doublings of training by which the first onset comes before the second; below 0 it lags."""
    return torch.log2(later.clamp(min=1) / earlier.clamp(min=1))


def highest(values: Float[Tensor, "*rest head"], k: int) -> Bool[Tensor, "*rest head"]:
    """The k highest heads, as a mask."""
    chosen = values.topk(k, -1).indices
    return torch.zeros_like(values, dtype=torch.bool).scatter(-1, chosen, True)


def matched(
    chosen: Bool[Tensor, " head"], layer: Int[Tensor, " head"], rng: np.random.Generator
) -> Bool[Tensor, " head"]:
    """As many heads of each layer as are chosen there, at random, among those not chosen.

    Where a layer has too few others, the chosen ones make up the number.
    """
    drawn = torch.zeros_like(chosen)
    for number in layer.unique():
        here = (layer == number).nonzero()[:, 0]
        order = here[torch.from_numpy(rng.permutation(len(here)))]
        order = order[chosen[order].int().argsort(stable=True)]
        drawn[order[: int(chosen[here].sum())]] = True
    return drawn


def within_layers(
    values: Float[Tensor, "*rest head"], layer: Int[Tensor, " head"], rng: np.random.Generator
) -> Float[Tensor, "*rest head"]:
    """The values dealt anew among the heads of each layer."""
    place = torch.arange(len(layer))
    for number in layer.unique():
        here = (layer == number).nonzero()[:, 0]
        place[here] = here[torch.from_numpy(rng.permutation(len(here)))]
    return values[..., place]
