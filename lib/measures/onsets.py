"""When something changes in training, how abruptly, and where the path of training turns. Pure
functions on curves.

A curve holds one value per snapshot; `steps` says when the snapshots were taken. Every measure
takes curves with any leading dimensions, so that the same function gives the estimate and, on
resampled curves, its interval:

    gain = lambda curves: share_within(steps, curves, *window(steps, mean_curve))
    statistics.bootstrapped(gain, samples, rng)        # samples [sequence, snapshot]

Estimators, stated before anything is measured:

- *onset*: the step at which a curve has made half of its way from its first to its last value,
  interpolated linearly (`crossing`);
- *reaching*: the step at which a curve first reaches a level that is the same for all curves; for
  one that never does, the last step, which is then a lower bound (`reaching`);
- *window*: the stretch [s, 2s] of training that holds the largest part of that way (`window`). The
  paper's window, 2.5 to 5 billion tokens, is a doubling too. A curve that flattens from step 0 on
  puts a quarter into it, and one that starts late may put in much more;
- *bump*: the steepest fall of the loss, over the slowest fall before it (`steepening`): 1 where a
  curve is convex;
- *corner*: the place of a path in a plane that lies farthest from the straight line between its
  ends (`corner`, `angle`);
- *bend*: by how much a path in any space turns between one tenth of its length and the next
  (`bends`).

Caveat: snapshots are fixed in advance, so an onset is known to about the distance of two of them;
the interval is over sequences and does not hold that.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def at(
    steps: Float[Tensor, "snapshot"], curves: Float[Tensor, "*draw snapshot"], step: float | int
) -> Float[Tensor, "*draw"]:
    """Value of the curves at a step, interpolated linearly; outside, the value at the nearest
    end."""
    right = int(torch.searchsorted(steps, float(step)).clamp(1, len(steps) - 1))
    share = ((step - steps[right - 1]) / (steps[right] - steps[right - 1])).clamp(0, 1)
    return curves[..., right - 1] + share * (curves[..., right] - curves[..., right - 1])


def crossing(
    steps: Float[Tensor, "snapshot"], curves: Float[Tensor, "*draw snapshot"], share: float = 0.5
) -> Float[Tensor, "*draw"]:
    """Step at which a curve first has made `share` of its way from first to last value; NaN for one
    that goes nowhere."""
    way = (curves - curves[..., :1]) / (curves[..., -1:] - curves[..., :1])
    right = (way >= share).int().argmax(-1, keepdim=True).clamp(min=1)
    before, after = way.gather(-1, right - 1), way.gather(-1, right)
    part = (share - before) / (after - before)
    return (steps[right - 1] + part * (steps[right] - steps[right - 1]))[..., 0]


def reaching(
    steps: Float[Tensor, "snapshot"], curves: Float[Tensor, "*draw snapshot"], level: float
) -> Float[Tensor, "*draw"]:
    """Step at which a curve first reaches a level, interpolated linearly; the last step for one
    that never does."""
    reached = curves >= level
    right = reached.int().argmax(-1, keepdim=True).clamp(min=1)
    before, after = curves.gather(-1, right - 1), curves.gather(-1, right)
    part = ((level - before) / (after - before)).clamp(0, 1)
    step = (steps[right - 1] + part * (steps[right] - steps[right - 1]))[..., 0]
    return torch.where(reached.any(-1), step, steps[-1])


def window(
    steps: Float[Tensor, "snapshot"], curve: Float[Tensor, "snapshot"], factor: float = 2.0
) -> tuple[float, float]:
    """The stretch [s, factor * s] in which the curve makes most of its way from its first to its
    last value.

    One end of the best stretch is a snapshot, as the curve is linear between them. Error:
    ValueError for a series that does not span such a factor.
    """
    starts = [
        s
        for s in {*steps.tolist(), *(steps / factor).tolist()}
        if s >= float(steps[steps > 0][0]) and s * factor <= float(steps[-1])
    ]
    if not starts:
        raise ValueError(
            f"Snapshots from {steps[0]:g} to {steps[-1]:g} do not span a factor of {factor:g}."
        )
    sign = torch.sign(curve[-1] - curve[0])
    best = max(
        sorted(starts),
        key=lambda s: float(sign * (at(steps, curve, s * factor) - at(steps, curve, s))),
    )
    return best, best * factor


def share_within(
    steps: Float[Tensor, "snapshot"],
    curves: Float[Tensor, "*draw snapshot"],
    start: float | int,
    end: float | int,
) -> Float[Tensor, "*draw"]:
    """Part of a curve's way from first to last value that it makes between two steps."""
    return (at(steps, curves, end) - at(steps, curves, start)) / (curves[..., -1] - curves[..., 0])


