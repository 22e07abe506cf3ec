"""The relation index of each head with its controls, intervals and permutation tests, from the sums of `relations.tally`.

Idea. An index says little alone. Beside it stand what a head would score if another tail were the right one (`fake`,
`random`, `same_class`) and if it had read another head word (`other_head`); the interval of the excess over documents;
and a permutation test that lets every fact's word change places with others of its class.

Use. `summarise` gives the numbers per head and relation, `bootstrap` their intervals, `exchange_test` and `holm` their
corrected p-values. All take leading axes for granted: sums are [*head, triplet], results [*head, relation].
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib import statistics
from lib.relations import Triplets

CONTROLS = ("fake", "random", "same_class", "other_head")


def by_relation(values: Float[Tensor, "*head n"], triplets: Triplets) -> Float[Tensor, "*head relation"]:
    """Sum over the triplets of each relation."""
    result = values.new_zeros(*values.shape[:-1], len(triplets.names))
    return result.index_add(-1, triplets.relation, values)


def summarise(sums: dict[str, Tensor], triplets: Triplets, open_: Int[Tensor, " n"], min_events: int = 10) -> dict[str, Float[Tensor, "*head relation"]]:
    """Equation 3 with what belongs beside it, per head and relation; NaN where fewer than `min_events` events passed.

    `index` is pooled over events; `macro` is the mean of the triplets' own means; `fake`, `random`, `same_class` (another
    word of the tail's class) and `other_head` (another word of the head's class read instead) are indexes of the
    controls; `gate_rate` is events per opportunity and `per_opportunity` the index on that base.
    """
    events = by_relation(sums["events"], triplets)
    total = by_relation(open_.to(events).expand_as(sums["events"]), triplets)
    result = {name: _quotient(sums, triplets, name) for name in ("index", *CONTROLS)}
    result["macro"] = _quotient(per_triplet(sums), triplets, "index")
    blank = {name: value.masked_fill(events < min_events, torch.nan) for name, value in result.items()}
    return blank | {"events": events, "gate_rate": events / total, "per_opportunity": by_relation(sums["tail"], triplets) / total}


def per_triplet(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    """The sums with every triplet that a head looks at counted once: pooled, they give the mean of the triplets' own means."""
    events, shown = sums["events"], sums["fake_events"]
    result = {name: sums[name] / events.clamp_min(1) for name in ("tail", "random")} | {"fake": sums["fake"] / shown.clamp_min(1)}
    result |= {name: sums[name] / events.clamp_min(1)[..., None] for name in ("other_tails", "other_heads")}
    return result | {"events": (events > 0).to(events), "fake_events": (shown > 0).to(events)}


def _quotient(sums: dict[str, Tensor], triplets: Triplets, name: str) -> Float[Tensor, "*head relation"]:
    above, below = ratio(sums, triplets, name)
    return by_relation(above, triplets) / by_relation(below, triplets)


def ratio(sums: dict[str, Tensor], triplets: Triplets, name: str) -> tuple[Float[Tensor, "*head n"], Float[Tensor, "*head n"]]:
    """Per triplet, what is summed above and below the line of the pooled index or of a control."""
    if name in ("same_class", "other_head"):
        what = "other_tails" if name == "same_class" else "other_heads"
        present = (getattr(triplets, what) >= 0).sum(1)
        return sums[what].sum(-1) / present.clamp_min(1), sums["events"] * (present > 0)
    return {"index": (sums["tail"], sums["events"]), "fake": (sums["fake"], sums["fake_events"]), "random": (sums["random"], sums["events"])}[name]


def excess_parts(sums: dict[str, Tensor], triplets: Triplets, name: str) -> list[tuple[Float[Tensor, "*head n"], Float[Tensor, "*head n"]]]:
    """Quotients (above, below the line, per triplet) that add up to the index less a control, over the events that have that control."""
    above, below = ratio(sums, triplets, name)
    if name == "fake":  # visible at some of a triplet's events only, so that the two are averaged apart
        return [(sums["tail"], sums["events"]), (-above, below)]
    return [(sums["tail"] * (below > 0) - above, below)]


