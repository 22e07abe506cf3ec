"""What the maps of the relation index say about the paper's claims R1 to R5: pure functions of
`relation_maps.Found`.

Every number comes with an interval, and none is read off the head that was chosen for being the
largest: the best head
is chosen on every other document and measured on the rest. Overlaps of head sets are compared with
what heads drawn at
random would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.analyses.relation_maps import Found
from lib.measures import relation_index, relation_tests, statistics
from lib.measures.statistics import Estimate

CEILING = 0.1  # the paper's fake tails stay below it everywhere
TOP = 3  # heads in a set whose overlap is taken


def half(found: Found, odd: bool) -> Found:
    """The findings on every other document, with half the events asked of a cell."""
    chosen = found.encoded.triplets.document % 2 == int(odd)
    sums = {name: value[:, :, chosen] for name, value in found.sums.items()}
    encoded = replace(found.encoded, triplets=found.encoded.triplets.at(chosen))
    return Found(encoded, found.choices, sums, found.min_events // 2)


def excess(found: Found, less: tuple[str, ...]) -> Float[Tensor, "layer head relation"]:
    """By how much the index exceeds the largest of the named controls; NaN where too few events
    have them all."""
    given = found.sums, found.encoded.triplets, less
    return relation_tests.excess(*given).masked_fill(
        relation_tests.support(*given) < found.min_events, torch.nan
    )


@dataclass(frozen=True)
class Best:
    """The head of largest `excess` in one half of the documents, and its excess in the other half,
    also in resamples of that half.

    A relation without a head of enough events has the head (-1, -1) and NaN.
    """

    head: tuple[int, int]
    value: float
    draws: Float[Tensor, " round"]
    documents: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the resamples."""
        return _interval(self.draws)


