"""Do heads hold a *relation*, or just pairs? Sums of each fact, and labels dealt anew.

Idea. A fact is a pair of words with a relation as its label. What a head raises for a pair does not
hang on the label, nor do the controls `anywhere`, `same_class` and `other_source`, which leave out
every word that any relation joins with the other. So the labels can be dealt anew among the facts
of a cluster (a topic, a document), forward and reverse together, without a forward pass: each
head's sums per fact stay, and only which facts are pooled changes. The generated world dealt its
labels in just this way, so that a dealing is as likely as the truth if heads know no labels.

Choosing. A relation's best head is chosen on one half of the clusters and measured on the other,
both ways, so that no fact is in both; intervals are over clusters.

Use. `table` sums over the occurrences of each fact; `deal` draws labels; `margins`, `maps` and what
is built on them take a stack of labellings [dealing, fact], of which the truth is one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.measures import relation_tests
from lib.measures.relation_places import Triplets

TOP = 3  # heads in a set whose overlap is taken


@dataclass(frozen=True)
class Facts:
    """Sums per head and fact of what the index exceeds each control by, above and below the line.

    `label`: the relation of a fact, also of a reversed one (`backward`), counted from 0 without
    direction; `pair`: facts that share it are one fact read in both directions.
    """

    above: Float[Tensor, "control head fact"]
    below: Float[Tensor, "control head fact"]
    label: Int[Tensor, " fact"]
    backward: Bool[Tensor, " fact"]
    pair: Int[Tensor, " fact"]
    cluster: Int[Tensor, " fact"]
    half: Int[Tensor, " fact"]

    @property
    def labels(self) -> int:
        return int(self.label.max()) + 1

    def at(self, rows: Tensor) -> Facts:
        """The facts of a mask."""
        sums = {name: getattr(self, name)[..., rows] for name in ("above", "below")}
        names = ("label", "backward", "pair", "cluster", "half")
        return replace(self, **sums, **{name: getattr(self, name)[rows] for name in names})


def table(
    sums: dict[str, Tensor], triplets: Triplets, tokens: Tensor, less: tuple[str, ...]
) -> Facts:
    """Sum over the occurrences of each fact; `sums` are [layer, head, n]."""
    fact, rows = torch.unique(triplets.fact, return_inverse=True)
    once = torch.empty_like(fact).scatter_(0, rows, torch.arange(len(rows)))  # one row of each
    gaps = relation_tests.differences(sums, triplets, less)
    above, below = (_pooled(torch.stack(part), rows, len(fact)) for part in zip(*gaps, strict=True))
    forward = len([name for name in triplets.names if not name.startswith("reversed ")])
    one = triplets.at(once)
    backward = one.relation >= forward
    label = one.relation % forward
    pair = _numbered(_pairs(one, tokens, backward))
    half = _halves(label, one.cluster)
    return Facts(above, below, label, backward, pair, one.cluster, half)


def per_opportunity(facts: Facts, triplets: Triplets, open_: Int[Tensor, " n"]) -> Facts:
    """The same facts with the positions that each offers below the line, instead of its events."""
    fact, rows = torch.unique(triplets.fact, return_inverse=True)
    offered = facts.below.new_zeros(len(fact)).index_add(0, rows, open_.to(facts.below))
    return replace(facts, below=offered.expand_as(facts.below))


def _pooled(values: Tensor, rows: Tensor, n: int) -> Float[Tensor, "control head fact"]:
    flat = values.flatten(1, 2)
    return flat.new_zeros(*flat.shape[:2], n).index_add(-1, rows, flat)


def _pairs(one: Triplets, tokens: Tensor, backward: Tensor) -> Int[Tensor, "fact 3"]:
    """Cluster, head token and tail token of each fact as it reads forward."""
    source, target = (tokens[one.document, place] for place in (one.source, one.target))
    head, tail = torch.where(backward, target, source), torch.where(backward, source, target)
    return torch.stack([one.cluster, head, tail], 1)


def _numbered(rows: Int[Tensor, "fact column"]) -> Int[Tensor, " fact"]:
    return torch.unique(rows, dim=0, return_inverse=True)[1]


def _halves(label: Tensor, cluster: Tensor) -> Int[Tensor, " fact"]:
    """Every other cluster of each label."""
    half = torch.zeros_like(label)
    for one in label.unique():
        mine = label == one
        half[mine] = torch.unique(cluster[mine], return_inverse=True)[1] % 2
    return half


def deal(facts: Facts, generator: torch.Generator, rounds: int) -> Int[Tensor, "round fact"]:
    """Labels dealt anew among the pairs of each cluster: each label as often there as before."""
    pairs, rows = torch.unique(facts.pair, return_inverse=True)
    label, cluster = (
        torch.empty_like(pairs).scatter_(0, rows, values) for values in (facts.label, facts.cluster)
    )
    slots = cluster.argsort(stable=True)  # pairs, cluster by cluster
    key = torch.rand(rounds, len(pairs), generator=generator, dtype=torch.double)
    key += cluster[slots]
    drawn = label[slots][key.argsort(1)]  # keys of a cluster stay within it
    return torch.empty_like(drawn).scatter_(1, slots.expand_as(drawn), drawn)[:, rows]


def _split(
    facts: Facts, labels: Int[Tensor, "dealing fact"], by: Int[Tensor, " fact"], size: int
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Sums above and below, [dealing, control, head, by, label], of forward facts or all given."""
    cell = by * facts.labels + labels  # [dealing, fact]
    chosen = torch.nn.functional.one_hot(cell, size * facts.labels).to(facts.above)
    return tuple(
        torch.einsum("chf,dfk->dchk", values, chosen).unflatten(-1, (size, facts.labels))
        for values in (facts.above, facts.below)
    )


