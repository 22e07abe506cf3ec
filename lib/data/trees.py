"""Dependency trees of real text: from a treebank in CoNLL-U, or parsed by a spaCy pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lib.data.triplets import Tree, of_doc


def treebank(path: str | Path) -> list[Tree]:
    """Sentences of a CoNLL-U file (Universal Dependencies): syntactic words, without the ranges and
    empty nodes."""
    trees, rows = [], []
    for line in [*Path(path).read_text(encoding="utf-8").splitlines(), ""]:
        if not line and rows:
            trees.append(_tree(rows))
            rows = []
        elif line and line[0] != "#":
            rows.append(line.split("\t"))
    return trees


def _tree(rows: list[list[str]]) -> Tree:
    """One sentence. Words of a range (`don't` = `do` + `n't`) are one stretch of text without a
    space inside."""
    spaced, inside = {}, 0
    for row in rows:
        if "-" in row[0]:
            inside = int(row[0].split("-")[1])
            spaced[inside] = "SpaceAfter=No" not in row[9]
        elif row[0].isdigit() and int(row[0]) not in spaced:
            spaced[int(row[0])] = int(row[0]) > inside and "SpaceAfter=No" not in row[9]
    words = [row for row in rows if row[0].isdigit()]
    heads = [int(row[6]) - 1 if int(row[6]) else i for i, row in enumerate(words)]
    fields = zip(
        *(
            (row[1], spaced[int(row[0])], head, row[7], row[3])
            for row, head in zip(words, heads, strict=True)
        ),
        strict=True,
    )
    return Tree(*(tuple(field) for field in fields))


def pipeline(name: str) -> Any:
    """A spaCy pipeline by name or path. Errors: FileNotFoundError with the command that installs
    it; ValueError without a parser."""
    import spacy

    try:
        nlp = spacy.load(name)
    except OSError:
        raise FileNotFoundError(
            f"No spaCy model {name!r}. Install it: .venv/bin/python -m spacy download {name}"
        ) from None
    if not nlp.has_pipe("parser"):
        raise ValueError(f"The spaCy model {name!r} has no parser. Use one such as en_core_web_sm.")
    return nlp


def parsed(texts: Iterable[str], nlp: Any) -> Iterator[Tree]:
    """Trees of the sentences of texts, parsed by a spaCy pipeline."""
    for doc in nlp.pipe(texts):
        for sentence in doc.sents:
            yield of_doc(sentence.as_doc())
