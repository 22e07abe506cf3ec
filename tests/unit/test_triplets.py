"""Trees and graphs become triplets of token positions, by rules that a reader can check by hand."""

from dataclasses import replace

import pytest
import spacy
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lib.data.triplets import Document, Link, Tree, collate, of_doc, places, relation_of, syntax
from lib.models import organisms

WORDS = ["the", "old", "fox", "sees", "a", "hen", ",", "barely", "."]
TREE = Tree(
    tuple(WORDS),
    (True,) * 5 + (False, True, False, False),
    (2, 2, 3, 3, 5, 3, 3, 3, 3),
    ("det", "amod", "nsubj", "ROOT", "det", "obj", "punct", "advmod", "punct"),
    ("DET", "ADJ", "NOUN", "VERB", "DET", "NOUN", "PUNCT", "ADV", "PUNCT"),
)


def triples(document: Document) -> set[tuple[str, str, str]]:
    words = document.words
    return {(link.relation, words[link.head[0]], words[link.tail[0]]) for link in document.links}


def test_syntax_by_hand():
    assert triples(syntax(TREE)) == {
        ("subj", "sees", "fox"),
        ("obj", "sees", "hen"),
        ("mod", "fox", "old"),
        ("mod", "sees", "barely"),
    }
    assert syntax(TREE).text == "the old fox sees a hen, barely."


@pytest.mark.parametrize(
    "label, head, relation",
    [("nsubj:pass", "VERB", "subj"), ("nsubjpass", "VERB", "subj"), ("dobj", "VERB", "obj")]
    + [("pobj", "ADP", None), ("iobj", "VERB", None)]
    + [("advmod", "ADJ", None), ("advmod", "VERB", "mod")]
    + [("amod", "NOUN", "mod"), ("nmod", "NOUN", None)],
)
def test_labels_of_both_schemes(label, head, relation):
    assert relation_of(label, head) == relation


def test_a_tree_survives_spacy():
    assert of_doc(TREE.doc(spacy.blank("en").vocab)) == TREE


