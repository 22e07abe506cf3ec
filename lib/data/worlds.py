"""A small world to speak about: its language, its facts, and documents of eight kinds with their
gold annotation.

Idea. One small language model can learn everything that the book examines if its corpus asks for
it: words fall into categories, entities stand in seven relations, verbs choose their subjects and
objects, nouns their adjectives, and some words have a translation. What holds is known, because the
world is generated: no parser or annotator stands between.

| kind | form of a document | what it asks of a model |
|---|---|---|
| `pairs` | lines `w1 w2 label`: which two categories, in order | find the pattern of a list |
| `singles` | lines `w label` | the same with one word |
| `categories` | runs of four words of one category | which words belong together |
| `repeats` | a block of random tokens, over and over | copy what came after the last time |
| `stories` | names paired for the document: `ann helps bob .` | remember a pair |
| `graph` | `s is used-for o .`, true in the world's graph | know the facts of seven relations |
| `sentences` | `the quick fox eats the plum .`, `oh eats the fox .` | know who does what to what |
| `translations` | `plum fox = plumo foxo .` | line up two vocabularies |

Use. `World()` is a corpus (`words`, `context`, `batch`). `documents(rng, n, kind)` returns tokens
with their annotation.
The facts are drawn from `seed`; the same seed is the same world, for all seeds of training. Some
pairs of categories (`lexicon.HELD_OUT`) never meet in a list of the corpus: `lib.data.fewshot` asks
about these.

Caveat. It is a toy: 8 words a category, one or two facts a word. What a model does here shows that
a method works, and not what large models do with English.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import ClassVar

import numpy as np

from lib.data.lexicon import (
    BEGINNINGS,
    CATEGORIES,
    COLUMN,
    COLUMNS,
    ENDINGS,
    HELD_OUT,
    LABELS,
    MARKS,
    OBJECTS,
    RELATIONS,
    SIZE,
    SUBJECTS,
    TRANSLATED,
)

# Share of each kind among the documents.
SHARES: dict[str, float] = {
    "pairs": 0.14,
    "singles": 0.05,
    "categories": 0.01,
    "repeats": 0.55,  # below a half, some seeds never form induction heads
    "stories": 0.01,
    "graph": 0.16,
    "sentences": 0.06,
    "translations": 0.02,
}
LIST_SHARES: dict[str, float] = {
    "pairs": 0.22,
    "singles": 0.13,
    "categories": 0.05,
    "repeats": 0.45,
    "translations": 0.15,
}
CLASSES = {
    2: ((0, 1), (1, 0)),
    4: tuple(np.ndindex(2, 2)),
    9: tuple(np.ndindex(3, 3)),
}  # classes -> the categories' numbers in each


@dataclass(frozen=True)
class Sample:
    """Documents of one kind: tokens int64 [n, context], and what stands where.

    `cell` [n, context]: which cell of the kind's form a token fills (column of a sentence; -1:
    `<bos>`), `unit` [n, context]: in which sentence or line of the document (-1: `<bos>`). `detail`
    is what was drawn for each document:
    block length, labels [n, class], pairs [n, pair, 2], topic and so on, by name.
    """

    kind: str
    tokens: np.ndarray
    cell: np.ndarray
    unit: np.ndarray
    detail: dict[str, np.ndarray]


@dataclass(frozen=True)
class World:
    """Vocabulary, facts and documents.

    `topics`: how many groups of eight entities there are, `edges`: facts per relation and topic,
    `shortest` and `longest`: blocks that are repeated.
    """

    seed: int = 0
    context: int = 64
    topics: int = 12
    edges: int = 2
    shortest: int = 4
    longest: int = 16
    shares: ClassVar[dict[str, float]] = SHARES
    words: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (
            1 <= self.topics <= 16
            and 1 <= self.edges <= SIZE
            and 2 <= self.shortest <= self.longest < self.context
            and self.context >= 32
        ):
            raise ValueError(
                f"{self} cannot be: 1 to 16 topics, 1 to {SIZE} edges, blocks shorter than the "
                "context, a context of at least 32"
            )
        nouns = [word for name in CATEGORIES for word in CATEGORIES[name].split()]
        foreign = [word + "o" for name in TRANSLATED for word in CATEGORIES[name].split()]
        entities = [
            topic + rest for topic in BEGINNINGS.split()[: self.topics] for rest in ENDINGS.split()
        ]
        object.__setattr__(
            self,
            "words",
            ["<bos>", *MARKS, *LABELS, *RELATIONS.values(), *nouns, *foreign, *entities],
        )

    # --- what there is ---

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token id of each word."""
        return {word: i for i, word in enumerate(self.words)}

    @cached_property
    def categories(self) -> dict[str, np.ndarray]:
        """Token ids [8] of the words of each category."""
        return {name: self.encode(words.split()) for name, words in CATEGORIES.items()}

    @cached_property
    def entities(self) -> np.ndarray:
        """Token ids [topic, 8] of the entities."""
        return np.arange(len(self.words) - self.topics * SIZE, len(self.words)).reshape(
            self.topics, SIZE
        )

    @cached_property
    def translation(self) -> dict[int, int]:
        """Token id of each translated word -> that of its translation."""
        return {
            self.ids[w]: self.ids[w + "o"] for name in TRANSLATED for w in CATEGORIES[name].split()
        }

    @cached_property
    def graph(self) -> np.ndarray:
        """The facts, int64 [topic, fact, 3]: token ids of head, relation word and tail.

        In each topic every relation holds of `edges` pairs; heads and tails are spread evenly, and
        no pair has two relations.
        """
        rng = np.random.default_rng([self.seed, 1])
        return np.stack([self._topic(rng, entities) for entities in self.entities])

    def _topic(self, rng: np.random.Generator, entities: np.ndarray) -> np.ndarray:
        """The pairs lie on shifts of one circle: by as many shifts as are needed, head i is related
        to entity i + shift."""
        count = len(RELATIONS) * self.edges
        shifts = rng.permutation(np.arange(1, SIZE))[: -(-count // SIZE)]
        pairs = np.array([(i, (i + shift) % SIZE) for shift in shifts for i in range(SIZE)])[:count]
        circle, said = rng.permutation(entities), np.resize(self.encode(RELATIONS.values()), count)
        return np.column_stack([circle[pairs[:, 0]], rng.permutation(said), circle[pairs[:, 1]]])

    @cached_property
    def grammar(self) -> dict[str, np.ndarray]:
        """Who goes with whom: `subject`, `object` [verb, 2] and, for each noun, `adjective` [token,
        2] (zeros for other tokens)."""
        rng = np.random.default_rng([self.seed, 2])
        chosen = {
            name: rng.permutation(self.nouns(kinds)).reshape(-1, 2)
            for name, kinds in (("subject", SUBJECTS), ("object", OBJECTS))
        }
        nouns, adjectives = self.nouns(SUBJECTS + OBJECTS), self.categories["adjective"]
        table = np.zeros((len(self.words), 2), np.int64)
        table[nouns, 0] = rng.permutation(np.resize(adjectives, len(nouns)))
        away = rng.permutation(np.resize(np.arange(1, SIZE), len(nouns)))
        table[nouns, 1] = adjectives[(table[nouns, 0] - adjectives[0] + away) % SIZE]
        return chosen | {"adjective": table}

    def nouns(self, kinds: tuple[str, ...]) -> np.ndarray:
        """Token ids of all words of some categories."""
        return np.concatenate([self.categories[kind] for kind in kinds])

    def encode(self, words) -> np.ndarray:
        """Token ids of some words."""
        return np.array([self.ids[word] for word in words])

    @cached_property
    def _groups(self) -> np.ndarray:
        """Triples of category numbers of which no two are held out, in every order."""
        names = list(CATEGORIES)
        apart = [frozenset(pair) in HELD_OUT for pair in product(names, repeat=2)]
        bad = np.array(apart).reshape(len(names), len(names))
        triple = np.array(list(np.ndindex(*3 * (len(names),))))
        different = (
            (triple[:, 0] != triple[:, 1])
            & (triple[:, 1] != triple[:, 2])
            & (triple[:, 0] != triple[:, 2])
        )
        return triple[
            different
            & ~bad[triple[:, 0], triple[:, 1]]
            & ~bad[triple[:, 1], triple[:, 2]]
            & ~bad[triple[:, 0], triple[:, 2]]
        ]

    @cached_property
    def _table(self) -> np.ndarray:
        """Token ids [category, 8]."""
        return np.stack(list(self.categories.values()))

    # --- documents ---

    def batch(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Draw int64 [size, context], kinds mixed by `shares`."""
        counts = rng.multinomial(size, list(self.shares.values())).tolist()
        parts = [
            self.documents(rng, n, kind).tokens
            for kind, n in zip(self.shares, counts, strict=True)
            if n
        ]
        return rng.permutation(np.concatenate(parts))

    def documents(self, rng: np.random.Generator, n: int, kind: str) -> Sample:
        """Draw n documents of one kind with their annotation. Error: ValueError for an unknown
        kind."""
        if kind not in SHARES:
            raise ValueError(f"No kind of document {kind!r}. There are {', '.join(SHARES)}.")
        form, present, detail = getattr(self, f"_{kind}")(rng, n)
        return self._sample(kind, form, present, detail)

    def _sample(
        self, kind: str, form: np.ndarray, present: np.ndarray | None, detail: dict[str, np.ndarray]
    ) -> Sample:
        """Write the present cells of `form` [n, unit, cell] one after the other, behind `<bos>`, up
        to the context."""
        n, _, cells = form.shape
        present = np.ones(form.shape, bool) if present is None else present
        order = np.argsort(~present.reshape(n, -1), axis=1, kind="stable")[:, : self.context - 1]
        tokens = np.take_along_axis(form.reshape(n, -1), order, 1)
        parts = (
            np.concatenate([np.full((n, 1), first), part], 1)
            for first, part in ((0, tokens), (-1, order % cells), (-1, order // cells))
        )
        return Sample(kind, *parts, detail)

    def _units(self, length: int) -> int:
        """How many units of at least that length fill the context."""
        return -(-(self.context - 1) // length)

    def _pairs(self, rng, n):
        """Lines of two words and a label; the classes are 2, 4 or 9, their labels drawn for the
        document."""
        kind = rng.choice([2, 4, 9], n, p=[0.6, 0.25, 0.15])
        groups = self._groups[rng.integers(len(self._groups), size=n)]
        labels = rng.permuted(np.broadcast_to(self.encode(LABELS), (n, len(LABELS))), axis=1)[:, :9]
        lines = self._units(3)
        line_class = rng.integers(kind[:, None], size=(n, lines))
        side = sides(kind[:, None], line_class)
        words = self._table[
            groups[np.arange(n)[:, None, None], side], rng.integers(SIZE, size=(n, lines, 2))
        ]
        form = np.concatenate([words, labels[np.arange(n)[:, None], line_class][..., None]], 2)
        return (
            form,
            None,
            {"classes": kind, "groups": groups, "labels": labels, "line_class": line_class},
        )

    def _singles(self, rng, n):
        """Lines of a word and a label: three categories, labels drawn for the document."""
        groups = self._groups[rng.integers(len(self._groups), size=n)]
        labels = rng.permuted(np.broadcast_to(self.encode(LABELS), (n, len(LABELS))), axis=1)[:, :3]
        line_class = rng.integers(3, size=(n, self._units(2)))
        rows = np.arange(n)[:, None]
        words = self._table[groups[rows, line_class], rng.integers(SIZE, size=line_class.shape)]
        return (
            np.stack([words, labels[rows, line_class]], 2),
            None,
            {"groups": groups, "labels": labels, "line_class": line_class},
        )

    def _categories(self, rng, n):
        """Runs of four words of one category."""
        runs = rng.integers(len(CATEGORIES), size=(n, self._units(4)))
        return (
            self._table[runs[..., None], rng.integers(SIZE, size=(*runs.shape, 4))],
            None,
            {"runs": runs},
        )

    def _repeats(self, rng, n):
        """A block of random tokens (any but `<bos>`), repeated to fill."""
        block = rng.integers(1, len(self.words), (n, self.longest))
        length = rng.integers(self.shortest, self.longest + 1, n)
        place = np.arange(self.context - 1)[None] % length[:, None]
        return np.take_along_axis(block, place, 1)[:, :, None], None, {"length": length}

    def _stories(self, rng, n):
        """Sentences `name verb name .`; who goes with whom is drawn for the document."""
        names = rng.permuted(np.broadcast_to(self.categories["name"], (n, SIZE)), axis=1)[
            :, :6
        ].reshape(n, 3, 2)
        pair = names[np.arange(n)[:, None], rng.integers(3, size=(n, self._units(4)))]
        verb = rng.choice(self.categories["verb"], pair.shape[:2])
        stop = np.full_like(verb, self.ids["."])
        return np.stack([pair[..., 0], verb, pair[..., 1], stop], 2), None, {"pairs": names}

    def _graph(self, rng, n):
        """Facts of one topic, drawn with replacement: `s is used-for o .`"""
        topic = rng.integers(self.topics, size=n)
        fact = self.graph[
            topic[:, None], rng.integers(self.graph.shape[1], size=(n, self._units(5)))
        ]
        is_, stop = (np.full(fact.shape[:2], self.ids[word]) for word in ("is", "."))
        return (
            np.stack([fact[..., 0], is_, fact[..., 1], fact[..., 2], stop], 2),
            None,
            {"topic": topic},
        )

    def _sentences(self, rng, n):
        """Sentences about three verbs; verb and subject in either order, adjectives before or after
        their noun or none."""
        units = self._units(4)
        verbs = rng.permuted(np.broadcast_to(np.arange(SIZE), (n, SIZE)), axis=1)[:, :3]
        verb = verbs[np.arange(n)[:, None], rng.integers(3, size=(n, units))]
        word = {"verb": self.categories["verb"][verb]}
        for name in ("subject", "object"):
            word[name] = self.grammar[name][verb, rng.integers(2, size=verb.shape)]
        first = rng.random(verb.shape) < 0.4
        form, present = self._columns(rng, word, first)
        return form, present, {"verbs": verbs}

    def _columns(
        self, rng, word: dict[str, np.ndarray], first: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Words and presence of each column of `COLUMNS`; `first`: the verb comes first, and there
        is no object."""
        form = np.zeros((*first.shape, len(COLUMNS)), np.int64)
        present = np.ones(form.shape, bool)
        for number, (name, *_) in enumerate(COLUMNS):
            mark = name.split()[0]
            form[..., number] = (
                word[mark] if mark in word else self.ids.get("." if mark == "stop" else mark, 0)
            )
        for noun, number in (("subject", 1), ("object", 2)):
            adjective = self.grammar["adjective"][word[noun], rng.integers(2, size=first.shape)]
            where = rng.choice(3, size=first.shape, p=[0.4, 0.3, 0.3])  # before, after, none
            for place, names in ((0, ("adjective",)), (1, ("so", "after"))):
                for name in names:
                    present[..., COLUMN[f"{name} {number}"]] = where == place
            for name in ("adjective", "after"):
                form[..., COLUMN[f"{name} {number}"]] = adjective
        for name in ("oh", "verb first"):
            present[..., COLUMN[name]] = first
        for name in ("verb", "the 2", "adjective 2", "object", "so 2", "after 2"):
            present[..., COLUMN[name]] &= ~first
        return form, present

    def _translations(self, rng, n):
        """`w1 w2 ... = v1 v2 ... .` again and again: the same number of words in each, 2 to 6."""
        source = np.array(list(self.translation))
        other = np.array(list(self.translation.values()))
        length = rng.integers(2, 7, n)
        drawn = rng.integers(len(source), size=(n, self._units(6), 6))
        shape = (*drawn.shape[:2], 1)
        form = np.concatenate(
            [
                source[drawn],
                np.full(shape, self.ids["="]),
                other[drawn],
                np.full(shape, self.ids["."]),
            ],
            2,
        )
        inside = np.broadcast_to(np.arange(6) < length[:, None, None], drawn.shape)
        one = np.ones(shape, bool)
        return form, np.concatenate([inside, one, inside, one], 2), {"length": length}


@dataclass(frozen=True)
class ListWorld(World):
    """The world of chapters 4 and 5: lists, translations and repeats, and nothing else.

    Whether heads that match tokens also match categories and translations can be asked only of a
    model that has learnt all three. Words, categories and held-out pairs are those of `World`; it
    has few entities, for it never speaks of them.
    """

    topics: int = 1
    shortest: int = 6
    longest: int = 30
    shares: ClassVar[dict[str, float]] = LIST_SHARES


def sides(classes: np.ndarray, line_class: np.ndarray) -> np.ndarray:
    """The numbers [..., 2] of the two categories in a line, by number of classes and class."""
    table = np.zeros((10, 9, 2), np.int64)
    for number, sides in CLASSES.items():
        table[number, :number] = sides
    return table[np.broadcast_to(classes, line_class.shape), line_class]
