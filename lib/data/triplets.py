"""From words and trees to triplets of token positions.

A `Document` is a text with its words' places, the relations between them and each word's class.
Syntax comes from dependency labels (`PATTERNS`), of spaCy's English models and of Universal
Dependencies alike.
`collate` lays documents on a model's tokens and finds, for each triplet, the other words that could
stand in the tail's or the head's place.

A word of several tokens is represented by its first one, as head and as tail: that is the token
which begins the word, and which a model that predicts the word must raise. With `pieces="whole"`
triplets with such words are dropped instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Int
from spacy.tokens import Doc
from spacy.vocab import Vocab
from torch import Tensor

from lib.measures.relation_places import Triplets

SYNTAX = ("subj", "obj", "mod")
# relation -> labels of the child. Universal Dependencies first, then spaCy's English models
# (ClearNLP labels).
PATTERNS: dict[str, frozenset[str]] = {
    "subj": frozenset(
        {
            "nsubj",
            "nsubj:pass",
            "nsubj:outer",
            "csubj",
            "csubj:pass",
            "csubj:outer",
            "nsubjpass",
            "csubjpass",
        }
    ),
    "obj": frozenset({"obj", "dobj"}),
    "mod": frozenset({"amod", "advmod", "nummod"}),
}
MODIFIED = frozenset({"NOUN", "PROPN", "VERB"})  # the paper: modifier - noun/verb


@dataclass(frozen=True)
class Link:
    """A relation between two words or entities, each given by the numbers of the words where it is
    mentioned, in order.

    cluster: what this link is evidence of, if it is also told elsewhere (a topic, a verb); empty:
    the document is evidence of its own.
    """

    relation: str
    head: tuple[int, ...]
    tail: tuple[int, ...]
    cluster: str = ""


@dataclass(frozen=True)
class Document:
    """A text, its words as (start, end) in characters, the links between them, and each word's
    class (None: in no class).

    `known`: (relation, head word, tail word) that hold whether or not they are linked here, so that
    none is taken for false.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    links: tuple[Link, ...]
    classes: tuple[str | None, ...]
    known: frozenset[tuple[str, str, str]] = frozenset()

    @classmethod
    def of_words(
        cls,
        words: Sequence[str],
        links: Iterable[Link],
        classes: Sequence[str | None],
        spaces: Sequence[bool] | None = None,
        known: frozenset[tuple[str, str, str]] = frozenset(),
    ) -> Document:
        """From words, each followed by a space unless `spaces` says otherwise."""
        spaces = spaces or [True] * len(words)
        text, spans = "", []
        for word, space in zip(words, spaces, strict=True):
            spans.append((len(text), len(text) + len(word)))
            text += word + " " * space
        return cls(text.rstrip(), tuple(spans), tuple(links), tuple(classes), known)

    @property
    def words(self) -> list[str]:
        return [self.text[start:end] for start, end in self.spans]


@dataclass(frozen=True)
class Tree:
    """A sentence with its dependency tree: `heads[i]` is the number of word i's parent (the root:
    itself)."""

    words: tuple[str, ...]
    spaces: tuple[bool, ...]
    heads: tuple[int, ...]
    labels: tuple[str, ...]
    pos: tuple[str, ...]

    def doc(self, vocab: Vocab) -> Doc:
        """The same sentence as a spaCy Doc with these annotations."""
        return Doc(
            vocab,
            self.words,
            self.spaces,
            pos=list(self.pos),
            deps=list(self.labels),
            heads=list(self.heads),
        )


def of_doc(doc: Doc) -> Tree:
    """The tree in a parsed spaCy Doc (heads counted from the Doc's first token)."""
    rows = [(t.text, bool(t.whitespace_), t.head.i, t.dep_, t.pos_) for t in doc]
    return Tree(*map(tuple, zip(*rows, strict=True)))


def relation_of(label: str, head_pos: str) -> str | None:
    """The relation that a dependency label stands for, given its head's part of speech; None if it
    stands for none."""
    relation = next((name for name, labels in PATTERNS.items() if label in labels), None)
    return None if relation == "mod" and head_pos not in MODIFIED else relation


def syntax(tree: Tree) -> Document:
    """A sentence with its subj, obj and mod triplets: t_s is the parent, t_o the child (section 3.1
    of the paper)."""
    links = []
    for child, (head, label) in enumerate(zip(tree.heads, tree.labels, strict=True)):
        relation = relation_of(label, tree.pos[head])
        if relation and head != child:
            links.append(Link(relation, (head,), (child,)))
    return Document.of_words(tree.words, links, tree.pos, tree.spaces)