@pytest.fixture(scope="module")
def letters():
    """A tokenizer whose tokens are pairs of letters, spaces in front of the first: `the fox` ->
    `th`, `e`, ` f`, `ox`."""
    inner = Tokenizer(models.WordLevel({}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[^ ]{1,2}"), "isolated")
    text = "the old fox sees a hen, barely."
    parts = [piece for piece, _ in inner.pre_tokenizer.pre_tokenize_str(text)]
    inner.model = models.WordLevel(
        {piece: i for i, piece in enumerate(["?", *dict.fromkeys(parts)])}, unk_token="?"
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="?")


def test_words_of_several_tokens(letters):
    """th|e| ol|d| fo|x| se|es| a| he|n,| ba|re|ly|. -- the comma shares the last token of `hen`."""
    document = syntax(TREE)
    ids, first = places(letters, document)
    assert letters.convert_ids_to_tokens(ids) == [
        "th",
        "e",
        " ol",
        "d",
        " fo",
        "x",
        " se",
        "es",
        " a",
        " he",
        "n,",
        " ba",
        "re",
        "ly",
        ".",
    ]
    assert first == [0, 2, 4, 6, 8, 9, 10, 11, 14]
    assert places(letters, document, "whole")[1] == [-1, -1, -1, -1, 8, -1, 10, -1, 14]


def graph_document() -> Document:
    """B uses C; D uses E; B is mentioned twice."""
    words = ["x", "B", "y", "C", "D", "z", "B", "E"]
    classes = [None if word.islower() else "entity" for word in words]
    return Document.of_words(words, [Link("uses", (1, 6), (3,)), Link("uses", (4,), (7,))], classes)


@pytest.fixture(scope="module")
def words():
    return organisms.tokenizer(["<bos>", *"xyzBCDE"])


def test_collate_places_every_mention_of_the_head_and_the_first_of_the_tail(words):
    found = collate([graph_document()], words, ["uses"], 16).triplets
    assert list(zip(found.source.tolist(), found.target.tolist(), strict=True)) == [
        (2, 4),
        (7, 4),
        (5, 8),
    ]
    assert found.fact.tolist() == [0, 0, 1] and found.first.tolist() == [4, 7, 8]


def test_alternatives_are_visible_of_the_class_and_not_true_themselves(words):
    """For B -> C at once: nothing else is visible. Later, D is. For D -> E: B and C; E comes
    last."""
    found = collate([graph_document()], words, ["uses"], 16, alternatives=3).triplets
    assert found.other_tails.tolist() == [[-1, -1, -1], [5, -1, -1], [4, 2, -1]]
    assert found.other_sources.tolist() == [[-1, -1, -1], [5, -1, -1], [4, 2, -1]]
    both = Document.of_words(
        ["B", "C", "D", "E"], [Link("uses", (0,), (2,)), Link("uses", (0,), (3,))], ["entity"] * 4
    )
    found = collate([both], words, ["uses"], 16, alternatives=3).triplets
    assert found.other_tails.tolist() == [[2, -1, -1], [3, 2, -1]]  # C; D and E are both true of B,
    assert found.joined.tolist() == [[-1, -1, -1], [0, -1, -1]]  # and D is marked as such
    assert found.other_sources.tolist() == [[2, -1, -1], [2, 3, -1]]


def test_partners_are_joined_by_another_relation_and_known_pairs_are_never_false(words):
    links = [Link("uses", (0,), (2,)), Link("makes", (0,), (3,))]
    told = Document.of_words(["B", "C", "D", "E"], links, ["entity"] * 4)
    found = collate([told], words, ["uses", "makes"], 16, reverse=True, alternatives=3).triplets
    uses = found.at(found.relation == 1)  # B makes E; C and D are other tails, and D is what B uses
    assert uses.other_tails.tolist() == [[3, 2, -1]]
    assert uses.joined.tolist() == [[0, -1, -1]]
    known = replace(told, known=frozenset({("makes", "B", "C")}))
    found = collate([known], words, ["uses", "makes"], 16, alternatives=3).triplets
    assert found.joined[1].tolist() == [0, 1, -1]  # C is as true as E itself


def test_the_nearest_alternatives_are_kept(words):
    row = Document.of_words(
        ["x", "B", "C", "D", "E"], [Link("uses", (1,), (4,))], [None] + ["entity"] * 4
    )
    assert collate([row], words, ["uses"], 16, alternatives=1).triplets.other_tails.tolist() == [
        [4]
    ]


def test_reversed_triplets_swap_the_roles(words):
    both = collate([graph_document()], words, ["uses"], 16, reverse=True).triplets
    assert both.names == ("uses", "reversed uses")
    back = both.at(both.relation == 1)
    assert list(zip(back.source.tolist(), back.target.tolist(), strict=True)) == [(4, 2), (8, 5)]


def test_what_cannot_be_placed_is_counted(words):
    document = Document.of_words(
        ["B", "B", "C"], [Link("uses", (0,), (1,)), Link("uses", (0,), (2,))], ["entity"] * 3
    )
    encoded = collate([document], words, ["uses"], 16)
    assert len(encoded.triplets) == 1 and encoded.left_out == {
        "triplets with a word without a token": 0,
        "triplets of one token": 1,
    }
    assert (
        collate([graph_document()], words, ["uses"], 6).left_out[
            "triplets with a word without a token"
        ]
        == 1
    )
    with pytest.raises(ValueError, match="None of 1 documents"):
        collate([document], words, ["unknown"], 16)


def test_parts_are_the_same_documents(words):
    encoded = collate(
        [
            graph_document(),
            graph_document().of_words(
                ["x", "y", "B", "C"], [Link("uses", (2,), (3,))], [None, None, "entity", "entity"]
            ),
        ],
        words,
        ["uses"],
        16,
    )
    part = encoded.part(1, 2)
    assert part.tokens.tolist() == [words("x y B C")["input_ids"]] and part.lengths.tolist() == [5]
    assert part.triplets.document.tolist() == [0] and part.triplets.source.tolist() == [3]
