"""Real text: AGENDA abstracts with their knowledge graphs, dependency treebanks, and plain text.

Files are read from `data_dir`. `fetch` downloads the few that the book names from their public
homes, at a fixed commit and checksum;
nothing is downloaded otherwise, and a missing file is reported with the command that gets it.
"""

from __future__ import annotations

import hashlib
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.triplets import Document, Link, Tree, of_doc, syntax
from lib.files import write_whole
from lib.profiles import Profile


@dataclass(frozen=True)
class Home:
    """Where a corpus file is published, and the SHA-256 of what the book was written with."""

    url: str
    sha256: str


_AGENDA = "https://raw.githubusercontent.com/rikdz/GraphWriter/f228420aa48697dfb7a1ced3a62f955031664ed3/data"
_TREEBANK = "https://raw.githubusercontent.com/UniversalDependencies/UD_English-EWT/15d613d"
_WIKITEXT = (
    "https://raw.githubusercontent.com/pytorch/examples/77f55b9/word_language_model/data/wikitext-2"
)
HOMES: dict[str, Home] = {
    "agenda/preprocessed.test.tsv": Home(
        f"{_AGENDA}/preprocessed.test.tsv",
        "0fd6b6ac1d1c9343f91eb617102a2b8a1850d0eded966b17e396942b57979553",
    ),
    "agenda/preprocessed.val.tsv": Home(
        f"{_AGENDA}/preprocessed.val.tsv",
        "9f0fcd332bc03582311c4a97129809fa632e4feaee6be424d25b73b97f8d4980",
    ),
    "ud_english_ewt/en_ewt-ud-dev.conllu": Home(
        f"{_TREEBANK}/en_ewt-ud-dev.conllu",
        "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6",
    ),
    "ud_english_ewt/en_ewt-ud-test.conllu": Home(
        f"{_TREEBANK}/en_ewt-ud-test.conllu",
        "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd",
    ),
    "wikitext-2/valid.txt": Home(
        f"{_WIKITEXT}/valid.txt", "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"
    ),
}


def find(name: str, data_dir: str | Path) -> Path:
    """The path of a corpus file. Error: FileNotFoundError with the command that downloads it."""
    path = Path(data_dir) / name
    if not path.is_file():
        cure = (
            f'Download it: .venv/bin/python -m lib.data.corpora "{name}" "{data_dir}"'
            if name in HOMES
            else f"Corpora that can be downloaded: {', '.join(HOMES)}"
        )
        raise FileNotFoundError(f"No corpus file {path}. {cure}")
    return path


def fetch(name: str, data_dir: str | Path) -> Path:
    """Download a file that `HOMES` names, unless it is there, and return its path.

    Errors: ValueError for a name that is not in `HOMES`, and for a file that is not the one the
    book was written with.
    """
    if name not in HOMES:
        raise ValueError(f"No corpus {name!r} to download. There are {', '.join(HOMES)}.")
    path, home = Path(data_dir) / name, HOMES[name]
    if not path.is_file():
        with urllib.request.urlopen(home.url, timeout=60) as answer:
            content = answer.read()
        if hashlib.sha256(content).hexdigest() != home.sha256:
            raise ValueError(
                f"{home.url} is not the file that the book was written with (its SHA-256 differs). Nothing was written; put a copy of your own at {path} to use it all the same."
            )
        write_whole(path, content)
    return path


# --- AGENDA ---

COLUMNS = ("title", "entities", "types", "relations", "text", "order")
# The order of relations.vocab in the published data, under the paper's names.
RELATIONS = (
    "Used-for",
    "Conjunction",
    "Feature-of",
    "Part-of",
    "Compare",
    "Evaluate-for",
    "Hyponym-of",
)
LETTERS = (
    "BCDFGHJKLMOPQRTUVXYZ"  # the paper leaves out A, I, N, S, W and E, which mean something alone
)
PLACEHOLDER = re.compile(r"<[a-z]+_(\d+)>")
FUNCTION_WORDS = frozenset({"ADP", "AUX", "CCONJ", "DET", "PART", "PRON", "SCONJ"})


