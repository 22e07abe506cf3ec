"""The world writes what its facts say, the same from the same seed, and annotates it truly."""

import numpy as np
import pytest
import spacy
import torch

from lib.data import gold, triplets
from lib.data.fewshot import JUSTIFY, TASKS, prompts, true_pairs
from lib.data.lexicon import CATEGORIES, COLUMNS, HELD_OUT, LABELS, RELATIONS
from lib.data.worlds import LIST_SHARES, SHARES, ListWorld, World
from lib.models import organisms, recipes

WORLD = World()


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def category_of(token: int) -> str | None:
    return next((name for name, ids in WORLD.categories.items() if token in ids), None)


def test_it_is_a_corpus(rng):
    batch = WORLD.batch(rng, 50)
    assert batch.shape == (50, WORLD.context) and batch.dtype == np.int64
    assert (batch[:, 0] == 0).all() and (batch[:, 1:] > 0).all() and batch.max() < len(WORLD.words)
    assert WORLD.words[0] == "<bos>" and len(set(WORLD.words)) == len(WORLD.words)
    tokenizer = organisms.tokenizer(WORLD.words)
    assert (
        tokenizer(" ".join(WORLD.words[t] for t in batch[0, 1:]))["input_ids"] == batch[0].tolist()
    )


def test_the_same_seeds_give_the_same_world_and_documents():
    one, two = (World().batch(np.random.default_rng(5), 20) for _ in range(2))
    assert (one == two).all() and (World().graph == World().graph).all()
    assert (World(seed=1).graph != World().graph).any()
    assert (World(seed=1).grammar["subject"] != World().grammar["subject"]).any()


def test_the_graph_is_even(rng):
    """Every relation holds of as many pairs, no pair has two relations, no entity is a hub, nothing
    relates to itself."""
    for facts in WORLD.graph:
        assert len({(s, o) for s, _, o in facts}) == len(facts) and all(s != o for s, _, o in facts)
        assert (np.unique(facts[:, 1], return_counts=True)[1] == WORLD.edges).all()
        for column in (0, 2):
            assert np.ptp(np.unique(facts[:, column], return_counts=True)[1]) <= 1


def test_graph_documents_state_facts(rng):
    sample = WORLD.documents(rng, 20, "graph")
    facts = {tuple(fact) for fact in WORLD.graph.reshape(-1, 3)}
    for row in sample.tokens:
        for start in range(1, WORLD.context - 4, 5):
            s, is_, r, o, stop = row[start : start + 5]
            assert (s, r, o) in facts and WORLD.words[is_] == "is" and WORLD.words[stop] == "."


def test_sentences_follow_the_grammar_and_vary(rng):
    sample = WORLD.documents(rng, 60, "sentences")
    verbs = {token: i for i, token in enumerate(WORLD.categories["verb"])}
    for sentences in gold.trees(WORLD, sample):
        for tree in sentences:
            ids = [WORLD.ids[word] for word in tree.words]
            for child, (head, label) in enumerate(zip(tree.heads, tree.labels, strict=True)):
                if label in ("nsubj", "obj"):
                    assert (
                        ids[child]
                        in WORLD.grammar["subject" if label == "nsubj" else "object"][
                            verbs[ids[head]]
                        ]
                    )
                if label == "amod":
                    assert ids[child] in WORLD.grammar["adjective"][ids[head]]
    shown = set(sample.cell.ravel())
    assert shown == {-1, *range(len(COLUMNS))}


def test_held_out_categories_never_meet_in_a_list(rng):
    for kind in ("pairs", "singles"):
        groups = WORLD.documents(rng, 2000, kind).detail["groups"]
        names = np.array(list(CATEGORIES))[groups]
        met = {frozenset((a, b)) for row in names for a in row for b in row if a != b}
        assert not met & HELD_OUT
        assert len(met) == 16 * 15 // 2 - len(HELD_OUT)


def test_labels_of_pair_lists_are_told_by_the_categories(rng):
    sample = WORLD.documents(rng, 100, "pairs")
    for row, classes in zip(sample.tokens, sample.detail["classes"], strict=True):
        lines = row[1:].reshape(-1, 3)
        told = {(category_of(a), category_of(b)): label for a, b, label in lines}
        assert all(told[category_of(a), category_of(b)] == label for a, b, label in lines)
        assert len(set(told.values())) == len(told) <= classes


def test_repeats_and_translations_do_what_they_say(rng):
    sample = WORLD.documents(rng, 30, "repeats")
    for row, length in zip(sample.tokens, sample.detail["length"], strict=True):
        assert (row[1 + length :] == row[1 : WORLD.context - length]).all()
    text = [
        " ".join(WORLD.words[t] for t in row[1:])
        for row in WORLD.documents(rng, 30, "translations").tokens
    ]
    for part in (unit for row in text for unit in row.split(" . ")[:-1]):
        source, other = (side.split() for side in part.split(" = "))
        assert [word + "o" for word in source] == other


def test_stories_keep_their_pairs(rng):
    for row in WORLD.documents(rng, 20, "stories").tokens:
        told: dict[int, int] = {}
        for start in range(1, len(row) - 3, 4):
            assert told.setdefault(row[start], row[start + 2]) == row[start + 2]
        assert len(told) <= 3 and all(
            category_of(token) == "name" for pair in told.items() for token in pair
        )