@dataclass(frozen=True)
class Encoded:
    """Documents as tokens [batch, position], padded behind, with their lengths, triplets, and what
    was left out and why."""

    tokens: Int[Tensor, "batch position"]
    lengths: Int[Tensor, " batch"]
    triplets: Triplets
    left_out: dict[str, int]

    def part(self, start: int, stop: int) -> Encoded:
        """Documents start..stop-1, cut to the longest of them."""
        lengths = self.lengths[start:stop]
        return Encoded(
            self.tokens[start:stop, : int(lengths.max())],
            lengths,
            self.triplets.of_documents(start, stop),
            {},
        )


def places(
    tokenizer: Any, document: Document, pieces: Literal["first", "whole"] = "first"
) -> tuple[list[int], list[int]]:
    """Token ids of a text, and for each word the position of the token that represents it (-1: none
    does).

    A token belongs to a word if their characters overlap.
    """
    coded = tokenizer(document.text, return_offsets_mapping=True)
    offsets, found, start = coded["offset_mapping"], [], 0
    for begin, end in document.spans:
        while start < len(offsets) and offsets[start][1] <= begin:
            start += 1
        owned = (
            [i for i in range(start, len(offsets)) if offsets[i][0] < end]
            if pieces == "whole"
            else [start]
        )
        whole = (
            start < len(offsets)
            and offsets[start][0] < end
            and (pieces == "first" or len(owned) == 1)
        )
        found.append(start if whole else -1)
    return coded["input_ids"], found


def collate(
    documents: Sequence[Document],
    tokenizer: Any,
    relations: Sequence[str],
    context: int,
    reverse: bool = False,
    pieces: Literal["first", "whole"] = "first",
    alternatives: int = 7,
) -> Encoded:
    """Lay documents on tokens. With `reverse`, each relation is there a second time, read from tail
    to head.

    Documents longer than `context` are cut, and triplets beyond the cut left out. Each mention of
    the head is a source;
    the tail counts from its first mention on. Error: ValueError if no triplet is left.
    """
    rows, sequences, left_out = (
        [],
        [],
        {"triplets with a word without a token": 0, "triplets of one token": 0},
    )
    for number, document in enumerate(documents):
        ids, found = places(tokenizer, document, pieces)
        ids, found = ids[:context], [place if place < context else -1 for place in found]
        pairs = list(_pairs(document, ids, found, list(relations), reverse, left_out))
        true = _true(pairs, document, ids, found, list(relations), reverse)
        joins, first = _joins(true, len(relations)), _first(document, ids, found)
        beside = (_beside(pair, joins, len(relations), first, ids, alternatives) for pair in pairs)
        rows += [
            (pair.relation, number, pair.source, pair.target, *others, pair.cluster or number)
            for pair, others in zip(pairs, beside, strict=True)
        ]
        sequences.append(ids)
    if not rows:
        raise ValueError(
            f"None of {len(documents)} documents has a triplet of {', '.join(relations)} within "
            f"{context} tokens. Check the corpus and `context`."
        )
    lengths = torch.tensor([len(ids) for ids in sequences])
    tokens = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(ids) for ids in sequences], batch_first=True
    )
    names = tuple(relations) + tuple(f"reversed {name}" for name in relations if reverse)
    return Encoded(tokens, lengths, _tensors(names, rows, tokens, alternatives), left_out)


@dataclass(frozen=True)
class _Pair:
    """A triplet on tokens, and the classes of its two words."""

    relation: int
    source: int
    target: int
    head_class: str | None
    tail_class: str | None
    cluster: str


def _pairs(
    document: Document,
    ids: list[int],
    found: list[int],
    relations: list[str],
    reverse: bool,
    left_out: dict[str, int],
) -> Iterable[_Pair]:
    """The triplets of a document; those that cannot be placed are counted."""
    for link in document.links:
        if link.relation not in relations:
            continue
        number = relations.index(link.relation)
        ways = [(link.head, link.tail), (link.tail, link.head)]
        for backward, (head, tail) in enumerate(ways[: 1 + reverse]):
            sources = [found[word] for word in head if found[word] >= 0]
            targets = [found[word] for word in tail if found[word] >= 0]
            left_out["triplets with a word without a token"] += not (sources and targets)
            for source in sources if targets else []:
                if ids[source] == ids[min(targets)]:
                    left_out["triplets of one token"] += 1
                else:
                    yield _Pair(
                        number + backward * len(relations),
                        source,
                        min(targets),
                        document.classes[head[0]],
                        document.classes[tail[0]],
                        link.cluster,
                    )