@dataclass(frozen=True)
class Abstract:
    """An abstract: its words, with an entity's number in place of a word where one is mentioned,
    and its graph."""

    title: str
    entities: tuple[str, ...]
    words: tuple[str | int, ...]
    graph: tuple[tuple[int, str, int], ...]  # (head, relation, tail)


def agenda(rows: str | Path | Iterable[Mapping[str, str]]) -> list[Abstract]:
    """Read AGENDA from the published tsv file, or from a `datasets.Dataset` with the columns
    `COLUMNS` (see `dataset`).

    Error: ValueError that names a row which does not parse.
    """
    if isinstance(rows, str | Path):
        lines = Path(rows).read_text(encoding="utf-8").splitlines()
        rows = (dict(zip(COLUMNS, line.split("\t"), strict=False)) for line in lines if line)
    return [_abstract(number, row) for number, row in enumerate(rows)]


def dataset(path: str | Path) -> Any:
    """The tsv file as a `datasets.Dataset`, every column text."""
    import datasets

    features = datasets.Features({name: datasets.Value("string") for name in COLUMNS})
    return datasets.load_dataset(
        "csv",
        data_files=str(path),
        split="train",
        delimiter="\t",
        column_names=list(COLUMNS),
        features=features,
        quoting=3,
        keep_default_na=False,
    )


def _abstract(number: int, row: Mapping[str, str]) -> Abstract:
    try:
        entities = tuple(row["entities"].split(" ; "))
        edges = [
            tuple(map(int, edge.split())) for edge in row["relations"].split(" ; ") if edge.strip()
        ]
        graph = tuple((head, RELATIONS[relation], tail) for head, relation, tail in edges)
        words = tuple(
            int(hit[1]) if (hit := PLACEHOLDER.fullmatch(word)) else word
            for word in row["text"].split()
        )
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(
            f"AGENDA row {number} does not parse: {error!r}. Expected tab-separated columns {', '.join(COLUMNS)}."
        ) from error
    return Abstract(row["title"], entities, words, graph)


def lettered(
    abstracts: Sequence[Abstract],
    rng: np.random.Generator,
    function_word: Callable[[str], bool] | None = None,
) -> tuple[list[Document], dict[str, int]]:
    """Put a random letter for each entity and link them by the graph; returns the documents, and
    counts of what was dropped.

    Dropped: self-relations, triplets with an entity that the text never mentions, documents with
    more entities than
    letters. `function_word` says which words to leave out (none when None).
    """
    counts = Counter(
        {"self-relations": 0, "not mentioned": 0, "documents with too many entities": 0}
    )
    documents = []
    for abstract in abstracts:
        mentioned = sorted({word for word in abstract.words if isinstance(word, int)})
        if len(mentioned) > len(LETTERS):
            counts["documents with too many entities"] += 1
            continue
        letter = dict(zip(mentioned, rng.permutation(list(LETTERS)), strict=False))
        kept = [
            word
            for word in abstract.words
            if isinstance(word, int) or not (function_word and function_word(word))
        ]
        links = _links(abstract, kept, counts)
        classes = ["entity" if isinstance(word, int) else None for word in kept]
        documents.append(
            Document.of_words([letter.get(word, str(word)) for word in kept], links, classes)
        )
    return documents, dict(counts)


def _links(abstract: Abstract, words: Sequence[str | int], counts: Counter) -> Iterator[Link]:
    """The graph's edges on the numbers of the words."""
    for head, relation, tail in abstract.graph:
        places = [
            tuple(i for i, word in enumerate(words) if word == entity) for entity in (head, tail)
        ]
        counts["self-relations"] += head == tail
        counts["not mentioned"] += head != tail and not all(places)
        if head != tail and all(places):
            yield Link(relation, *places)


def check_letters(tokenizer: Any) -> None:
    """Error: ValueError naming the letters that are not one token of a tokenizer after a space."""
    before = tokenizer("the", add_special_tokens=False)["input_ids"]
    split = [
        letter
        for letter in LETTERS
        if len(tokenizer(f"the {letter}", add_special_tokens=False)["input_ids"]) != len(before) + 1
    ]
    if split:
        raise ValueError(
            f"Letters that are not one token of this tokenizer: {', '.join(split)}. Entities cannot stand as letters in this model."
        )


