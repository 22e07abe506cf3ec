"""Abstract matching: planted heads that match by token, by category and by translation, told apart
by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as pieces
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

from lib.analyses import generality
from lib.data import abstraction, worlds
from lib.data import english as prose
from lib.models import opening, organisms, planted

LITERAL, CATEGORY, SOURCE, PLACE = (0, 1), (0, 2), (1, 3), (1, 1)
LINE = 3  # words of a translated line: the mark stands behind them


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def world() -> worlds.World:
    return worlds.World()


@pytest.fixture(scope="module")
def opened(world):
    """Two layers: heads that match tokens (0.1) and categories (0.2); a previous-token head (0.0);
    on top of it a head
    that looks behind the source of the current word (1.3); and one that counts places (1.1)."""
    size = len(world.words)
    same, source = planted.alike(world, "category"), planted.alike(world, "source")
    space = planted.Space(size, world.context, torch.Generator().manual_seed(0))
    heads = {
        (0, 0): planted.looks_back(space, 1, space.before),
        LITERAL: planted.matches(space, space.token, space.say),
        CATEGORY: planted.matches(space, same @ space.token, space.say),
        SOURCE: planted.matches(space, source @ space.before, space.say),
        PLACE: planted.looks_back(space, LINE, space.say),
    }
    model = planted.build(space, heads, n_layers=2, n_heads=4, noise=0.01)
    return opening.open_model(model, tokenizer=organisms.tokenizer(world.words))


# --- lists ---


@pytest.mark.parametrize("task", ["binary", "four", "nine"])
def test_lists_share_no_word_and_keep_their_classes(world, task):
    lists = abstraction.world_lists(world, rng(), task, 12, 30)
    drawn = abstraction.world_lists(world, rng(), task, 12, 30, literal=True)
    assert drawn.shared.any(), "the lists as drawn do share words, or there is nothing to replace"
    words = lists.tokens[:, 1:-2].unflatten(1, (12, 3))[:, :, :2].flatten(1)
    assert not (words[:, :, None] == lists.tokens[:, None, -2:]).any() and not lists.shared.any()
    assert torch.equal(lists.right, drawn.right) and torch.equal(lists.label, drawn.label)
    category = {int(i): name for name, ids in world.categories.items() for i in ids}
    for new, old in zip(
        lists.tokens.flatten().tolist(), drawn.tokens.flatten().tolist(), strict=True
    ):
        assert new == old or category[new] == category[old]


def test_lines_are_counted_up_to_the_last(world):
    lists = abstraction.world_lists(world, rng(), "binary", 4, 2)
    assert lists.line[0].tolist() == [-1, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, -1, -1]
    assert lists.query.tolist() == [14, 14]
    assert torch.equal(lists.right, lists.tokens[:, 3::3] == lists.label[:, None])


def test_category_head_is_found_and_literal_head_is_not(opened, world):
    lists = abstraction.world_lists(world, rng(), "binary", 12, 40)
    four = abstraction.world_lists(world, rng(), "four", 12, 160)
    excess, found = mean_excess(opened, lists), mean_excess(opened, four)
    # Both words of one category: half of the words that match are in right lines. Of two: a
    # quarter, as by chance.
    assert found[CATEGORY] > 0.05
    assert abs(float(excess[LITERAL])) < 0.05 and abs(float(found[LITERAL])) < 0.05
    # In lists (a, b), (b, a) every line holds both categories, so that bags of words say nothing of
    # the class.
    assert abs(float(excess[CATEGORY])) < 0.05


def test_in_lists_of_one_word_the_category_head_finds_right_lines_only(opened, world):
    """Beside these it looks at the query itself, which is of its category, too."""
    lists = abstraction.world_lists(world, rng(), "singles", 12, 60)
    found = mean_excess(opened, lists)
    assert found[CATEGORY] > 0.65 * (1 - lists.chance())
    assert abs(float(found[LITERAL])) < 0.05


@pytest.mark.parametrize("task", ["singles", "three"])
def test_lists_of_one_word_share_none_and_ask_for_the_label_of_a_line(world, task):
    lists = abstraction.world_lists(world, rng(), task, 12, 30)
    words, labels = lists.tokens[:, 1:-1:2], lists.tokens[:, 2::2]
    category = {int(i): name for name, ids in world.categories.items() for i in ids}
    kinds = [[category[int(w)] for w in row] for row in words]
    asked = [category[int(w)] for w in lists.tokens[:, -1]]
    assert not (words == lists.tokens[:, -1:]).any() and not lists.shared.any()
    assert lists.right.tolist() == [
        [kind == due for kind in row] for row, due in zip(kinds, asked, strict=True)
    ]
    assert torch.equal(lists.right, labels == lists.label[:, None])
    assert lists.line[0].tolist() == [-1, *(i for i in range(12) for _ in range(2)), -1]
    if task == "three":
        assert {k for row in kinds for k in row} == {"fruit", "animal", "month"}


def test_classes_dealt_anew_keep_their_number_and_lose_their_lines(opened, world):
    lists = abstraction.world_lists(world, rng(), "singles", 12, 60)
    dealt = abstraction.dealt_anew(lists, rng())
    assert torch.equal(dealt.right.sum(1), lists.right.sum(1))
    assert not torch.equal(dealt.right, lists.right) and dealt.tokens is lists.tokens
    seen = generality.looks(opened, lists)
    assert abs(float(generality.excess(seen, dealt.right).mean(0)[CATEGORY])) < 0.1


def test_attention_to_lines_is_summed_over_their_tokens(opened, world):
    lists = abstraction.world_lists(world, rng(), "four", 8, 5)
    seen = generality.looks(opened, lists)
    with torch.no_grad():
        pattern = torch.stack(opened.module(lists.tokens, output_attentions=True).attentions)
    last = pattern[:, :, :, -1].permute(1, 0, 2, 3)
    inside = last[..., 1:-2].unflatten(3, (8, 3)).sum(4)
    assert seen.shape == (5, 2, 4, 8) and torch.allclose(seen, inside, atol=1e-5)


def test_excess_by_hand():
    seen = torch.tensor([0.5, 0.1, 0.2, 0.0])[None, None, None]
    right = torch.tensor([[True, False, False, False]])
    assert float(generality.excess(seen, right)) == pytest.approx(0.5 - 0.25 * 0.8)


def test_shared_words_flatter_the_literal_head(opened, world):
    drawn = abstraction.world_lists(world, rng(), "four", 12, 60, literal=True)
    assert mean_excess(opened, drawn)[LITERAL] > 0.03


def mean_excess(opened, lists: abstraction.Lists) -> torch.Tensor:
    return generality.excess(generality.looks(opened, lists), lists.right).mean(0)


def test_label_accuracy_reads_the_right_place(opened, world):
    lists = abstraction.world_lists(world, rng(), "binary", 6, 12)
    with torch.no_grad():
        said = opened.module(lists.tokens).logits[:, -1].argmax(-1)
    got = generality.label_accuracy(opened, lists, [[], [CATEGORY], []])
    assert torch.equal(got[0].bool(), said == lists.label) and torch.equal(got[0], got[2])


def test_laid_out_shows_each_line_once(opened, world):
    lists = abstraction.world_lists(world, rng(), "four", 6, 3)
    frame = generality.laid_out(opened, lists, 1, {"a": CATEGORY, "b": SOURCE})
    assert len(frame) == 2 * 6 * 3 and frame.line.nunique() == 6
    assert frame.line.str.endswith("*").sum() == 2 * 3 * int(lists.right[1].sum())
    with torch.no_grad():
        pattern = opened.module(lists.tokens, output_attentions=True).attentions[0][
            1, CATEGORY[1], -1
        ]
    assert np.allclose(frame[frame["head"] == "a"].attention, pattern[1:-2], atol=1e-5)


# --- translations ---


def test_translation_target_is_the_word_behind_the_source(world):
    texts = abstraction.world_translations(world, rng(), 20)
    placed = abstraction.without_correspondence(texts, world, rng())
    pairs = texts.target().nonzero().tolist()
    assert pairs
    for text, query, key in pairs:
        assert world.translation[int(texts.tokens[text, key - 1])] == int(texts.tokens[text, query])
    changed = texts.tokens != placed.tokens
    assert torch.equal(changed, texts.side == 1) and set(placed.tokens[changed].tolist()) <= set(
        world.translation.values()
    )


def test_translating_head_is_told_from_one_that_counts(opened, world):
    texts = abstraction.world_translations(world, rng(), 120)
    length = (texts.word * (texts.side == 0)).max(1).values + 1
    kept = [getattr(texts, name)[length == LINE] for name in ("tokens", "line", "side", "word")]
    texts = abstraction.Translations(*kept)
    counted = abstraction.without_correspondence(texts, world, rng())
    paired, placed = (generality.following(opened, t).mean(0) for t in (texts, counted))
    assert paired[SOURCE] - placed[SOURCE] > 0.5 > placed[SOURCE]
    assert paired[PLACE] > 0.9 and abs(float(paired[PLACE] - placed[PLACE])) < 0.02


def test_translation_accuracy_counts_translated_words_only(opened, world):
    texts = abstraction.world_translations(world, rng(), 5)
    queries = texts.target().any(2)
    assert all(int(texts.side[text, place + 1]) == 1 for text, place in queries.nonzero().tolist())
    with torch.no_grad():
        said = opened.module(texts.tokens).logits.argmax(-1)
    right = [
        float((said[i, :-1] == texts.tokens[i, 1:])[queries[i, :-1]].float().mean())
        for i in range(5)
    ]
    assert generality.translation_accuracy(opened, texts, [[]])[0].tolist() == pytest.approx(right)


# --- parts of claims ---


def test_best_head_is_chosen_and_measured_on_different_texts():
    excess = torch.zeros(8, 1, 2)
    excess[::2, 0, 0], excess[1::2, 0, 1] = (
        1.0,
        0.5,
    )  # head 0 is best where heads are chosen and nothing elsewhere
    assert generality.best_of_half("x", 0, excess, [(0, 0), (0, 1)], rng(), 50).value == 0
    assert math.isnan(generality.best_of_half("x", 0, excess, [], rng(), 50).value)


def test_contrast_is_the_difference_of_means():
    excess = torch.tensor([0.3, 0.1, 0.2]).expand(6, 1, 3)
    assert generality.contrast("x", 0, excess, [(0, 0)], rng(), 50).value == pytest.approx(0.15)
    assert math.isnan(
        generality.contrast("x", 0, excess, [(0, 0), (0, 1), (0, 2)], rng(), 50).value
    )


def test_separation_counts_pairs_within_a_layer():
    """One of two pairs is won in layer 1; heads of layer 0 have more, and do not count."""
    means = torch.tensor([[9.0, 9.0, 9.0], [0.3, 0.1, 0.2]]).expand(5, 2, 3)
    found = generality.separation("x", 0, means, [(1, 2)], 7)
    assert (found.value, found.low, found.high, found.n) == (0.5, 0.5, 0.5, 7)
    assert generality.separation("x", 0, means, [(1, 0)], 7).value == 1
    tied = generality.separation("x", 0, torch.zeros(5, 2, 3), [(1, 0)], 7)
    assert tied.value == 0.5
    everything = [(1, 0), (1, 1), (1, 2)]
    assert math.isnan(generality.separation("x", 0, means, everything, 7).value)
    assert math.isnan(generality.separation("x", 0, means, [], 7).value)


def test_a_model_that_cannot_do_the_task_has_no_estimate_of_its_own():
    excess = torch.rand(8, 2, 3, generator=torch.Generator().manual_seed(0))
    given = {"": excess, "untrained": excess / 2}
    for able in (True, False):
        made = generality.answers("a", 3, given, [(1, 0)], able, rng(), 50)
        names = [(e.part, e.null) for e in made]
        assert names == [
            ("a", ""),
            ("a-heads", ""),
            ("a", "untrained"),
            ("a-heads", "untrained"),
            ("a", "other heads"),
        ]
        assert [math.isnan(e.value) for e in made] == [not able, not able, False, False, False]


def test_half_way_from_a_guess():
    assert generality.least_accuracy(0.25) == 0.625


def test_trials_have_an_estimate_for_every_seed():
    excess = torch.rand(8, 2, 6, generator=torch.Generator().manual_seed(0))
    given, heads = {0: excess, 1: excess}, {0: [(1, 0), (1, 3)], 1: []}
    trials = generality.with_dealt_labels("x", given, heads, rng(), 50)
    assert len(trials) == generality.DEALINGS
    assert all([e.seed for e in trial] == [0, 1] for trial in trials)
    assert len({trial[0].value for trial in trials}) > 3  # the heads differ from trial to trial
    assert all(math.isnan(trial[1].value) for trial in trials)


# --- English ---


@pytest.fixture(scope="module")
def english():
    """A tiny GPT-2 with a byte-pair tokenizer that knows some of the words and spells the
    others."""
    raw = Tokenizer(pieces.BPE())
    raw.pre_tokenizer, raw.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(["January lion: 0\nred pear: 1\n dog = chien\n"] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<bos>")
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_positions=512,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return opening.open_model(
            AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval(),
            tokenizer=tokenizer,
        )


def test_english_lists_are_the_papers(english):
    lists = prose.english_lists(english, rng(), 6, 4)
    for prompt in range(4):
        row, query = lists.tokens[prompt], int(lists.query[prompt])
        text = english.tokenizer.decode(row[1 : query + 1])
        assert text.endswith(":") and text.count("\n") == 6
        lines = [english.tokenizer.decode(row[lists.line[prompt] == i]) for i in range(6)]
        assert "".join(lines) + text.split("\n")[-1] == text
        words = [line.replace(":", "").split() for line in [*lines, text.split("\n")[-1]]]
        side = [
            tuple(next(n for n, known in prose.ENGLISH.items() if w in known) for w in line[:2])
            for line in words
        ]
        assert [s == side[-1] for s in side[:-1]] == lists.right[prompt].tolist()
        assert all(
            int(line[2]) == prose.SIDES.index(s)
            for line, s in zip(words[:-1], side[:-1], strict=True)
        )
        assert not any(set(line[:2]) & set(words[-1]) for line in words[:-1])
    seen = generality.looks(english, lists)
    assert seen.shape == (4, english.n_layers, english.n_heads, 6) and float(seen.min()) > 0


def test_english_translations_line_up(english):
    paired, placed = prose.english_translations(english, rng(), 3)
    for texts, corresponds in ((paired, True), (placed, False)):
        for text, query in (texts.target().any(2)).nonzero().tolist():
            keys = texts.target()[text, query]
            here = (texts.line[text] == texts.line[text, query]) & (texts.side[text] == 0)
            source = english.tokenizer.decode(
                texts.tokens[text, here & (texts.word[text] == texts.word[text, query])]
            ).strip()
            assert english.tokenizer.decode(texts.tokens[text, keys]).strip() in prose.FRENCH
            said = english.tokenizer.decode(texts.tokens[text, : query + 1]).split()[-1]
            assert (prose.FRENCH[source] == said) is corresponds
    found = generality.following(english, paired)
    assert found.shape == (3, english.n_layers, english.n_heads)
