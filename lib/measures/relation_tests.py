"""The relation index of each head with its controls, intervals and permutation tests, from the sums
of `relations.tally`.

Idea. An index says little alone. Beside it stands what a head would score if another word were
right:

| control | what takes the tail's place (or the head token's) | a head with this alone passes |
|---|---|---|
| `fake` | the 10th token of the text, the paper's only null | raises words of the tail's kind |
| `random` | any visible token | raises what is visible |
| `same_class` | another visible word of the tail's class | raises tails of the relation, whatever it reads |
| `other_source` | the tail's share had the head read another word of the head token's class | raises partners of the head token |
| `other_relation` | a word that another relation joins with the head token | – |

A control is compared over the events that have it. Permutation tests ask the same of the last
three: does the index
exceed what it would be if each fact's word were drawn from those that could stand in its place?

Use. `summarise` gives the numbers per head and relation, `bootstrap` their intervals,
`exchange_test` and `holm` their
corrected p-values. Sums are [*head, triplet], results [*head, relation].
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.measures import statistics
from lib.measures.relation_index import Triplets

TESTED = ("same_class", "other_source", "other_relation")
CONTROLS = ("fake", "random", *TESTED)
Control = Literal["same_class", "other_source", "other_relation"]


def by_relation(
    values: Float[Tensor, "*head n"], triplets: Triplets
) -> Float[Tensor, "*head relation"]:
    """Sum over the triplets of each relation."""
    result = values.new_zeros(*values.shape[:-1], len(triplets.names))
    return result.index_add(-1, triplets.relation, values)


def substitutes(
    sums: dict[str, Tensor], triplets: Triplets, name: Control
) -> tuple[Int[Tensor, "n k"], Float[Tensor, "*head n k"]]:
    """Positions of the words that a control puts in the place of a triplet's (-1: none), and the
    shares with them."""
    if name == "other_source":
        return triplets.other_sources, sums["other_sources"]
    places = (
        triplets.other_tails
        if name == "same_class"
        else triplets.other_tails.masked_fill(~triplets.partner, -1)
    )
    return places, sums["other_tails"]


def compared(
    sums: dict[str, Tensor], triplets: Triplets, name: str
) -> tuple[Float[Tensor, "*head n"], Float[Tensor, "*head n"], Float[Tensor, "*head n"]]:
    """Per triplet the share of the tail, that of a control, and the events, all summed over the
    events that have the control."""
    if name == "random":
        return sums["tail"], sums["random"], sums["events"]
    if name == "fake":
        return sums["tail_beside_fake"], sums["fake"], sums["fake_events"]
    places, shares = substitutes(sums, triplets, name)
    count = (places >= 0).sum(1)
    mean = shares.masked_fill(places < 0, 0).sum(-1) / count.clamp_min(1)
    return sums["tail"] * (count > 0), mean, sums["events"] * (count > 0)


def summarise(
    sums: dict[str, Tensor], triplets: Triplets, open_: Int[Tensor, " n"], min_events: int = 10
) -> dict[str, Float[Tensor, "*head relation"]]:
    """Equation 3 with what belongs beside it, per head and relation; NaN where fewer than
    `min_events` events passed.

    `index` is pooled over events; `macro` is the mean of the triplets' own means; the `CONTROLS`
    are indexes too;
    `gate_rate` is events per opportunity and `per_opportunity` the index on that base.
    """
    events = by_relation(sums["events"], triplets)
    total = by_relation(open_.to(events).expand_as(sums["events"]), triplets)
    once = per_triplet(sums)
    result = {"index": by_relation(sums["tail"], triplets) / events}
    result["macro"] = by_relation(once["tail"], triplets) / by_relation(once["events"], triplets)
    for name in CONTROLS:
        _, control, below = compared(sums, triplets, name)
        result[name] = by_relation(control, triplets) / by_relation(below, triplets)
    blank = {
        name: value.masked_fill(events < min_events, torch.nan) for name, value in result.items()
    }
    return blank | {
        "events": events,
        "gate_rate": events / total,
        "per_opportunity": by_relation(sums["tail"], triplets) / total,
    }


def per_triplet(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """The sums with every triplet that a head looks at counted once: pooled, they give the mean of
    the triplets' own means."""
    events, shown = sums["events"], sums["fake_events"]
    result = {name: sums[name] / events.clamp_min(1) for name in ("tail", "random")}
    result |= {name: sums[name] / shown.clamp_min(1) for name in ("fake", "tail_beside_fake")}
    result |= {
        name: sums[name] / events.clamp_min(1)[..., None]
        for name in ("other_tails", "other_sources")
    }
    return result | {"events": (events > 0).to(events), "fake_events": (shown > 0).to(events)}


def _gaps(
    sums: dict[str, Tensor], triplets: Triplets, less: tuple[str, ...]
) -> list[tuple[Float[Tensor, "*head n"], Float[Tensor, "*head n"]]]:
    """Per control, what is summed above and below the line of the index less that control; of the
    index itself without any."""
    if not less:
        return [(sums["tail"], sums["events"])]
    return [
        (tail - control, events)
        for tail, control, events in (compared(sums, triplets, name) for name in less)
    ]


def excess(
    sums: dict[str, Tensor], triplets: Triplets, less: tuple[str, ...]
) -> Float[Tensor, "*head relation"]:
    """What the index exceeds the largest of the named controls by (the index, if none is named);
    NaN without events."""
    return torch.stack(
        [
            by_relation(above, triplets) / by_relation(below, triplets)
            for above, below in _gaps(sums, triplets, less)
        ]
    ).amin(0)