def steepening(
    steps: Float[Tensor, "snapshot"],
    curves: Float[Tensor, "*draw snapshot"],
    first: float | int = 0,
) -> Float[Tensor, "*draw"]:
    """The steepest fall per step after step `first`, over the slowest fall between `first` and
    then; 1 where convex.

    Error: ValueError where fewer than two snapshots remain.
    """
    kept = steps >= first
    if kept.sum() < 2:
        raise ValueError(f"Fewer than two snapshots from step {first:g} on.")
    falls = -curves[..., kept].diff(dim=-1) / steps[kept].diff()
    steepest, where = falls.max(-1, keepdim=True)
    slowest = falls.cummin(-1).values.gather(-1, where)
    return (steepest / slowest.clamp(min=1e-12))[..., 0]


def steepest(
    steps: Float[Tensor, "snapshot"],
    curves: Float[Tensor, "*draw snapshot"],
    first: float | int = 0,
) -> Float[Tensor, "*draw"]:
    """Middle of the interval between two snapshots, from step `first` on, in which the curve falls
    most per step."""
    later = steps[steps >= first]
    falls = -curves[..., steps >= first].diff(dim=-1) / later.diff()
    return ((later[1:] + later[:-1]) / 2)[falls.argmax(-1)]


def slope_in_log(
    values: Float[Tensor, "*rest index"], first: int, offset: int = 1
) -> Float[Tensor, "*rest"]:
    """Least-squares slope of values over ln(index + offset), from `first` on: nats per e-fold of
    context, say."""
    x = torch.log(torch.arange(first, values.shape[-1], dtype=values.dtype) + offset)
    x = x - x.mean()
    return values[..., first:] @ (x / (x**2).sum())


def plane(points: Float[Tensor, "point token"]) -> Float[Tensor, "token 2"]:
    """The two principal directions of points, as columns of unit length; each with its largest
    entry positive."""
    centred = points - points.mean(0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return directions * torch.sign(largest)


def corner(paths: Float[Tensor, "*draw point 2"]) -> Int[Tensor, "*draw"]:
    """Index of the point farthest from the straight line between a path's ends."""
    chord = paths[..., -1:, :] - paths[..., :1, :]
    away = paths - paths[..., :1, :]
    distance = (chord[..., 0] * away[..., 1] - chord[..., 1] * away[..., 0]).abs()
    return distance.argmax(-1)


def angle(
    paths: Float[Tensor, "*draw point 2"], index: Int[Tensor, "*draw"]
) -> Float[Tensor, "*draw"]:
    """Degrees by which a path turns at a point: between the ways from its start to there and from
    there to its end."""
    place = paths.gather(-2, index[..., None, None].expand(*index.shape, 1, 2))[..., 0, :]
    come, go = place - paths[..., 0, :], paths[..., -1, :] - place
    cross = come[..., 0] * go[..., 1] - come[..., 1] * go[..., 0]
    return torch.rad2deg(torch.atan2(cross.abs(), (come * go).sum(-1)))


def bends(
    gram: Float[Tensor, "*draw point point"],
    steps: Float[Tensor, "point"],
    share: float = 0.1,
    places: int = 41,
) -> tuple[Float[Tensor, "*draw place"], Float[Tensor, "*draw place"]]:
    """Along a path in a space of any dimension: the step at evenly spaced places of its length, and
    the degrees by which the path turns there.

    The turn is that between the `share` of the whole length before the place and the one after it,
    so that it does not hang on where snapshots lie. gram: inner products of the points.
    """
    squares = gram.diagonal(dim1=-2, dim2=-1)
    beside = gram.diagonal(1, -2, -1)
    pieces = (squares[..., 1:] + squares[..., :-1] - 2 * beside).clamp(min=0).sqrt()
    length = torch.nn.functional.pad(pieces.cumsum(-1), (1, 0))
    middle = torch.linspace(share, 1 - share, places, dtype=gram.dtype)
    before, here, after = (
        _weights(length / length[..., -1:], middle + move) for move in (-share, 0, share)
    )
    come, go = here - before, after - here
    cosine = _inner(come, gram, go) / (_inner(come, gram, come) * _inner(go, gram, go)).sqrt()
    return here @ steps.to(gram), torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))


def _weights(
    at: Float[Tensor, "*draw point"], places: Float[Tensor, "place"]
) -> Float[Tensor, "*draw place point"]:
    """Weights of the points whose mixture lies at each place between them; `at` rises."""
    wanted = places.clamp(0, 1).expand(*at.shape[:-1], -1).contiguous()
    right = torch.searchsorted(at.contiguous(), wanted).clamp(1, at.shape[-1] - 1)
    low, high = at.gather(-1, right - 1), at.gather(-1, right)
    share = ((wanted - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)[..., None]
    points = torch.eye(at.shape[-1], dtype=at.dtype)
    return (1 - share) * points[right - 1] + share * points[right]


def _inner(a: Tensor, gram: Tensor, b: Tensor) -> Tensor:
    """Inner products of mixtures of points, [*draw, place]."""
    return ((a @ gram) * b).sum(-1)
