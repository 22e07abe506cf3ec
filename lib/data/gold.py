"""Gold annotation of the generated world's documents, in the form that real text comes in.

`graph` and `sentences` turn a `worlds.Sample` into `triplets.Document`s, `trees` its sentences into
dependency trees, from which `Tree.doc` makes spaCy Docs. Nothing is parsed: the world knows what it
wrote.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lib.data.lexicon import COLUMN, COLUMNS, OBJECTS, RELATIONS, SUBJECTS
from lib.data.triplets import Document, Link, Tree, relation_of
from lib.data.worlds import Sample, World

# What could stand for a noun in a sentence is another noun that can do the same: hens do not stand
# for hammers.
CLASSES = {"NOUN": "thing", "VERB": "verb", "ADJ": "adjective"}


def documents(world: World, sample: Sample) -> list[Document]:
    """Documents of the kind `graph` or `sentences` with their triplets. Error: ValueError for other
    kinds, which have none."""
    if sample.kind not in ("graph", "sentences"):
        raise ValueError(
            f"Documents of kind {sample.kind!r} have no triplets. Kinds that have: graph, "
            "sentences."
        )
    numbers = range(len(sample.tokens))
    if sample.kind == "graph":
        return [_graph(world, sample, number) for number in numbers]
    known = _grammatical(world)
    return [_sentences(world, sample, number, known) for number in numbers]


def _graph(world: World, sample: Sample, number: int) -> Document:
    """All facts of the topic whose two entities are mentioned; stated here or not, they are true in
    the world."""
    ids, topic = sample.tokens[number, 1:], sample.detail["topic"][number]
    relation = {world.ids[word]: name for name, word in RELATIONS.items()}
    places = {
        entity: tuple(np.flatnonzero(ids == entity).tolist()) for entity in world.entities[topic]
    }
    links = [
        Link(relation[r], places[s], places[o], f"topic {topic}")
        for s, r, o in world.graph[topic]
        if places[s] and places[o]
    ]
    classes = ["entity" if token in places else None for token in ids]
    return Document.of_words([world.words[token] for token in ids], links, classes)


def _sentences(
    world: World, sample: Sample, number: int, known: frozenset[tuple[str, str, str]]
) -> Document:
    """Links within each sentence, cut off or not."""
    ids, links = sample.tokens[number, 1:], []
    for columns in _by_sentence(sample, number):
        for column, place in columns.items():
            head = _head(columns, column)
            relation = (
                None
                if head is None
                else relation_of(COLUMNS[column][2], COLUMNS[sample.cell[number, 1 + head]][3])
            )
            if relation:
                links.append(Link(relation, (head,), (place,), world.words[ids[head]]))
    animate = {token for kind in SUBJECTS for token in world.categories[kind]}
    parts = [COLUMNS[column][3] for column in sample.cell[number, 1:]]
    classes = [
        "animate" if token in animate else CLASSES.get(part)
        for token, part in zip(ids, parts, strict=True)
    ]
    return Document.of_words([world.words[token] for token in ids], links, classes, known=known)


def _grammatical(world: World) -> frozenset[tuple[str, str, str]]:
    """Every pair that the world's grammar allows, so that a true adjective never stands in the
    place of a false one."""
    nouns = world.nouns(SUBJECTS + OBJECTS)
    pairs: dict[str, list[tuple[int, int]]] = {"subject": [], "object": []}
    for name, found in pairs.items():
        for verb, two in zip(world.categories["verb"], world.grammar[name], strict=True):
            found += [(verb, noun) for noun in two]
    mod = [(noun, adjective) for noun in nouns for adjective in world.grammar["adjective"][noun]]
    rows = (("subj", pairs["subject"]), ("obj", pairs["object"]), ("mod", mod))
    return frozenset(
        (relation, world.words[head], world.words[tail])
        for relation, found in rows
        for head, tail in found
    )


def _by_sentence(sample: Sample, number: int) -> Iterator[dict[int, int]]:
    """For each sentence: column -> number of the word that fills it."""
    cells, units = sample.cell[number, 1:], sample.unit[number, 1:]
    for unit in range(int(units.max()) + 1):
        yield {int(cells[place]): int(place) for place in np.flatnonzero(units == unit)}


def _head(columns: dict[int, int], column: int) -> int | None:
    """The word that the word in a column depends on (the root: itself); None if it was cut off."""
    name = COLUMNS[column][1]
    if name == "V":
        return columns.get(COLUMN["verb"], columns.get(COLUMN["verb first"]))
    return columns.get(COLUMN[name])


def trees(world: World, sample: Sample) -> list[list[Tree]]:
    """The dependency trees of each document's whole sentences, in order."""
    result = []
    for number in range(len(sample.tokens)):
        whole = [columns for columns in _by_sentence(sample, number) if COLUMN["stop"] in columns]
        result.append([_tree(world, sample.tokens[number, 1:], columns) for columns in whole])
    return result


def _tree(world: World, ids: np.ndarray, columns: dict[int, int]) -> Tree:
    start = min(columns.values())
    rows = [
        (world.words[ids[place]], True, _head(columns, column) - start, *COLUMNS[column][2:])
        for column, place in columns.items()
    ]
    return Tree(*(tuple(field) for field in zip(*rows, strict=True)))