def best_heads(
    found: Found, less: tuple[str, ...], seed: int, rounds: int = 500
) -> dict[str, Best]:
    """The best head of each relation: chosen on the even documents, measured on the odd ones."""
    choose, judge = half(found, False), half(found, True)
    first, value = (excess(part, less).flatten(0, 1) for part in (choose, judge))
    draws = relation_tests.resampled(
        judge.sums, judge.encoded.triplets, torch.Generator().manual_seed(seed), rounds, less
    ).flatten(1, 2)
    heads, count, result = found.sums["tail"].shape[1], _documents(judge), {}
    for r, name in enumerate(found.encoded.triplets.names):
        best = int(first[:, r].nan_to_num(-torch.inf).argmax())
        none = Best((-1, -1), float("nan"), torch.full((rounds,), torch.nan), count)
        known = bool(first[best, r].isfinite())
        result[name] = (
            Best((best // heads, best % heads), float(value[best, r]), draws[:, best, r], count)
            if known
            else none
        )
    return result


def margin(part: str, seed: int, best: dict[str, Best], names: Sequence[str]) -> Estimate:
    """The mean over relations of the best heads' excess, with its interval over documents. A
    relation without a head counts as 0."""
    chosen = [best[name] for name in names]
    value = float(np.nan_to_num([one.value for one in chosen]).mean())
    mean = torch.stack([one.draws for one in chosen]).nan_to_num(0).mean(0)
    return Estimate(part, seed, value, *_interval(mean), chosen[0].documents)


def _interval(draws: Float[Tensor, " round"]) -> tuple[float, float]:
    low, high = torch.nanquantile(draws, torch.tensor([0.025, 0.975], dtype=draws.dtype)).tolist()
    return low, high


def salient(found: Found) -> Bool[Tensor, "layer head relation"]:
    """Heads that hold a relation by the paper's reading: an index above `CEILING` and above the
    head's own fake tail."""
    index, fake = (found.summary[name].nan_to_num(0) for name in ("index", "fake"))
    return (index > CEILING) & (index > fake)


def pairs(
    flagged: Bool[Tensor, "layer head relation"], names: Sequence[str]
) -> set[tuple[int, int, str]]:
    """The (layer, head, relation) of a mask."""
    return {(int(layer), int(head), names[r]) for layer, head, r in flagged.nonzero()}


def sparsity(
    part: str, seed: int, held: Bool[Tensor, "layer head relation"], rng: np.random.Generator
) -> Estimate:
    """The share of heads that hold a relation, averaged over the relations that some head holds,
    with its interval over them.

    NaN if fewer than two are held: what no head holds is not sparse.
    """
    share = held.float().mean((0, 1))
    share = share[share > 0]
    return (
        Estimate.of(part, seed, statistics.bootstrap_mean(share, rng), len(share))
        if len(share) > 1
        else _nothing(part, seed)
    )


def fewer(
    part: str, seed: int, found: Found, held: Bool[Tensor, "layer head relation"]
) -> Estimate:
    """The number of heads that hold subj less that of heads that hold obj: a bare count."""
    names = found.encoded.triplets.names
    counts = held.sum((0, 1))
    return count(
        part, seed, int(counts[names.index("subj")] - counts[names.index("obj")]), _documents(found)
    )


def overlap(
    part: str,
    seed: int,
    found: Found,
    less: tuple[str, ...],
    pairs: list[tuple[str, str]],
    rng: np.random.Generator,
    rounds: int = 2000,
) -> Estimate:
    """The mean overlap (Jaccard) of the `TOP` heads of pairs of relations by `excess`, less that of
    heads drawn at random.

    The interval is the observed mean less the 97.5 % and 2.5 % points of random draws. Pairs with a
    relation in which
    fewer heads have enough events are left out; NaN if none remains.
    """
    ranked = excess(found, less).flatten(0, 1)
    top = {
        name: _top(ranked[:, r])
        for r, name in enumerate(found.encoded.triplets.names)
        if int(ranked[:, r].isfinite().sum()) >= TOP
    }
    pairs = [(a, b) for a, b in pairs if a in top and b in top]
    if not pairs:
        return _nothing(part, seed)
    observed = np.mean([statistics.jaccard(top[a], top[b]) for a, b in pairs])
    drawn = (
        rng.permuted(np.tile(np.arange(len(ranked)), (rounds, len(pairs), 1)), axis=2)[:, :, :TOP]
        < TOP
    )
    null = (drawn.sum(2) / (2 * TOP - drawn.sum(2))).mean(1)
    low, high = np.quantile(null, [0.025, 0.975])
    return Estimate(
        part, seed, *(float(observed - x) for x in (null.mean(), high, low)), len(pairs)
    )


def _top(values: Float[Tensor, " head"]) -> Bool[Tensor, " head"]:
    """The `TOP` heads of largest value."""
    return torch.zeros(len(values), dtype=torch.bool).index_fill(
        0, values.nan_to_num(-torch.inf).topk(TOP).indices, True
    )


def _nothing(part: str, seed: int) -> Estimate:
    """Nothing could be measured."""
    return Estimate(part, seed, *[float("nan")] * 3, 0)


def pairs_of(names: list[str]) -> list[tuple[str, str]]:
    """All pairs of different relations."""
    return list(combinations(names, 2))


def both_ways(names: list[str]) -> list[tuple[str, str]]:
    """Each relation with its reverse."""
    return [(name, f"reversed {name}") for name in names]


def stability(
    part: str,
    seed: int,
    by_tau: dict[float, Found],
    less: tuple[str, ...],
    rng: np.random.Generator,
    resamples: int = 500,
) -> Estimate:
    """The lowest rank correlation between maps of `excess` at two values of tau, over cells that
    both fill, with its interval over cells."""
    rows = []
    for a, b in combinations(by_tau.values(), 2):
        x, y = (excess(one, less).flatten() for one in (a, b))
        both = x.isfinite() & y.isfinite()
        if int(both.sum()) > 2:
            rows.append(
                (*statistics.spearman_interval(x[both], y[both], rng, resamples), int(both.sum()))
            )
    return Estimate(part, seed, *min(rows)) if rows else _nothing(part, seed)


def most_active(found: Found) -> Float[Tensor, "layer head relation"]:
    """The share of a relation's triplets for which each head has the largest mean share (figures
    10, 20, 21).

    Triplets that no head looks at are left out.
    """
    mean = (found.sums["tail"] / found.sums["events"]).nan_to_num(-1).flatten(0, 1)
    value, winner = mean.max(0)
    triplets, (layers, heads) = found.encoded.triplets, found.sums["tail"].shape[:2]
    wins = torch.zeros(layers * heads, len(triplets.names)).index_put_(
        (winner, triplets.relation), (value > 0).float(), accumulate=True
    )
    return (wins / wins.sum(0)).unflatten(0, (layers, heads))


def _documents(found: Found) -> int:
    return len(found.encoded.triplets.document.unique())


def count(part: str, seed: int, number: int, documents: int) -> Estimate:
    """A plain count, which has no interval of its own."""
    return Estimate(part, seed, float(number), float(number), float(number), documents)


# --- the multiverse of choices (chapter 7) ---

EXCLUSIONS: dict[str, tuple[relation_index.Exclusion, ...]] = {
    "nothing out": (),
    "itself out": ("self",),
    "places out": ("self", "previous", "first"),
}


def universes(printed: relation_index.Choices) -> dict[str, relation_index.Choices]:
    """Every combination of gate, input, ratio and exclusions, by name; `printed` gives the ratio
    and the fake tail."""
    choices = product(
        ("forward", "embedding"),
        ("current", "source", "context"),
        (printed.tau, None),
        EXCLUSIONS.values(),
    )
    made = [
        replace(printed, attention=a, ov_input=o, tau=tau, exclude=exclude)
        for a, o, tau, exclude in choices
    ]
    return {", ".join(described(universe).values()): universe for universe in made}


def described(universe: relation_index.Choices) -> dict[str, str]:
    """A universe as columns of a table: gate, sharpness, what is left out, input."""
    left_out = next(name for name, exclude in EXCLUSIONS.items() if exclude == universe.exclude)
    sharpness = "argmax" if universe.tau is None else f"ratio {universe.tau:g}"
    return {
        "gate": universe.attention,
        "sharpness": sharpness,
        "left out": left_out,
        "input": universe.ov_input,
    }


def once_a_triplet(found: Found) -> Found:
    """The same findings with each triplet counted once, however many events it has; a cell needs as
    many triplets as events before."""
    return replace(found, sums=relation_tests.per_triplet(found.sums))


def exceeding(
    found: Found, less: tuple[str, ...], by: float = 0.05
) -> Bool[Tensor, "layer head relation"]:
    """Heads whose index exceeds all the named controls by at least `by`."""
    return excess(found, less).nan_to_num(-1) > by


NULLS: dict[str, tuple[str, ...]] = {
    "fake tail": ("fake",),
    "random token": ("random",),
    "same class": ("same_class",),
    "same class, other source": ("same_class", "other_source"),
    "these and other relation": ("same_class", "other_source", "other_relation"),
}


def conclusions(found: Found, names: list[str]) -> dict[str, int]:
    """For each null, the number of relations for which some head exceeds it."""
    columns = [found.encoded.triplets.names.index(name) for name in names]
    return {
        null: int(exceeding(found, less)[..., columns].flatten(0, 1).any(0).sum())
        for null, less in NULLS.items()
    }