def support(
    sums: dict[str, Tensor], triplets: Triplets, less: tuple[str, ...]
) -> Float[Tensor, "*head relation"]:
    """The events over which `excess` is taken; of several controls, those of the one that has
    fewest."""
    return torch.stack(
        [by_relation(below, triplets) for _, below in _gaps(sums, triplets, less)]
    ).amin(0)


def resampled(
    sums: dict[str, Tensor],
    triplets: Triplets,
    generator: torch.Generator,
    rounds: int = 500,
    less: tuple[str, ...] = (),
) -> Float[Tensor, "round *head relation"]:
    """`excess` in `rounds` resamples of the documents, drawn with replacement."""
    documents = int(triplets.document.max()) + 1
    drawn = torch.randint(documents, (rounds, documents), generator=generator)
    weights = (
        torch.zeros(rounds, documents)
        .scatter_add(1, drawn, torch.ones(rounds, documents))
        .to(sums["tail"])
    )
    return torch.stack(
        [
            _drawn(above, triplets, weights) / _drawn(below, triplets, weights)
            for above, below in _gaps(sums, triplets, less)
        ]
    ).amin(0)


def bootstrap(
    sums: dict[str, Tensor],
    triplets: Triplets,
    generator: torch.Generator,
    rounds: int = 500,
    less: tuple[str, ...] = (),
    level: float = 0.95,
) -> Float[Tensor, "2 *head relation"]:
    """Interval (low, high) over documents of the pooled index, or with `less` of its `excess`."""
    values = resampled(sums, triplets, generator, rounds, less)
    edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=values.dtype)
    return torch.nanquantile(values, edges, dim=0)


def _drawn(
    value: Float[Tensor, "*head n"], triplets: Triplets, weights: Float[Tensor, "round document"]
) -> Float[Tensor, "round *head relation"]:
    """Sums over the triplets of each relation in each resample of documents."""
    documents, relations = weights.shape[1], len(triplets.names)
    cell = triplets.document * relations + triplets.relation
    grid = value.new_zeros(*value.shape[:-1], documents * relations).index_add(-1, cell, value)
    return torch.einsum("bd,...dr->b...r", weights, grid.unflatten(-1, (documents, relations)))


def exchange_test(
    sums: dict[str, Tensor],
    triplets: Triplets,
    tokens: Int[Tensor, "batch position"],
    name: Control,
    generator: torch.Generator,
    rounds: int = 2000,
) -> Float[Tensor, "*head relation"]:
    """Permutation p-value of each head and relation: could the tail (or the head token) as well be
    a control's word?

    Each round draws one word for every fact, from its own and all that could stand in its place in
    some document, and
    puts it in wherever it is visible; elsewhere the fact's own word stays. So occurrences of one
    fact are exchanged
    together, and are no independent evidence. Facts without a substitute never change.
    """
    counted = sums["events"].flatten(0, -2).any(0)  # the others add nothing to any head
    if not counted.any():
        return torch.ones_like(by_relation(sums["tail"], triplets))
    places, shares = substitutes(sums, triplets, name)
    triplets, tail = triplets.at(counted), sums["tail"][..., counted]
    options = torch.cat([tail[..., None], shares[..., counted, :]], -1).flatten(
        -2
    )  # [*head, n * (1 + k)]
    own = triplets.source if name == "other_source" else triplets.target
    words = torch.cat([own[:, None], places[counted]], 1)
    draw = _Draws(triplets, tokens, words)
    first = torch.arange(len(triplets)) * words.shape[1]
    observed = by_relation(tail, triplets)
    exceeded = torch.ones_like(observed)
    for _ in range(rounds):
        drawn = by_relation(options[..., first + draw(generator)], triplets)
        exceeded += drawn >= observed - 1e-6 * observed.abs()
    return exceeded / (rounds + 1)


class _Draws:
    """Draws one word a fact, and gives the column of each triplet's words at which it stands (0,
    the triplet's own, if it is not there)."""

    def __init__(
        self,
        triplets: Triplets,
        tokens: Int[Tensor, "batch position"],
        words: Int[Tensor, "n option"],
    ) -> None:
        self.there: Bool[Tensor, "n option"] = words >= 0
        token = tokens[triplets.document[:, None], words.clamp_min(0)]
        size = int(tokens.max()) + 1
        pairs, self.number = torch.unique(
            torch.where(self.there, triplets.fact[:, None] * size + token, -1), return_inverse=True
        )
        self.fact = (pairs + size).div(
            size, rounding_mode="floor"
        )  # of each word of each fact; 0 for none

    def __call__(self, generator: torch.Generator) -> Int[Tensor, " n"]:
        key = torch.rand(len(self.fact), generator=generator)
        least = key.new_full((int(self.fact.max()) + 1,), 2.0).scatter_reduce(
            0, self.fact, key, "amin"
        )
        chosen = (key == least[self.fact])[self.number] & self.there
        return chosen.int().argmax(1)  # the first of equals: column 0 where none is chosen


def holm(p: Float[Tensor, "*head relation"]) -> Float[Tensor, "*head relation"]:
    """Holm's correction for all heads, within each relation."""
    columns = p.flatten(0, -2).unbind(-1)
    return torch.stack([statistics.holm(column) for column in columns], -1).view_as(p)
