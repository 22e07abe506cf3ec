"""Real text is read as published: against the files themselves where they are, and on a few rows
written here."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.training import Example

from lib import profiles
from lib.analyses import relation_maps
from lib.data import agenda, corpora, gold, trees, triplets
from lib.data.worlds import World
from lib.measures.relation_index import CALIBRATED, PRINTED
from lib.models import opening

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
ROW = (
    "A title .\tparser ; grammar ; old corpus\t<method> <method> <material>\t0 0 1 ; 0 1 2 ; 1 2 1"
    "\twe use a <method_0> for <method_1> and <material_2> with the <method_0> .\t0 1 -1"
)


def shared(name: str) -> Path:
    """A file of the shared data folder; the test is skipped where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


@pytest.fixture
def abstract(tmp_path) -> agenda.Abstract:
    (tmp_path / "x.tsv").write_text(ROW + "\n")
    return agenda.read(tmp_path / "x.tsv")[0]


def test_a_row_of_agenda(abstract):
    assert abstract.entities == ("parser", "grammar", "old corpus")
    assert abstract.words == ("we", "use", "a", 0, "for", 1, "and", 2, "with", "the", 0, ".")
    assert abstract.graph == ((0, "Used-for", 1), (0, "Conjunction", 2), (1, "Feature-of", 1))
    assert (
        agenda.written(abstract) == "we use a parser for grammar and old corpus with the parser ."
    )


def test_letters_stand_for_entities(abstract):
    (document,), dropped = agenda.lettered(
        [abstract], np.random.default_rng(0), lambda word: word in ("a", "the", "with")
    )
    words = document.words
    assert (
        len(words) == 9
        and words[2] == words[7]
        and words[2] in agenda.LETTERS
        and not set(words) & set("AINSWE")
    )
    assert [(link.relation, link.head, link.tail) for link in document.links] == [
        ("Used-for", (2, 7), (4,)),
        ("Conjunction", (2, 7), (6,)),
    ]
    assert document.classes == (
        None,
        None,
        "entity",
        None,
        "entity",
        None,
        "entity",
        "entity",
        None,
    )
    assert dropped == {
        "self-relations": 1,
        "not mentioned": 0,
        "documents with too many entities": 0,
    }


def test_letters_are_drawn_anew_for_each_document(abstract):
    drawn = {
        agenda.lettered([abstract], np.random.default_rng(seed))[0][0].words[3]
        for seed in range(60)
    }
    assert len(drawn) > 15


def test_documents_with_more_entities_than_letters_are_dropped(abstract):
    many = agenda.Abstract("t", tuple(map(str, range(21))), tuple(range(21)), ())
    assert agenda.lettered([many], np.random.default_rng(0)) == (
        [],
        {"self-relations": 0, "not mentioned": 0, "documents with too many entities": 1},
    )


def test_bad_rows_and_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="row 0 does not parse"):
        agenda.read([{"title": "t", "entities": "a", "relations": "0 99 1", "text": "x"}])
    with pytest.raises(
        FileNotFoundError, match=r"python -m lib.data.corpora \"agenda/preprocessed.test.tsv\""
    ):
        corpora.find("agenda/preprocessed.test.tsv", tmp_path)
    with pytest.raises(FileNotFoundError, match="python -m spacy download en_core_nowhere"):
        trees.pipeline("en_core_nowhere")


def test_ranges_of_a_treebank_leave_no_space_inside(tmp_path):
    rows = [
        ("1", "I", "PRON", "4", "nsubj", "_"),
        ("2-3", "don't", "_", "_", "_", "_"),
        ("2", "do", "AUX", "4", "aux", "_"),
        ("3", "n't", "PART", "4", "advmod", "_"),
    ]
    rows += [
        ("3.1", "x", "_", "_", "_", "_"),
        ("4", "know", "VERB", "0", "root", "SpaceAfter=No"),
        ("5", ".", "PUNCT", "4", "punct", "_"),
    ]
    lines = [
        f"{i}\t{word}\t_\t{pos}\t_\t_\t{head}\t{label}\t_\t{misc}"
        for i, word, pos, head, label, misc in rows
    ]
    (tmp_path / "x.conllu").write_text("# text = I don't know.\n" + "\n".join(lines) + "\n\n")
    (tree,) = trees.treebank(tmp_path / "x.conllu")
    assert tree.words == ("I", "do", "n't", "know", ".") and tree.heads == (3, 3, 3, 3, 3)
    assert triplets.syntax(tree).text == "I don't know."