def _ratio(above: Tensor, below: Tensor, dim: int) -> Tensor:
    """The excess over the largest control; NaN without events."""
    return (above / below).amin(dim)


def maps(
    facts: Facts, labels: Int[Tensor, "dealing fact"], min_events: int | float
) -> Float[Tensor, "dealing head label"]:
    """The excess of every head for every label; NaN where fewer than `min_events` events are."""
    above, below = _split(facts, labels, torch.zeros_like(facts.label), 1)
    value = _ratio(above, below, 1)[:, :, 0]
    return value.masked_fill((below.amin(1) < min_events)[:, :, 0], torch.nan)


@dataclass(frozen=True)
class Margins:
    """What the best head of each label exceeds its controls by, where it was not chosen.

    `head`: chosen on half 0 and on half 1 (-1: none has enough events). `draws` are resamples of
    clusters. Value and draws are NaN where too few events are left.
    """

    head: Int[Tensor, "dealing half label"]
    value: Float[Tensor, "dealing label"]
    draws: Float[Tensor, "round dealing label"]
    clusters: int


def margins(
    facts: Facts,
    labels: Int[Tensor, "dealing fact"],
    min_events: int | float,
    generator: torch.Generator,
    rounds: int = 500,
) -> Margins:
    """Choose the best head of each label on one half of the clusters, measure it on the other.

    Both ways, pooled; half of `min_events` is asked where it is chosen, all where it is measured.
    """
    chosen = _best(*_split(facts, labels, facts.half, 2), min_events / 2)
    above, below = _measured(facts, labels, chosen.flip(1))
    value, few = _ratio(above.sum(-1), below.sum(-1), 1), below.sum(-1).amin(1) < min_events
    weights = _resamples(above.shape[-1], generator, rounds).to(above)
    drawn = (torch.einsum("dclk,rk->rdcl", part, weights) for part in (above, below))
    draws = _ratio(*drawn, 2)
    value, draws = value.masked_fill(few, torch.nan), draws.masked_fill(few, torch.nan)
    return Margins(chosen, value, draws, above.shape[-1])


def _best(above: Tensor, below: Tensor, least: int | float) -> Int[Tensor, "dealing half label"]:
    value = _ratio(above, below, 1).masked_fill(below.amin(1) < least, torch.nan)
    best, head = value.nan_to_num(-torch.inf).max(1)
    return head.masked_fill(best.isinf(), -1)


def _measured(
    facts: Facts, labels: Tensor, head: Int[Tensor, "dealing half label"]
) -> list[Float[Tensor, "dealing control label cluster"]]:
    """Sums of each fact under the head that its half and label are measured with, by cluster."""
    who = head[torch.arange(len(labels))[:, None], facts.half, labels]  # [dealing, fact]
    number = torch.unique(facts.cluster, return_inverse=True)[1]
    size, fact = int(number.max()) + 1, torch.arange(labels.shape[1])
    cell = (labels * size + number)[:, None]
    sums = []
    for values in (facts.above, facts.below):
        mine = values[:, who.clamp_min(0), fact].transpose(0, 1) * (who >= 0)[:, None]
        empty = mine.new_zeros(*mine.shape[:2], facts.labels * size)
        total = empty.scatter_add(2, cell.expand_as(mine), mine)
        sums.append(total.unflatten(2, (facts.labels, size)))
    return sums


def _resamples(n: int, generator: torch.Generator, rounds: int) -> Float[Tensor, "round n"]:
    """How often each of n clusters is drawn."""
    drawn = torch.randint(n, (rounds, n), generator=generator)
    return torch.zeros(rounds, n).scatter_add(1, drawn, torch.ones(rounds, n))


def standing(facts: Facts, labels: Int[Tensor, "dealing fact"]) -> Float[Tensor, "dealing label"]:
    """How far the best head of each label stands out among its own dealings, where not chosen.

    A head's excess is told in standard deviations of what it is under all labellings, so that a
    head which raises every pair stands out for none; the head that stands out most on one half of
    the clusters is measured on the other, both ways.
    """
    value = _ratio(*_split(facts, labels, facts.half, 2), 1)  # [dealing, head, half, label]
    spread = value.std(0)
    z = torch.where(spread > 0, (value - value.mean(0)) / spread, 0.0)
    chosen = z.argmax(1).flip(1)  # on the other half
    return z.gather(1, chosen[:, None])[:, 0].mean(1)