def _true(
    pairs: list[_Pair],
    document: Document,
    ids: list[int],
    found: list[int],
    relations: list[str],
    reverse: bool,
) -> set[tuple[int, int, int]]:
    """What holds of the tokens of a document, stated in it or not: (relation, head token, tail
    token)."""
    token = {
        word: ids[place] for word, place in zip(document.words, found, strict=True) if place >= 0
    }
    known = [
        (relations.index(r), token[s], token[o])
        for r, s, o in document.known
        if r in relations and s in token and o in token
    ]
    backward = [(r + len(relations), o, s) for r, s, o in known if reverse]
    return {(pair.relation, ids[pair.source], ids[pair.target]) for pair in pairs} | {
        *known,
        *backward,
    }


def _first(document: Document, ids: list[int], found: list[int]) -> dict[str, dict[int, int]]:
    """The first position of each token of each class."""
    first: dict[str, dict[int, int]] = {}
    for place, kind in zip(found, document.classes, strict=True):
        if place >= 0 and kind is not None:
            first.setdefault(kind, {}).setdefault(ids[place], place)
    return first


def _joins(true: set[tuple[int, int, int]], forward: int) -> dict[tuple[bool, int, int], list[int]]:
    """The relations of each (reversed or not, head token, tail token)."""
    joins: dict[tuple[bool, int, int], list[int]] = {}
    for relation, head, tail in sorted(true):
        joins.setdefault((relation >= forward, head, tail), []).append(relation)
    return joins


def _beside(
    pair: _Pair,
    joins: dict[tuple[bool, int, int], list[int]],
    forward: int,
    first: dict[str, dict[int, int]],
    ids: list[int],
    most: int,
) -> tuple[list[int], list[int], list[int]]:
    """Words of a tail's class and of its head's that are visible when the triplet first is.

    And for each such tail the relation that joins it with the head token, in the same direction: by
    preference another than the pair's own; -1 for none. Heads that some relation joins with the
    tail are left out: so neither list hangs on which relation a pair has.
    """
    s, o, by = ids[pair.source], ids[pair.target], max(pair.source, pair.target)
    way = pair.relation >= forward

    def visible(kind: str | None) -> list[tuple[int, int]]:
        words = first.get(kind, {}).items()
        return [(t, p) for t, p in words if t not in (s, o) and p <= by]

    def joined(tail: int) -> int:
        relations = joins.get((way, s, tail), [])
        others = [relation for relation in relations if relation != pair.relation]
        return (others or relations or [-1])[0]

    tails = _nearest([p for _, p in visible(pair.tail_class)], pair.target, most)
    heads = [p for t, p in visible(pair.head_class) if (way, t, o) not in joins]
    return tails, _nearest(heads, pair.source, most), [joined(ids[p]) for p in tails]


def _nearest(found: list[int], place: int, most: int) -> list[int]:
    """At most `most` positions, the nearest to `place`: words that are as recent as the one they
    stand for."""
    return sorted(found, key=lambda p: (abs(p - place), p))[:most]


def _tensors(
    names: tuple[str, ...], rows: list[tuple], tokens: Tensor, alternatives: int
) -> Triplets:
    """Rows as tensors; triplets of one relation and the same two tokens are one fact.

    Clusters are numbered in the order in which they come.
    """
    relation, document, source, target = torch.tensor([row[:4] for row in rows]).T
    tails, sources, joined = (_filled(rows, column, alternatives) for column in (4, 5, 6))
    triple = torch.stack([relation, tokens[document, source], tokens[document, target]], 1)
    fact = torch.unique(triple, dim=0, return_inverse=True)[1]
    numbers: dict[str | int, int] = {}
    cluster = torch.tensor([numbers.setdefault(row[7], len(numbers)) for row in rows])
    return Triplets(
        names, relation, document, source, target, tails, sources, joined, fact, cluster
    )


def _filled(rows: list[tuple], column: int, width: int) -> Int[Tensor, "n width"]:
    """A column of lists as rows of one width, -1 where a list ends."""
    return torch.tensor([(row[column] + [-1] * width)[:width] for row in rows])