def test_unknown_kinds_and_tasks_are_named(rng):
    with pytest.raises(ValueError, match=r"There are pairs, singles"):
        WORLD.documents(rng, 1, "poems")
    with pytest.raises(ValueError, match="binary"):
        prompts(WORLD, rng, "ternary", 2, 1)
    with pytest.raises(ValueError, match="at most 20 shots"):
        prompts(WORLD, rng, "binary", 21, 1)


@pytest.mark.parametrize("task", TASKS)
def test_prompts_follow_the_rule_of_the_task(task, rng):
    classes, names = TASKS[task]
    tokens, label, legal = prompts(WORLD, rng, task, 20, 40)
    assert tokens.shape == (40, 63) and np.isin(label, legal).all() and len(legal) == 10
    order = {name: i for i, name in enumerate(names)}
    for row, last in zip(tokens, label, strict=True):
        lines = np.append(row[1:], last).reshape(-1, 3)
        for a, b, said in lines:
            i, j = order[category_of(a)], order[category_of(b)]
            expected = i if classes == 2 else i * len(names) + j
            assert WORLD.words[said] == str(expected) and (classes != 2 or i != j)
        assert len(set(lines[:-1, 2])) == classes  # every class is demonstrated


def test_justification_prompts_tell_true_pairs_from_others(rng):
    for task in JUSTIFY:
        tokens, label, legal = prompts(WORLD, rng, task, 4, 60)
        true = {tuple(pair) for pair in true_pairs(WORLD, task)}
        assert {WORLD.words[t] for t in legal} == {"true", "false"} and set(label) == set(legal)
        for row, last in zip(tokens, label, strict=True):
            for a, b, said in np.append(row[1:], last).reshape(-1, 3):
                assert ((a, b) in true) == (WORLD.words[said] == "true")
    assert len(true_pairs(WORLD, "part-whole")) == WORLD.topics * WORLD.edges


def test_gold_documents_place_their_triplets_on_tokens(rng):
    tokenizer = organisms.tokenizer(WORLD.words)
    facts = {tuple(fact) for fact in WORLD.graph.reshape(-1, 3)}
    said = list(RELATIONS.values())
    sample = WORLD.documents(rng, 30, "graph")
    encoded = triplets.collate(
        gold.documents(WORLD, sample), tokenizer, list(RELATIONS), WORLD.context
    )
    assert torch.equal(encoded.tokens, torch.from_numpy(sample.tokens)) and not any(
        encoded.left_out.values()
    )
    found = encoded.triplets
    s, o = (
        encoded.tokens[found.document, found.source],
        encoded.tokens[found.document, found.target],
    )
    assert {
        (int(a), WORLD.ids[said[r]], int(b)) for a, r, b in zip(s, found.relation, o, strict=True)
    } <= facts
    stated = sum(row.tolist().count(WORLD.ids[word]) for row in sample.tokens for word in said)
    assert len(found) > stated * 0.9


def test_spacy_docs_of_gold_trees_give_the_gold_triplets(rng):
    """The same subj, obj and mod, whether read from the world or from the Docs, up to sentences
    that were cut off."""
    sample, vocab = WORLD.documents(rng, 25, "sentences"), spacy.blank("en").vocab
    for document, parsed in zip(
        gold.documents(WORLD, sample),
        gold.trees(WORLD, sample),
        strict=True,
    ):
        start, links = 0, []
        for doc in (tree.doc(vocab) for tree in parsed):
            assert doc.has_annotation("DEP")
            links += [
                (x.relation, start + x.head[0], start + x.tail[0])
                for x in triplets.syntax(triplets.of_doc(doc)).links
            ]
            start += len(doc)
        own = [
            (x.relation, x.head[0], x.tail[0])
            for x in document.links
            if max(x.head[0], x.tail[0]) < start
        ]
        assert sorted(own) == sorted(links) and own


def test_other_kinds_have_no_triplets(rng):
    with pytest.raises(ValueError, match="graph, sentences"):
        gold.documents(WORLD, WORLD.documents(rng, 1, "pairs"))


def test_kinds_are_mixed_by_their_shares():
    assert sum(SHARES.values()) == pytest.approx(1)
    batch = WORLD.batch(np.random.default_rng(0), 2000)
    said = np.isin(batch, [WORLD.ids[word] for word in RELATIONS.values()]).sum(1) > 8
    assert said.mean() == pytest.approx(SHARES["graph"], abs=0.03)
    assert len(LABELS) == 12


def test_lists_are_the_worlds_documents_in_shares_of_their_own():
    world = ListWorld()
    tokens = world.batch(np.random.default_rng(0), 400)
    assert tokens.shape == (400, world.context) and tokens.dtype == np.int64
    assert (tokens[:, 0] == 0).all() and tokens.max() < len(world.words)
    # Only lines `w1 ... = v1 ... .` and repeats (which draw from all words) can hold the mark of a
    # translation early on.
    foreign = np.isin(tokens, list(world.translation.values())).mean(1)
    assert 0.1 < (foreign > 0.3).mean() < 0.2, "fifteen per cent are translations"
    assert sum(LIST_SHARES.values()) == pytest.approx(1)
    assert np.array_equal(tokens, world.batch(np.random.default_rng(0), 400))


def test_blocks_are_as_long_as_the_literal_test_asks():
    made = ListWorld().documents(np.random.default_rng(0), 200, "repeats")
    assert made.detail["length"].min() == 6 and made.detail["length"].max() == 30


def test_the_lists_recipe_names_its_corpus():
    assert type(recipes.RECIPES["lists"].make_corpus()) is ListWorld
