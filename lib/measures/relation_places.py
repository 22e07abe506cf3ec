"""Where triplets and tokens stand in a batch of documents: what the relation index is taken of.

Triplets are positions; `Seen` numbers the distinct tokens of each document, so that shares can be
told of them instead of a whole vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Int
from torch import Tensor

ROWS = ("relation", "document", "source", "target", "other_tails", "other_sources", "joined")
ROWS = (*ROWS, "fact", "cluster")


@dataclass(frozen=True)
class Triplets:
    """Triplets of a batch of documents as positions; -1 fills rows that are shorter than others.

    `other_tails`: words of the tail's class that could stand in its place; `other_sources`:
    likewise for the head token. All are visible when the triplet first is. `joined` says which
    relation joins the head token with such a tail (-1: none). No relation joins an other source
    with the tail. Occurrences of one fact share a number in `fact`; triplets that are no
    independent evidence (of one topic, one verb, one document) share a number in `cluster`.
    """

    names: tuple[str, ...]
    relation: Int[Tensor, " n"]
    document: Int[Tensor, " n"]
    source: Int[Tensor, " n"]
    target: Int[Tensor, " n"]
    other_tails: Int[Tensor, "n k"]
    other_sources: Int[Tensor, "n k"]
    joined: Int[Tensor, "n k"]
    fact: Int[Tensor, " n"]
    cluster: Int[Tensor, " n"]

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


@dataclass(frozen=True)
class Seen:
    """The distinct tokens of each document, in order of first occurrence.

    Those visible at j are the first `count[j]`.
    """

    tokens: Int[Tensor, "batch position"]
    length: Int[Tensor, " batch"]
    distinct: Int[Tensor, "batch distinct"]  # row of `vocabulary`
    local: Int[Tensor, "batch position"]  # column of `distinct`
    count: Int[Tensor, "batch position"]
    vocabulary: Int[Tensor, " used"]  # token ids that occur in the batch
    used: Int[Tensor, "batch position"]  # row of `vocabulary`

    def occurrences(self) -> Int[Tensor, "batch position distinct"]:
        """How often each distinct token stands at position j or before."""
        columns = torch.arange(self.distinct.shape[1], device=self.local.device)
        return (self.local[..., None] == columns).long().cumsum(1)


def see(
    tokens: Int[Tensor, "batch position"], lengths: Int[Tensor, " batch"] | None = None
) -> Seen:
    """Number the distinct tokens of each document by first occurrence.

    lengths: where padding begins (nowhere when None).
    """
    size, positions = tokens.shape
    lengths = torch.full((size,), positions, device=tokens.device) if lengths is None else lengths
    vocabulary, used = torch.unique(tokens, return_inverse=True)
    same = tokens[:, :, None] == tokens[:, None, :]
    earliest = same.int().argmax(-1)  # the first position that holds the same token
    new = earliest == torch.arange(positions, device=tokens.device)
    order = new.cumsum(1) - 1
    distinct = tokens.new_zeros(size, int(new.sum(1).max()))
    distinct[new.nonzero(as_tuple=True)[0], order[new]] = used[new]
    local = order.gather(1, earliest)
    return Seen(tokens, lengths, distinct, local, new.cumsum(1), vocabulary, used)


def moved(part, device: torch.device | str):
    """`Triplets` or `Seen` with all tensors on a device."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    return replace(part, **{name: value.to(device) for name, value in tensors.items()})
