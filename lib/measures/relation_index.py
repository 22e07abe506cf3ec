"""The relation index of Ren et al. (2024), as printed and calibrated, for all heads of a layer.

Idea. A triplet T = (head token t_s at position s, relation, tail token t_o at position o) is in the
text. A head encodes the relation if, where it looks at t_s, it raises t_o:

1. gate (equation 1): at a position j >= max(s, o) the head's largest attention goes to s, tau times
   the second largest;
2. share (equation 2): of what the head raises among the distinct tokens visible at j, the share
   that falls to t_o: a = q_o / sum_k q_k with q_k = max(0, p_k - mean_k p_k) and
   p = softmax(x W_OV W_U);
3. index (equation 3): the mean of a over all (T, j) that pass the gate.

Use. `tally` sums shares over the positions j of each triplet, for the tail and for what stands in
its place in the controls; index, gate rate, nulls and intervals come from those few numbers, in
`relation_tests` and `relation_facts`:

    seen = see(tokens, lengths)                                # distinct tokens of each document
    projected = project(values, W_O, unembedding, seen)        # [batch, head, position, distinct]
    (sums,) = tally(pattern, projected, seen, triplets, [PRINTED])

Speed. The softmax's normaliser cancels in a, so only the visible tokens' logits are needed: no
array is as large as vocabulary squared, or events times vocabulary. A larger tau and what is left
out only select events, so that choices which share attention and input are scored together.

Caveat. A high index is no proof. The tail may be raised whatever the head token is (a static
preference), by any word of its class, or at positions that the head would look at anyway (itself,
the token before): hence the controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.measures.relation_places import Seen, Triplets

Exclusion = Literal["self", "previous", "first"]
CHUNK = 1 << 22  # numbers held at once while events are scored


@dataclass(frozen=True)
class Choices:
    """What the paper leaves open, one field each; the defaults are what it prints."""

    attention: Literal["forward", "embedding"] = "forward"
    ov_input: Literal["current", "source", "context"] = "current"
    tau: float | None = 2.2  # None: the largest attention is enough (the paper's training study)
    exclude: tuple[Exclusion, ...] = ()
    fake_position: int = 9  # the paper's fake tail: the 10th token of the sequence

    def __post_init__(self) -> None:
        unknown = set(self.exclude) - {"self", "previous", "first"}
        if unknown or (self.tau is not None and self.tau < 1):
            raise ValueError(
                f"exclude={self.exclude}, tau={self.tau}: exclude names self, previous or first; "
                "tau is a ratio of at least 1, or None"
            )

    @property
    def scored(self) -> tuple[str, str, int]:
        """What an event's shares depend on; all else only selects events."""
        return self.attention, self.ov_input, self.fake_position


# What is summed per head and triplet.
SINGLE = ("events", "tail", "fake", "fake_events", "tail_beside_fake", "anywhere", "random")
PRINTED = Choices()
CALIBRATED = Choices(ov_input="source", exclude=("self", "previous", "first"))


def embedding_pattern(
    embeddings: Float[Tensor, "used d_model"],
    W_Q: Float[Tensor, "head d_model d_head"],
    W_K: Float[Tensor, "head d_model d_head"],
    seen: Seen,
) -> Float[Tensor, "batch head query key"]:
    """Attention as the paper writes it: causal softmax of x W_QK x^T with raw embeddings.

    Scaled as in the model.
    """
    queries = torch.einsum("ud,hde->uhe", embeddings, W_Q)[seen.used].transpose(1, 2)
    keys = torch.einsum("ud,hde->uhe", embeddings, W_K)[seen.used].transpose(1, 2)
    scores = queries @ keys.transpose(2, 3) * W_Q.shape[-1] ** -0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1)


def embedding_values(
    embeddings: Float[Tensor, "used d_model"], W_V: Float[Tensor, "head d_model d_head"], seen: Seen
) -> Float[Tensor, "batch head position d_head"]:
    """Each head's values of the raw token embeddings, the rows of W_E that `vocabulary` names."""
    return torch.einsum("ud,hde->uhe", embeddings, W_V)[seen.used].transpose(1, 2)


