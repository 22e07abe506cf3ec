"""Intervals, corrections and rank correlations. Pure functions on tensors; every draw comes from a
generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Statistic = Callable[[Tensor], Tensor]


class Interval(NamedTuple):
    """An estimate with the ends of its interval, all of one shape."""

    value: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True)
class Estimate:
    """A part of a claim measured in one seed: value, 95 % interval, and n, the independent units
    behind it.

    `null`: what it was measured on where there is nothing to find; empty for the claim's own
    subject.
    """

    part: str
    seed: int | None
    value: float
    low: float
    high: float
    n: int
    null: str = ""

    @classmethod
    def of(
        cls, part: str, seed: int | None, interval: Interval, n: int, null: str = ""
    ) -> Estimate:
        """From an `Interval` of one number."""
        return cls(part, seed, *(float(x) for x in interval), n, null)

    def on(self, null: str) -> Estimate:
        """The same numbers, as those of a null."""
        return replace(self, null=null)


@dataclass(frozen=True)
class Rate:
    """How often a part's rule passes in repeated trials.

    kind: "false alarms on …" where there is nothing to find, "found where planted" where there is.
    """

    part: str
    kind: str
    passed: int
    of: int


def draws(
    statistic: Statistic,
    samples: Float[Tensor, "sample *rest"],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Float[Tensor, "draw *result"]:
    """A statistic of the mean over independent units: of these first, then of resamples of them.

    statistic: [draw, *rest] -> [draw, *result]. The units are sequences, documents or seeds, not
    tokens of one sequence. Error: ValueError for fewer than two, from which no spread can be told.
    """
    n = len(samples)
    if n < 2:
        raise ValueError(
            f"An interval needs at least two independent units, got {n}. "
            "Raise the number of sequences, documents or seeds."
        )
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    weights = torch.from_numpy(np.concatenate([np.ones((1, n)), counts]) / n).to(samples)
    means = weights @ samples.reshape(n, -1)
    return statistic(means.reshape(-1, *samples.shape[1:]))


def interval(drawn: Float[Tensor, "draw *result"], level: float = 0.95) -> Interval:
    """Estimate (the first draw) and the middle `level` of the others that are numbers."""
    edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=drawn.dtype)
    return Interval(drawn[0], *torch.nanquantile(drawn[1:], edges, dim=0))


def bootstrapped(
    statistic: Statistic,
    samples: Float[Tensor, "sample *rest"],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Interval:
    """A statistic of the mean over units with its percentile bootstrap interval."""
    return interval(draws(statistic, samples, rng, resamples))


def bootstrap_mean(
    samples: Float[Tensor, "sample *rest"],
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean over units with its percentile bootstrap interval."""
    return interval(draws(lambda means: means, samples, rng, resamples), level)


def wilson(right: Bool[Tensor, "*n sample"], z: float = 1.96) -> Interval:
    """Share of samples that are right, with Wilson's interval: it has a width at 0 and 1, too, and
    never leaves them. Samples are independent."""
    n, share = right.shape[-1], right.double().mean(-1)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + (z / (2 * n)) ** 2).sqrt()
    return Interval(share, middle - half, middle + half)


def ratio_draws(
    numerator: Float[Tensor, "sample *rest"],
    denominator: Float[Tensor, "sample"],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Float[Tensor, "draw *rest"]:
    """Sum of the numerator over units divided by that of the denominator, as `draws` of them."""
    both = torch.cat([numerator.reshape(len(denominator), -1), denominator[:, None]], 1)
    drawn = draws(lambda means: means[:, :-1] / means[:, -1:], both, rng, resamples)
    return drawn.reshape(-1, *numerator.shape[1:])


def ratio(
    numerator: Float[Tensor, "sample *rest"],
    denominator: Float[Tensor, "sample"],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Interval:
    """Ratio of sums over units with its percentile bootstrap interval."""
    return interval(ratio_draws(numerator, denominator, rng, resamples))


def holm(p: Float[Tensor, "test"]) -> Float[Tensor, "test"]:
    """Holm's step-down correction: p-values adjusted for the family-wise error over all tests."""
    order = p.argsort()
    factors = torch.arange(len(p), 0, -1, dtype=p.dtype)
    adjusted = torch.cummax((p[order] * factors).clamp(max=1), 0).values
    return torch.empty_like(p).scatter(0, order, adjusted)


def spearman(a: Float[Tensor, "n"], b: Float[Tensor, "n"]) -> float:
    """Spearman's rank correlation (average ranks for ties), NaN when either side is constant."""
    return float(rank_correlation(a, b))


def spearman_within(a: Float[Tensor, "n"], b: Float[Tensor, "n"], group: Int[Tensor, "n"]) -> float:
    """Mean of Spearman's rank correlation over groups, each by itself: what differs between groups
    alone does not count. NaN where a group has a constant side."""
    each = [spearman(a[group == one], b[group == one]) for one in group.unique()]
    return sum(each) / len(each)


def spearman_interval(
    a: Float[Tensor, "n"],
    b: Float[Tensor, "n"],
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Spearman's correlation with a bootstrap interval over the n pairs; resamples that are
    constant are dropped."""
    picks = rng.integers(0, len(a), size=(resamples, len(a)))
    every = torch.from_numpy(np.concatenate([np.arange(len(a))[None], picks]))
    value, low, high = interval(rank_correlation(a[every], b[every]), level)
    return float(value), float(low), float(high)


def auc_interval(
    score: Float[Tensor, "n"],
    labelled: Bool[Tensor, "n"],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Interval:
    """How well a score separates what is labelled from the rest, 0..1, with a bootstrap interval.

    The area under the ROC curve: the chance that a labelled one scores higher than another, ties
    counted half. Both groups are resampled apart; NaN where one is empty.
    """
    own, other = score[labelled], score[~labelled]
    wins = (own[:, None] > other).double() + (own[:, None] == other).double() / 2
    if not wins.numel():
        return Interval(*torch.full((3,), torch.nan))
    weights = []
    for n in wins.shape:
        counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
        weights.append(torch.from_numpy(np.concatenate([np.ones((1, n)), counts]) / n))
    return interval(torch.einsum("di,ij,dj->d", weights[0], wins, weights[1]))


def jaccard(a: Bool[Tensor, "*rest n"], b: Bool[Tensor, "*rest n"]) -> Float[Tensor, "*rest"]:
    """Size of the overlap over the size of the union of two sets given as masks; NaN when both are
    empty."""
    return (a & b).sum(-1) / (a | b).sum(-1)


def rank_correlation(a: Float[Tensor, "*r n"], b: Float[Tensor, "*r n"]) -> Float[Tensor, "*r"]:
    """Spearman's rank correlation along the last axis, NaN where either side is constant."""
    ra, rb = (_ranks(x.double()) for x in (a, b))
    ra, rb = ra - ra.mean(-1, keepdim=True), rb - rb.mean(-1, keepdim=True)
    scale = ra.norm(dim=-1) * rb.norm(dim=-1)
    return torch.where(scale > 0, (ra * rb).sum(-1) / scale, torch.nan)


def _ranks(x: Float[Tensor, "*r n"]) -> Float[Tensor, "*r n"]:
    """Ranks from 1 along the last axis, those of ties averaged."""
    ordered = x.sort(-1).values.contiguous()
    below, upto = (
        torch.searchsorted(ordered, x.contiguous(), right=side) for side in (False, True)
    )
    return (below + upto + 1).double() / 2