def excess(sums: dict[str, Tensor], triplets: Triplets, less: tuple[str, ...]) -> Float[Tensor, "*head relation"]:
    """What the index exceeds the largest of the named controls by; NaN without events."""
    gaps = [sum(by_relation(above, triplets) / by_relation(below, triplets) for above, below in excess_parts(sums, triplets, name)) for name in less]
    return torch.stack(gaps).amin(0)


def bootstrap(
    sums: dict[str, Tensor], triplets: Triplets, generator: torch.Generator, rounds: int = 500, less: tuple[str, ...] = (), level: float = 0.95
) -> Float[Tensor, "2 *head relation"]:
    """Interval (low, high) over documents, drawn with replacement, of the pooled index, or with `less` of its `excess`."""
    documents = int(triplets.document.max()) + 1
    drawn = torch.randint(documents, (rounds, documents), generator=generator)
    weights = torch.zeros(rounds, documents).scatter_add(1, drawn, torch.ones(rounds, documents)).to(sums["tail"])
    parts = [excess_parts(sums, triplets, name) for name in less] or [[ratio(sums, triplets, "index")]]
    values = torch.stack([sum(_drawn(above, triplets, weights) / _drawn(below, triplets, weights) for above, below in rows) for rows in parts]).amin(0)
    edges = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=values.dtype)
    return torch.nanquantile(values, edges, dim=0)


def _drawn(value: Float[Tensor, "*head n"], triplets: Triplets, weights: Float[Tensor, "round document"]) -> Float[Tensor, "round *head relation"]:
    """Sums over the triplets of each relation in each resample of documents."""
    documents, relations = weights.shape[1], len(triplets.names)
    cell = triplets.document * relations + triplets.relation
    grid = value.new_zeros(*value.shape[:-1], documents * relations).index_add(-1, cell, value)
    return torch.einsum("bd,...dr->b...r", weights, grid.unflatten(-1, (documents, relations)))


def exchange_test(
    sums: dict[str, Tensor],
    triplets: Triplets,
    tokens: Int[Tensor, "batch position"],
    what: Literal["other_tails", "other_heads"],
    generator: torch.Generator,
    rounds: int = 2000,
) -> Float[Tensor, "*head relation"]:
    """Permutation p-value of each head and relation: could the tail (or head) as well be another word of its class?

    Each round gives every fact a word drawn from its own and the alternatives, the same in all documents (occurrences of
    one fact are no independent evidence), and sums the shares again. Facts without an alternative never change.
    """
    counted = sums["events"].flatten(0, -2).any(0)  # the others add nothing to any head
    triplets, tail, others = triplets.at(counted), sums["tail"][..., counted], sums[what][..., counted, :]
    options = torch.cat([tail[..., None], others], -1).flatten(-2)  # [*head, n * (1 + k)]
    words = torch.cat([_own(triplets, what)[:, None], getattr(triplets, what)], 1)
    slot, slots = _slots(triplets, tokens, words)
    observed = by_relation(tail, triplets)
    exceeded = torch.ones_like(observed)
    first = torch.arange(len(triplets)) * words.shape[1]
    for _ in range(rounds):
        key = torch.rand(slots, generator=generator)[slot].masked_fill(words < 0, 2.0)
        drawn = by_relation(options[..., first + key.argmin(1)], triplets)
        exceeded += drawn >= observed - 1e-6 * observed.abs()
    return exceeded / (rounds + 1)


def _own(triplets: Triplets, what: str) -> Tensor:
    return triplets.target if what == "other_tails" else triplets.source


def _slots(triplets: Triplets, tokens: Tensor, words: Int[Tensor, "n option"]) -> tuple[Int[Tensor, "n option"], int]:
    """Number the (fact, token) pairs, so that one random key each makes the draw of a fact the same everywhere."""
    token = tokens[triplets.document[:, None], words.clamp_min(0)]
    pair = triplets.fact[:, None] * (int(tokens.max()) + 1) + token
    pairs, slot = torch.unique(pair, return_inverse=True)
    return slot, len(pairs)


def holm(p: Float[Tensor, "*head relation"]) -> Float[Tensor, "*head relation"]:
    """Holm's correction for all heads, within each relation."""
    columns = p.flatten(0, -2).unbind(-1)
    return torch.stack([statistics.holm(column) for column in columns], -1).view_as(p)