def test_parsing_takes_any_pipeline():
    """A rule in place of a trained parser: each word hangs on the next."""
    nlp = spacy.blank("en")

    @spacy.Language.component("next_word")
    def next_word(doc):
        heads = [min(i + 1, len(doc) - 1) for i in range(len(doc))]
        return spacy.tokens.Doc(
            doc.vocab,
            [t.text for t in doc],
            heads=heads,
            deps=["amod"] * (len(doc) - 1) + ["ROOT"],
            pos=["NOUN"] * len(doc),
        )

    nlp.add_pipe("next_word")
    (tree,) = trees.parsed(["old grey hens"], nlp)
    assert [(x.head, x.tail) for x in triplets.syntax(tree).links] == [((1,), (0,)), ((2,), (1,))]


def test_frequent_function_words_are_those_that_the_pipeline_tags(abstract):
    nlp = spacy.blank("en")

    @spacy.Language.component("tag_short_words")
    def tag_short_words(doc):
        for token in doc:
            token.pos_ = "DET" if token.text in ("a", "the") else "NOUN"
        return doc

    nlp.add_pipe("tag_short_words")
    rule = agenda.function_words([abstract, abstract], nlp, most=1)
    assert rule("a") != rule("the") and not rule("parser")
    assert all(agenda.function_words([abstract], nlp, most=5)(word) for word in ("a", "the"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A real spaCy tagger and parser on disk, trained here on sentences of the generated world."""
    world, path = World(), tmp_path_factory.mktemp("spacy") / "pipeline"
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    sample = world.documents(np.random.default_rng(0), 30, "sentences")
    gold_docs = [tree.doc(nlp.vocab) for page in gold.trees(world, sample) for tree in page]
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in gold_docs]
    nlp.add_pipe("morphologizer"), nlp.add_pipe("parser")
    adam = nlp.initialize(lambda: examples)
    for _ in range(6):
        for start in range(0, len(examples), 32):
            nlp.update(examples[start : start + 32], sgd=adam)
    nlp.to_disk(path)
    return path


def test_a_trained_parser_recovers_the_gold_triplets(trained):
    nlp, world = trees.pipeline(str(trained)), World()
    sample = world.documents(np.random.default_rng(1), 8, "sentences")
    right = total = 0
    for tree in (tree for page in gold.trees(world, sample) for tree in page):
        told = triplets.syntax(tree)
        found = {
            link for one in trees.parsed([told.text], nlp) for link in triplets.syntax(one).links
        }
        right, total = right + len(found & set(told.links)), total + len(told.links)
    assert total > 100 and right / total > 0.9


def test_a_profile_chooses_texts_for_a_model(trained, tmp_path):
    (tmp_path / "x.tsv").write_text(ROW + "\n")
    named = {"model": "some/model", "data_dir": str(tmp_path), "agenda_file": "x.tsv"}
    assert set(
        corpora.chosen(profiles.validate(named | {"remove_function_words": False}, "here"))
    ) == {"graph"}
    with pytest.raises(ValueError, match="remove_function_words to false"):
        corpora.chosen(profiles.validate(named, "here"))
    both = corpora.chosen(profiles.validate(named | {"spacy_model": str(trained)}, "here"))
    assert set(both) == {"graph", "syntax"}
    assert (
        " ".join(one.text for one in both["syntax"][0])
        == "we use a parser for grammar and old corpus with the parser ."
    )
    with pytest.raises(ValueError, match="set agenda_file or treebank_file"):
        corpora.chosen(profiles.validate({"model": "some/model"}, "here"))
    with pytest.raises(FileNotFoundError, match="python -m lib.data.corpora"):
        corpora.chosen(
            profiles.validate(
                {
                    "model": "some/model",
                    "data_dir": str(tmp_path),
                    "treebank_file": "ud_english_ewt/en_ewt-ud-dev.conllu",
                },
                "here",
            )
        )


def test_a_download_is_checked_and_kept(tmp_path, monkeypatch):
    (tmp_path / "published").write_text(ROW)
    right = hashlib.sha256(ROW.encode()).hexdigest()
    for name, checksum in (("right.tsv", right), ("changed.tsv", "0" * 64)):
        monkeypatch.setitem(
            corpora.HOMES, name, corpora.Home((tmp_path / "published").as_uri(), checksum)
        )
    path = corpora.fetch("right.tsv", tmp_path / "data")
    assert path.read_text() == ROW and corpora.find("right.tsv", tmp_path / "data") == path
    with pytest.raises(ValueError, match="not the file that the book was written with"):
        corpora.fetch("changed.tsv", tmp_path / "data")
    assert not (tmp_path / "data" / "changed.tsv").exists()
    with pytest.raises(ValueError, match="No corpus 'other.tsv'"):
        corpora.fetch("other.tsv", tmp_path / "data")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Usage: python -m lib.data.corpora NAME FOLDER"),
        (("wikitext-2/valid.txt",), "Usage: python -m lib.data.corpora NAME FOLDER"),
        (("other.tsv", "data"), "No corpus 'other.tsv' to download"),
        (("wikitext-2/valid.txt", "data"), "was not reached"),
    ],
)
def test_the_command_fails_in_a_line(arguments, said, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "https_proxy": "http://127.0.0.1:9",
    }  # where nobody listens
    command = [sys.executable, "-m", "lib.data.corpora", *arguments]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (
        result.returncode == 1
        and said in result.stderr
        and "Traceback" not in result.stderr
        and not list(tmp_path.iterdir())
    )


# --- the published files ---


@pytest.mark.parametrize("name", list(corpora.HOMES))
def test_checksums_are_those_of_the_published_files(name):
    assert hashlib.sha256(shared(name).read_bytes()).hexdigest() == corpora.HOMES[name].sha256


def test_agenda_as_published():
    path = shared("agenda/preprocessed.test.tsv")
    abstracts = agenda.read(path)
    counts = Counter(relation for abstract in abstracts for _, relation, _ in abstract.graph)
    assert counts == {
        "Used-for": 2620,
        "Conjunction": 881,
        "Hyponym-of": 331,
        "Evaluate-for": 259,
        "Feature-of": 156,
        "Compare": 153,
        "Part-of": 125,
    }
    assert len(abstracts) == 1000 and counts.total() == 4525
    mentioned = [set(abstract.words) for abstract in abstracts]
    assert sum(head == tail for a in abstracts for head, _, tail in a.graph) == 37
    assert (
        sum(
            head in words and tail in words
            for a, words in zip(abstracts, mentioned, strict=True)
            for head, _, tail in a.graph
        )
        == 4422
    )
    assert sum(len(a.entities) > 26 for a in abstracts) == 3
    documents, dropped = agenda.lettered(abstracts, np.random.default_rng(0))
    assert (
        dropped["self-relations"] == 37
        and len(documents) == 1000 - dropped["documents with too many entities"]
    )


def test_agenda_reads_the_same_through_datasets(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    path = shared("agenda/preprocessed.val.tsv")
    assert agenda.read(agenda.dataset(path)) == agenda.read(path)


@pytest.fixture(scope="module")
def stories():
    return opening.open_model(shared("stories260K"))


def test_letters_that_a_tokenizer_splits_are_named(stories):
    with pytest.raises(ValueError, match="not one token of this tokenizer: C, D, F"):
        agenda.check_letters(stories.tokenizer)


@pytest.fixture(scope="module")
def treebank() -> list[triplets.Tree]:
    return trees.treebank(shared("ud_english_ewt/en_ewt-ud-test.conllu"))


def test_the_treebank_gives_the_same_triplets_through_spacy(treebank):
    """And its sentences read as their own `# text` lines say."""
    vocab = spacy.blank("en").vocab
    assert len(treebank) == 2077
    for tree in treebank:
        assert triplets.syntax(triplets.of_doc(tree.doc(vocab))) == triplets.syntax(tree)
    relations = Counter(link.relation for tree in treebank for link in triplets.syntax(tree).links)
    assert set(relations) == {"subj", "obj", "mod"} and min(relations.values()) > 1000
    lines = shared("ud_english_ewt/en_ewt-ud-test.conllu").read_text().splitlines()
    stated = [line.removeprefix("# text = ") for line in lines if line.startswith("# text = ")]
    assert (
        sum(triplets.syntax(tree).text == text for tree, text in zip(treebank, stated, strict=True))
        > 2070
    )


@pytest.mark.parametrize("source", ["treebank", "agenda"])
def test_real_text_runs_through_a_real_model(source, stories, treebank):
    """End to end, with a tokenizer that splits words: every source and target is the first token of
    its word."""
    if source == "treebank":
        documents, relations = [triplets.syntax(tree) for tree in treebank[:25]], triplets.SYNTAX
    else:
        abstracts = agenda.read(shared("agenda/preprocessed.test.tsv"))[:7]
        documents, relations = (
            agenda.lettered(abstracts, np.random.default_rng(0))[0],
            agenda.RELATIONS,
        )
    encoded = triplets.collate(documents, stories.tokenizer, relations, stories.context)
    first = {
        (n, place)
        for n, d in enumerate(documents)
        for place in triplets.places(stories.tokenizer, d)[1]
    }
    found = encoded.triplets
    assert (
        len(found) > 30
        and {(int(d), int(p)) for d, p in zip(found.document, found.source, strict=True)} <= first
    )
    result = relation_maps.measure(
        stories, encoded, {"printed": PRINTED, "source": CALIBRATED}, batch=30
    )
    for one in result.values():
        index = one.summary["index"]
        assert index.shape == (5, 8, len(relations)) and (one.summary["events"] > 0).any()
        assert bool(((index >= 0) & (index <= 1) | index.isnan()).all())
    assert (result["source"].sums["tail"] != result["printed"].sums["tail"]).any()