def project(
    values: Float[Tensor, "batch head position d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    unembedding: Float[Tensor, "d_model used"],
    seen: Seen,
) -> Float[Tensor, "batch head position distinct"]:
    """What a head writes from each position, as logits of the document's distinct tokens.

    That is values W_O W_U; `unembedding` holds the columns of W_U that `seen.vocabulary` names.
    """
    outward = torch.einsum("hed,du->uhe", W_O, unembedding)  # formed once a batch
    return values @ outward[seen.distinct].permute(0, 2, 3, 1)


def gate(
    pattern: Float[Tensor, "*query key"],
) -> tuple[Int[Tensor, "*query"], Float[Tensor, "*query"]]:
    """Where each head looks most (the earliest of equals), and that over the second largest.

    A lone key has the ratio infinity.
    """
    largest, place = pattern.max(-1)
    second = pattern.scatter(-1, place[..., None], -1.0).amax(-1)
    return place, largest / second.clamp_min(0)


def open_positions(
    triplets: Triplets, seen: Seen, exclude: tuple[Exclusion, ...] = ()
) -> Bool[Tensor, "n query"]:
    """The positions j >= max(s, o) within the text, less those left out.

    Left out are j = s (`self`), j = s + 1 (`previous`), and all where s is position 0 (`first`), at
    which heads rest. Position 0 stays a rival of other sources: a head that rests there looks at
    none of them.
    """
    j = torch.arange(seen.tokens.shape[1], device=seen.tokens.device)
    allowed = (j >= triplets.first[:, None]) & (j < seen.length[triplets.document, None])
    return allowed & _kept(triplets.source[:, None], j, exclude)


def _kept(source: Tensor, j: Tensor, exclude: tuple[Exclusion, ...]) -> Bool[Tensor, "..."]:
    """Whether looking from j at a source is more than looking by place."""
    away = j - source
    kept = (away != 0) | ("self" not in exclude)
    kept = kept & ((away != 1) | ("previous" not in exclude))
    return kept & ((source != 0) | ("first" not in exclude))


@dataclass(frozen=True)
class Events:
    """The (triplet, head, position j) that pass the gate, one entry each."""

    triplet: Int[Tensor, " event"]
    head: Int[Tensor, " event"]
    query: Int[Tensor, " event"]
    ratio: Float[Tensor, " event"]

    def at(self, rows: Tensor | slice) -> Events:
        """The events of a mask or slice."""
        return Events(self.triplet[rows], self.head[rows], self.query[rows], self.ratio[rows])


def gated(pattern: Float[Tensor, "batch head query key"], triplets: Triplets, seen: Seen) -> Events:
    """The events of equation 1 with whatever ratio, nothing left out."""
    largest = pattern.amax(-1)
    looked = pattern[triplets.document, :, :, triplets.source]  # [n, head, query]
    passed = looked == largest[triplets.document]
    passed &= open_positions(triplets, seen)[:, None]
    triplet, head, query = passed.nonzero(as_tuple=True)
    place, ratio = gate(pattern[triplets.document[triplet], head, query])
    kept = place == triplets.source[triplet]
    return Events(triplet, head, query, ratio).at(kept)


def selected(events: Events, triplets: Triplets, choices: Choices) -> Bool[Tensor, " event"]:
    """Which events the ratio and the exclusions of `choices` leave."""
    kept = _kept(triplets.source[events.triplet], events.query, choices.exclude)
    return kept if choices.tau is None else kept & (events.ratio > choices.tau)


def shares(
    logits: Float[Tensor, "event distinct"], visible: Int[Tensor, " event"]
) -> Float[Tensor, "event distinct"]:
    """Equation 2: of what is raised above the mean of the first `visible` tokens, each one's share.

    Zeros if nothing is raised.
    """
    hidden = torch.arange(logits.shape[1], device=logits.device) >= visible[:, None]
    logits = logits.masked_fill(hidden, -torch.inf)
    p = (logits - logits.amax(1, keepdim=True)).exp()
    q = (p - p.sum(1, keepdim=True) / visible[:, None]).clamp_min(0).masked_fill(hidden, 0)
    total = q.sum(1, keepdim=True)
    return torch.where(total > 0, q / total, torch.zeros_like(q))


def tally(
    pattern: Float[Tensor, "batch head query key"],
    projected: Float[Tensor, "batch head position distinct"],
    seen: Seen,
    triplets: Triplets,
    variants: Sequence[Choices],
) -> list[dict[str, Tensor]]:
    """Sum shares over the events of each head and triplet; section 3.1 of the paper.

    projected: from raw embeddings (`current`, `source`) or from the values that the model really
    used (`context`). variants: choices that agree in what is `scored`. Error: ValueError if not.
    Returns for each variant, per [head, n]: `events`; `tail`, the printed quantity; `fake`, with
    the 10th token as tail, over the `fake_events` at which it is visible and not the tail itself,
    and `tail_beside_fake`, the tail over the same events; `anywhere`, the fake tail at a visible
    position drawn at random, in expectation; `random`, likewise a distinct visible token; and per
    [head, n, k]: `other_tails`; `other_sources`, the tail's share if the head had read that word
    instead (with `current`, the same again).
    """
    if len({choices.scored for choices in variants}) != 1:
        raise ValueError("Variants that are scored together must share attention, input and fake.")
    events, k = gated(pattern, triplets, seen), triplets.other_tails.shape[1]
    kept = [selected(events, triplets, choices) for choices in variants]
    some = torch.stack(kept).any(0)
    events, kept = events.at(some), [mask[some] for mask in kept]
    shape = pattern.shape[1], len(triplets), len(SINGLE) + 2 * k
    sums = [projected.new_zeros(shape) for _ in variants]
    step, times = max(1, CHUNK // (projected.shape[-1] * (1 + k))), seen.occurrences()
    for start in range(0, len(events.triplet), step):
        part = events.at(slice(start, start + step))
        rows = _scored(projected, seen, triplets, part, variants[0], times)
        for total, mask in zip(sums, kept, strict=True):
            here = mask[start : start + step]
            where = part.head[here], part.triplet[here]
            total.index_put_(where, rows[here], accumulate=True)
    return [_named(total, k) for total in sums]


def _named(sums: Float[Tensor, "head n column"], k: int) -> dict[str, Tensor]:
    single, tails, sources = sums.split([len(SINGLE), k, k], dim=2)
    named = dict(zip(SINGLE, single.unbind(2), strict=True))
    return named | {"other_tails": tails, "other_sources": sources}


def _scored(
    projected: Tensor, seen: Seen, triplets: Triplets, events: Events, choices: Choices, times
) -> Float[Tensor, "event column"]:
    """What each event adds to the columns of `tally`."""
    n, j = events.triplet, events.query
    document, current = triplets.document[n], choices.ov_input == "current"
    visible, wanted = seen.count[document, j], seen.local[document, triplets.target[n]]
    source = j if current else triplets.source[n]
    share = shares(projected[document, events.head, source], visible)

    def tail_from(place: Tensor) -> Float[Tensor, " event"]:
        read = projected[document, events.head, place]
        return _at(shares(read, visible), wanted)

    def share_of(place: Tensor) -> Float[Tensor, " event"]:
        return _at(share, seen.local[document, place])

    tail = _at(share, wanted)
    single = _controls(share, tail, wanted, seen, document, j, times, choices.fake_position)
    tails = _alternatives(triplets.other_tails[n], share_of)
    swapped = (lambda place: tail) if current else tail_from
    others = _alternatives(triplets.other_sources[n], swapped)
    return torch.cat([single, tails, others], 1)


def _controls(
    share: Float[Tensor, "event distinct"], tail, wanted, seen: Seen, document, j, times, fake: int
) -> Float[Tensor, "event column"]:
    """The columns of `SINGLE`, in their order."""
    column = seen.local[document, min(fake, seen.tokens.shape[1] - 1)]
    shown = ((j >= fake) & (column != wanted)).to(share)
    random = (share.sum(1) - tail) / (seen.count[document, j] - 1).clamp_min(1)
    often = times[document, j].to(share)  # positions that hold each token
    own = _at(often, wanted)
    anywhere = ((share * often).sum(1) - tail * own) / (often.sum(1) - own).clamp_min(1)
    beside = _at(share, column) * shown, shown, tail * shown
    return torch.stack([torch.ones_like(tail), tail, *beside, anywhere, random], 1)


def _at(rows: Tensor, column: Tensor) -> Tensor:
    return rows.gather(1, column[:, None])[:, 0]


def _alternatives(places: Int[Tensor, "event k"], score) -> Float[Tensor, "event k"]:
    """Score each column of positions; 0 where there is none."""
    columns = [score(place.clamp_min(0)).masked_fill(place < 0, 0) for place in places.unbind(1)]
    return torch.stack(columns, 1) if columns else places.new_zeros(len(places), 0)


def copying(
    pattern: Float[Tensor, "batch head query key"],
    projected: Float[Tensor, "batch head position distinct"],
    seen: Seen,
    choices: Choices = PRINTED,
) -> dict[str, Float[Tensor, "head batch"]]:
    """The copying score's sum over positions and its `events`, per head and document.

    It is the share of the attended token itself (the paper's figure 2, after Bansal et al. 2023);
    gate, exclusions and input as for relations.
    """
    place, ratio = gate(pattern)
    j = torch.arange(pattern.shape[2], device=pattern.device)
    passed = (j < seen.length[:, None])[:, None] & (ratio > (choices.tau or 0.0))
    passed &= _kept(place, j, choices.exclude)
    result = projected.new_zeros(pattern.shape[1], pattern.shape[0], 2)
    events = passed.nonzero()
    for b, h, q in (part.unbind(1) for part in events.split(max(1, CHUNK // projected.shape[-1]))):
        row = q if choices.ov_input == "current" else place[b, h, q]
        share = _at(shares(projected[b, h, row], seen.count[b, q]), seen.local[b, place[b, h, q]])
        result.index_put_((h, b), torch.stack([share, torch.ones_like(share)], 1), accumulate=True)
    return {"copied": result[..., 0], "events": result[..., 1]}


def ratio_counts(
    pattern: Float[Tensor, "batch head query key"],
    triplets: Triplets,
    seen: Seen,
    edges: Float[Tensor, " edge"],
) -> Int[Tensor, "head 2 bin"]:
    """How the dominance ratio is distributed (figure 11), by two readings of what is counted.

    Row 0: A_js over the largest other attention, of every triplet, head and open position, as in
    equation 1. Row 1: only where s is where the head looks most. Counts below, between and above
    the edges.
    """
    events, (place, ratio) = gated(pattern, triplets, seen), gate(pattern)
    n, j = open_positions(triplets, seen).nonzero(as_tuple=True)
    document, source = triplets.document[n], triplets.source[n]
    looked, best = pattern[document, :, j, source], pattern.amax(-1)[document, :, j]
    first = place[document, :, j] == source[:, None]
    every = torch.where(first, ratio[document, :, j], looked / best)  # [pair, head]
    heads = torch.arange(pattern.shape[1], device=pattern.device).expand_as(every)
    rows = ((every.flatten(), heads.flatten()), (events.ratio, events.head))
    return torch.stack([_histogram(*row, edges, pattern.shape[1]) for row in rows], 1)


def _histogram(values: Tensor, heads: Tensor, edges: Tensor, n: int) -> Int[Tensor, "head bin"]:
    bins = len(edges) + 1
    place = heads * bins + torch.bucketize(values, edges.to(values))
    return torch.bincount(place, minlength=n * bins).view(n, bins)


def opportunities(triplets: Triplets, seen: Seen, choices: Choices = PRINTED) -> Int[Tensor, " n"]:
    """How many positions each triplet offers to a head."""
    return open_positions(triplets, seen, choices.exclude).sum(1)