def function_words(
    abstracts: Sequence[Abstract], nlp: Any, most: int = 20
) -> Callable[[str], bool]:
    """The `most` frequent function words of the abstracts, as a spaCy pipeline tags them (section
    3.1 of the paper)."""
    texts = (
        " ".join("B" if isinstance(word, int) else word for word in abstract.words)
        for abstract in abstracts
    )
    tags = Counter(
        token.lower_ for doc in nlp.pipe(texts) for token in doc if token.pos_ in FUNCTION_WORDS
    )
    common = {word for word, _ in tags.most_common(most)}
    return lambda word: word in common


# --- trees ---


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


def written(abstract: Abstract) -> str:
    """An abstract's text with the entities' own names back in place, for parsing."""
    return " ".join(
        abstract.entities[word] if isinstance(word, int) else word for word in abstract.words
    )


# --- what a profile asks for ---


def check(profile: Profile) -> Any:
    """Find the texts and open the spaCy pipeline that a profile names; returns the pipeline (None:
    it names none).

    Errors: FileNotFoundError with the command that gets what is missing; ValueError when the
    profile asks for what only a
    pipeline can tell and names none.
    """
    for name in filter(None, (profile.agenda_file, profile.treebank_file)):
        find(name, profile.data_dir)
    nlp = pipeline(profile.spacy_model) if profile.spacy_model else None
    if profile.model and profile.agenda_file and profile.remove_function_words and nlp is None:
        raise ValueError(
            "remove_function_words needs a spaCy pipeline, which tags them: set spacy_model to en_core_web_sm (.venv/bin/python -m spacy download en_core_web_sm), or set remove_function_words to false."
        )
    return nlp


def chosen(profile: Profile) -> dict[str, tuple[list[Document], dict[str, int]]]:
    """The documents on which a model of yours is measured, by kind, and counts of what was dropped:
    `graph` from AGENDA,
    entities as letters; `syntax` from a treebank or, without one, from AGENDA's sentences as a
    spaCy pipeline parses them.

    Errors: ValueError when the profile names no text; those of `check`.
    """
    if not (profile.agenda_file or profile.treebank_file):
        raise ValueError(
            f"model={profile.model!r} needs texts: set agenda_file or treebank_file to a file in data_dir={profile.data_dir!r}, such as {', '.join(list(HOMES)[:4])}."
        )
    nlp, result = check(profile), {}
    if profile.agenda_file:
        abstracts = agenda(find(profile.agenda_file, profile.data_dir))[: profile.documents]
        rule = function_words(abstracts, nlp) if profile.remove_function_words else None
        result["graph"] = lettered(abstracts, np.random.default_rng(profile.letters_seed), rule)
    if profile.treebank_file:
        trees: Iterable[Tree] = treebank(find(profile.treebank_file, profile.data_dir))
    else:
        trees = parsed(map(written, abstracts), nlp) if nlp else ()
    if sentences := [syntax(tree) for tree in islice(trees, profile.documents)]:
        result["syntax"] = sentences, {}
    return result


def texts(path: str | Path, separator: str = "<|endoftext|>") -> list[str]:
    """The texts of a plain file, split at a separator; a file without it is one text."""
    return [
        part.strip()
        for part in Path(path).read_text(encoding="utf-8").split(separator)
        if part.strip()
    ]


if __name__ == "__main__":
    import sys
    import urllib.error

    if len(sys.argv) != 3:
        raise SystemExit(
            "Usage: python -m lib.data.corpora NAME FOLDER\nNAME is one of:\n  "
            + "\n  ".join(HOMES)
        )
    try:
        print(fetch(*sys.argv[1:]))
    except ValueError as error:
        raise SystemExit(str(error)) from None
    except (urllib.error.URLError, TimeoutError) as error:
        raise SystemExit(
            f"{HOMES[sys.argv[1]].url} was not reached: {error}. Check the network and try again."
        ) from None
