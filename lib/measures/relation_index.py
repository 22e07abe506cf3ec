"""The relation index of Ren et al. (2024), as printed and calibrated, for all heads of a layer at
once.

Idea. A triplet T = (head token t_s at position s, relation, tail token t_o at position o) is in the
text. A head encodes
the relation if, where it looks at t_s, it raises t_o:

1. gate (equation 1): at a position j >= max(s, o) the head's largest attention goes to s, tau times
the second largest;
2. share (equation 2): of what the head raises among the distinct tokens visible at j, the share
that falls to t_o,
   a = q_o / sum_k q_k with q_k = max(0, p_k - mean_k p_k) and p = softmax(x W_OV W_U);
3. index (equation 3): the mean of a over all (T, j) that pass the gate.

Use. `tally` sums shares over the positions j of each triplet, for the tail and for what stands in
its place in the
controls; everything else (index, gate rate, null, tests, intervals) comes from those few numbers,
in `relation_tests`:

    seen = see(tokens, lengths)                                   # the distinct tokens of each
    document
    projected = project(values, W_O, unembedding, seen)           # [batch, head, position,
    distinct]
    sums = tally(pattern, projected, seen, triplets, PRINTED)     # per head and triplet
    summary = relation_tests.summarise(sums, triplets, open_)     # per head and relation

Speed. The softmax's normaliser cancels in a, so only the visible tokens' logits are needed: no
array is as large as
vocabulary squared, or events times vocabulary. Tokens that occur in several documents of a batch
are projected once.

Caveat. A high index is no proof. The tail may be raised whatever the head token is (a static
preference), by any word of
its class, or at positions that the head would look at anyway (itself, the token before): hence the
controls.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

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
                f"exclude={self.exclude}, tau={self.tau}: exclude names self, previous or first; tau is a ratio of at least 1, or None"
            )


SINGLE = (
    "events",
    "tail",
    "fake",
    "fake_events",
    "tail_beside_fake",
    "random",
)  # what is summed per head and triplet
PRINTED = Choices()
CALIBRATED = Choices(ov_input="source", exclude=("self", "previous", "first"))


@dataclass(frozen=True)
class Triplets:
    """Triplets of a batch of documents as positions; -1 fills rows of alternatives that are shorter
    than the longest.

    `other_tails`: words of the tail's class that could stand in its place; `other_sources`:
    likewise for the head token.
    All of them are visible when the triplet first is. `partner` marks the other tails that the head
    token is joined with
    by another relation. Occurrences of one fact share a number in `fact`.
    """

    names: tuple[str, ...]
    relation: Int[Tensor, " n"]
    document: Int[Tensor, " n"]
    source: Int[Tensor, " n"]
    target: Int[Tensor, " n"]
    other_tails: Int[Tensor, "n k"]
    other_sources: Int[Tensor, "n k"]
    partner: Bool[Tensor, "n k"]
    fact: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.relation)

    @property
    def first(self) -> Int[Tensor, " n"]:
        """The first position from which both words are visible."""
        return torch.maximum(self.source, self.target)

    def at(self, rows: Tensor) -> Triplets:
        """The triplets of a mask or of row numbers."""
        return replace(self, **{name: getattr(self, name)[rows] for name in ROWS})

    def of_documents(self, start: int, stop: int) -> Triplets:
        """The triplets of documents start..stop-1, these renumbered from 0."""
        part = self.at((self.document >= start) & (self.document < stop))
        return replace(part, document=part.document - start)


def moved(part, device: torch.device | str):
    """`Triplets` or `Seen` with all tensors on a device."""
    tensors = {field.name: getattr(part, field.name) for field in fields(part)}
    return replace(
        part,
        **{name: value.to(device) for name, value in tensors.items() if isinstance(value, Tensor)},
    )


ROWS = (
    "relation",
    "document",
    "source",
    "target",
    "other_tails",
    "other_sources",
    "partner",
    "fact",
)


@dataclass(frozen=True)
class Seen:
    """The distinct tokens of each document, in order of first occurrence, so that those visible at
    j are the first `count[j]`."""

    tokens: Int[Tensor, "batch position"]
    length: Int[Tensor, " batch"]
    distinct: Int[Tensor, "batch distinct"]  # row of `vocabulary`
    local: Int[Tensor, "batch position"]  # column of `distinct`
    count: Int[Tensor, "batch position"]
    vocabulary: Int[Tensor, " used"]  # token ids that occur in the batch
    used: Int[Tensor, "batch position"]  # row of `vocabulary`


def see(
    tokens: Int[Tensor, "batch position"], lengths: Int[Tensor, " batch"] | None = None
) -> Seen:
    """Number the distinct tokens of each document by first occurrence. lengths: where padding
    begins (nowhere when None)."""
    size, positions = tokens.shape
    lengths = torch.full((size,), positions, device=tokens.device) if lengths is None else lengths
    vocabulary, used = torch.unique(tokens, return_inverse=True)
    same = tokens[:, :, None] == tokens[:, None, :]
    earliest = same.int().argmax(-1)  # the first position that holds the same token
    new = earliest == torch.arange(positions, device=tokens.device)
    order = new.cumsum(1) - 1
    distinct = tokens.new_zeros(size, int(new.sum(1).max()))
    distinct[new.nonzero(as_tuple=True)[0], order[new]] = used[new]
    return Seen(
        tokens, lengths, distinct, order.gather(1, earliest), new.cumsum(1), vocabulary, used
    )


def embedding_pattern(
    embeddings: Float[Tensor, "used d_model"],
    W_Q: Float[Tensor, "head d_model d_head"],
    W_K: Float[Tensor, "head d_model d_head"],
    seen: Seen,
) -> Float[Tensor, "batch head query key"]:
    """Attention as the paper writes it: causal softmax of x W_QK x^T with raw embeddings, scaled as
    in the model."""
    queries = torch.einsum("ud,hde->uhe", embeddings, W_Q)[seen.used].transpose(1, 2)
    keys = torch.einsum("ud,hde->uhe", embeddings, W_K)[seen.used].transpose(1, 2)
    scores = queries @ keys.transpose(2, 3) * W_Q.shape[-1] ** -0.5
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1)


def embedding_values(
    embeddings: Float[Tensor, "used d_model"], W_V: Float[Tensor, "head d_model d_head"], seen: Seen
) -> Float[Tensor, "batch head position d_head"]:
    """Each head's values of the raw token embeddings (`embeddings` are the rows of W_E that
    `seen.vocabulary` names)."""
    return torch.einsum("ud,hde->uhe", embeddings, W_V)[seen.used].transpose(1, 2)


def project(
    values: Float[Tensor, "batch head position d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    unembedding: Float[Tensor, "d_model used"],
    seen: Seen,
) -> Float[Tensor, "batch head position distinct"]:
    """What a head writes from each position, as logits of the document's distinct tokens: values
    W_O W_U.

    `unembedding` holds the columns of W_U that `seen.vocabulary` names. W_O W_U is formed once a
    batch, d_head by used.
    """
    outward = torch.einsum("hed,du->uhe", W_O, unembedding)[
        seen.distinct
    ]  # [batch, distinct, head, d_head]
    return values @ outward.permute(0, 2, 3, 1)


def gate(
    pattern: Float[Tensor, "*query key"], exclude: tuple[Exclusion, ...] = ()
) -> tuple[Int[Tensor, "*query"], Float[Tensor, "*query"]]:
    """Where each head looks most (the earliest of equals), and that attention over the second
    largest.

    With `first` excluded, position 0 (where heads rest, and BOS stands) is no key. A lone key has
    the ratio infinity.
    """
    if "first" in exclude:
        pattern = pattern.clone()
        pattern[..., 0] = -1.0
    largest, place = pattern.max(-1)
    second = pattern.scatter(-1, place[..., None], -1.0).amax(-1)
    return place, largest.clamp_min(0) / second.clamp_min(0)


def open_positions(
    triplets: Triplets, seen: Seen, exclude: tuple[Exclusion, ...] = ()
) -> Bool[Tensor, "n query"]:
    """The positions j >= max(s, o) within the text, less those excluded: j = s (`self`), j = s + 1
    (`previous`)."""
    j = torch.arange(seen.tokens.shape[1], device=seen.tokens.device)
    allowed = (j >= triplets.first[:, None]) & (j < seen.length[triplets.document, None])
    away = j - triplets.source[:, None]
    allowed &= (away != 0) | ("self" not in exclude)
    return allowed & ((away != 1) | ("previous" not in exclude))


@dataclass(frozen=True)
class Events:
    """The (triplet, head, position j) that pass the gate, one entry each."""

    triplet: Int[Tensor, " event"]
    head: Int[Tensor, " event"]
    query: Int[Tensor, " event"]
    ratio: Float[Tensor, " event"]


def gated(
    pattern: Float[Tensor, "batch head query key"],
    triplets: Triplets,
    seen: Seen,
    tau: float | None,
    exclude: tuple[Exclusion, ...] = (),
) -> Events:
    """The events of equation 1. An event needs ratio > tau, or only the largest attention when tau
    is None."""
    largest = (pattern[..., 1:] if "first" in exclude else pattern).amax(-1)
    looked = pattern[triplets.document, :, :, triplets.source]  # [n, head, query]
    passed = (looked == largest[triplets.document]) & open_positions(triplets, seen, exclude)[
        :, None
    ]
    triplet, head, query = passed.nonzero(as_tuple=True)
    place, ratio = gate(pattern[triplets.document[triplet], head, query], exclude)
    kept = place == triplets.source[triplet]
    if tau is not None:
        kept &= ratio > tau
    return Events(triplet[kept], head[kept], query[kept], ratio[kept])


def shares(
    logits: Float[Tensor, "event distinct"], visible: Int[Tensor, " event"]
) -> Float[Tensor, "event distinct"]:
    """Equation 2: the share of what is raised above the mean of the first `visible` tokens that
    falls to each (zeros if none is)."""
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
    choices: Choices = PRINTED,
) -> dict[str, Tensor]:
    """Sum shares over the events of each head and triplet; section 3.1 of the paper.

    projected: from raw embeddings (`current`, `source`) or from the values that the model really
    used (`context`).
    Returns, per [head, n]: `events`; `tail`, the printed quantity; `fake`, with the 10th token as
    tail, over the
    `fake_events` at which it is visible and not the tail itself, and `tail_beside_fake`, the tail
    over the same events;
    `random`, a visible token other than the tail in expectation; and per [head, n, k]:
    `other_tails`; `other_sources`,
    the tail's share if the head had read that word instead (with `current`, the same again).
    """
    events = gated(pattern, triplets, seen, choices.tau, choices.exclude)
    heads, k = pattern.shape[1], triplets.other_tails.shape[1]
    sums = projected.new_zeros(heads, len(triplets), len(SINGLE) + 2 * k)
    step = max(1, CHUNK // (projected.shape[-1] * (1 + k)))
    for start in range(0, len(events.triplet), step):
        part = Events(
            *(
                getattr(events, name)[start : start + step]
                for name in ("triplet", "head", "query", "ratio")
            )
        )
        rows = _scored(projected, seen, triplets, part, choices)
        sums.index_put_((part.head, part.triplet), rows, accumulate=True)
    single, tails, other = sums.split([len(SINGLE), k, k], dim=2)
    return dict(zip(SINGLE, single.unbind(2), strict=True)) | {
        "other_tails": tails,
        "other_sources": other,
    }


def _scored(
    projected: Tensor, seen: Seen, triplets: Triplets, events: Events, choices: Choices
) -> Float[Tensor, "event column"]:
    """What each event adds to the columns of `tally`."""
    n, j = events.triplet, events.query
    document, visible = triplets.document[n], seen.count[triplets.document[n], events.query]
    source = j if choices.ov_input == "current" else triplets.source[n]
    share = shares(projected[document, events.head, source], visible)
    tail = _at(share, seen.local[document, triplets.target[n]])
    random = (share.sum(1) - tail) / (visible - 1).clamp_min(1)
    fake = choices.fake_position
    fake_column = seen.local[document, min(fake, seen.tokens.shape[1] - 1)]
    shown = ((j >= fake) & (fake_column != seen.local[document, triplets.target[n]])).to(share)
    tails = _alternatives(
        triplets.other_tails[n], lambda place: _at(share, seen.local[document, place])
    )
    if choices.ov_input == "current":
        others = _alternatives(triplets.other_sources[n], lambda place: tail)
    else:

        def swapped(place: Tensor) -> Tensor:
            return _at(
                shares(projected[document, events.head, place], visible),
                seen.local[document, triplets.target[n]],
            )

        others = _alternatives(triplets.other_sources[n], swapped)
    single = (
        torch.ones_like(tail),
        tail,
        _at(share, fake_column) * shown,
        shown,
        tail * shown,
        random,
    )  # in the order of SINGLE
    return torch.cat([torch.stack(single, 1), tails, others], 1)


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
    """The copying score's sum over positions and its `events`, per head and document: the share of
    the attended token itself.

    (The paper's figure 2, after Bansal et al. 2023.) Gate, exclusions and input as for relations.
    """
    place, ratio = gate(pattern, choices.exclude)
    j = torch.arange(pattern.shape[2], device=pattern.device)
    passed = (j < seen.length[:, None])[:, None] & (ratio > (choices.tau or 0.0))
    passed &= ((place != j) | ("self" not in choices.exclude)) & (
        (place != j - 1) | ("previous" not in choices.exclude)
    )
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
) -> Int[Tensor, "head bin"]:
    """How the dominance ratio is distributed over events that need no ratio (figure 11): counts
    below, between and above the edges."""
    events = gated(pattern, triplets, seen, None)
    place = torch.bucketize(events.ratio, edges.to(events.ratio))
    flat = events.head * (len(edges) + 1) + place
    return torch.bincount(flat, minlength=pattern.shape[1] * (len(edges) + 1)).view(
        pattern.shape[1], -1
    )


def opportunities(triplets: Triplets, seen: Seen, choices: Choices = PRINTED) -> Int[Tensor, " n"]:
    """How many positions each triplet offers to a head."""
    return open_positions(triplets, seen, choices.exclude).sum(1)