def beyond_dealings(
    observed: Float[Tensor, "*rest"], dealt: Float[Tensor, "dealing *rest"]
) -> Float[Tensor, "*rest"]:
    """Share of dealings that reach the observed number, the truth counted as one of them.

    A dealing that leaves nothing to measure reaches nothing; where nothing was observed p is 1.
    """
    reached = (dealt.nan_to_num(-torch.inf) >= observed - 1e-9).sum(0)
    return torch.where(observed.isfinite(), (reached + 1.0) / (len(dealt) + 1), 1.0)


def tops(excess: Float[Tensor, "dealing head label"]) -> Bool[Tensor, "dealing head label"]:
    """The `TOP` heads of largest excess; none where fewer have enough events."""
    full = (excess.isfinite().sum(1) >= TOP)[:, None]
    order = excess.nan_to_num(-torch.inf).topk(min(TOP, excess.shape[1]), 1).indices
    return torch.zeros_like(excess, dtype=torch.bool).scatter(1, order, True) & full


def overlaps(
    a: Bool[Tensor, "dealing head label"], b: Bool[Tensor, "dealing head label"]
) -> Float[Tensor, "dealing label label"]:
    """Jaccard overlap of every set of `a` with every set of `b`; NaN where one is empty."""
    both = torch.einsum("dhl,dhm->dlm", a.float(), b.float())
    sizes = a.sum(1)[:, :, None] + b.sum(1)[:, None, :] - both
    empty = (a.sum(1) == 0)[:, :, None] | (b.sum(1) == 0)[:, None, :]
    return (both / sizes).masked_fill(empty, torch.nan)


def shared(sets: Bool[Tensor, "dealing head label"]) -> Float[Tensor, " dealing"]:
    """Mean overlap of the heads of two labels, over all pairs that have heads."""
    table_of = overlaps(sets, sets)
    pairs = torch.ones(table_of.shape[1:], dtype=torch.bool).triu(1)
    return table_of[:, pairs].nanmean(1)


@cache
def pairings(labels: int) -> Int[Tensor, "pairing label"]:
    """All ways to pair labels with labels, the true one first."""
    return torch.tensor(list(permutations(range(labels))))


def both_ways(
    overlap: Float[Tensor, "dealing label label"], pairing: Int[Tensor, "pairing label"]
) -> Float[Tensor, "dealing pairing"]:
    """Mean overlap of each label's heads with those of the reverse that a pairing gives it."""
    return overlap[:, torch.arange(overlap.shape[1]), pairing].nanmean(-1)


def breadth(
    facts: Facts, labels: Int[Tensor, "1 fact"], generator: torch.Generator, rounds: int = 200
) -> tuple[Float[Tensor, " label"], Float[Tensor, "round label"]]:
    """Number of heads that carry each label, and the same in resamples of clusters.

    The participation ratio of the heads' excess where it is positive: k heads with equal excess
    count as k, and heads with little excess hardly count. NaN where no head has any.
    """
    number = torch.unique(facts.cluster, return_inverse=True)[1]
    size = int(number.max()) + 1
    weights = torch.cat([torch.ones(1, size), _resamples(size, generator, rounds)])
    sums = (
        torch.einsum("chkl,rk->rchl", x[0], weights) for x in _split(facts, labels, number, size)
    )
    excess = _ratio(*sums, 1).nan_to_num(0).clamp_min(0)  # [round, head, label]
    ratio = excess.sum(1) ** 2 / (excess**2).sum(1)
    return ratio[0], ratio[1:]


def relabelled(triplets: Triplets, tokens: Tensor, labels: Int[Tensor, " fact"]) -> Triplets:
    """The triplets with a labelling of their facts (in the order of `table`) for the truth."""
    forward = len([name for name in triplets.names if not name.startswith("reversed ")])
    rows = torch.unique(triplets.fact, return_inverse=True)[1]
    backward = triplets.relation >= forward
    relation = labels[rows] + forward * backward
    size = int(tokens.max()) + 1
    head = tokens[triplets.document, triplets.source]
    base = ((triplets.cluster * 2 + backward) * size + head) * size
    key, order = torch.unique(
        base + tokens[triplets.document, triplets.target], return_inverse=True
    )
    said = torch.empty_like(key).scatter_(0, order, relation)
    words = tokens[triplets.document[:, None], triplets.other_tails.clamp_min(0)]
    place = torch.searchsorted(key, base[:, None] + words).clamp_max(len(key) - 1)
    told = (triplets.joined >= 0) & (key[place] == base[:, None] + words)
    joined = torch.where(told, said[place], triplets.joined)
    return replace(triplets, relation=relation, joined=joined)
