"""Corpora are what their docstrings say, and the same generator gives the same text."""

from itertools import pairwise

import numpy as np
import pytest

from lib.data.sequences import BigramBlocks, Phrases, RepeatedRandom, repeat_to_fill

ALL = [BigramBlocks(size=40), Phrases(size=40), RepeatedRandom(size=40)]


def draw(corpus, size=200, seed=0):
    return corpus.batch(np.random.default_rng(seed), size)


@pytest.mark.parametrize("corpus", ALL, ids=lambda c: type(c).__name__)
def test_contract(corpus):
    tokens = draw(corpus)
    assert tokens.shape == (200, corpus.context) and tokens.dtype == np.int64
    assert (
        (tokens[:, 0] == 0).all()
        and tokens[:, 1:].min() >= 1
        and tokens.max() == len(corpus.words) - 1
    )
    assert corpus.words[0] == "<bos>" and len(set(corpus.words)) == 41
    assert np.array_equal(tokens, draw(corpus)) and not np.array_equal(tokens, draw(corpus, seed=1))


def test_repeat_to_fill():
    out = repeat_to_fill(np.array([[5, 6, 7], [8, 9, 1]]), np.array([2, 3]), 6)
    assert out.tolist() == [[0, 5, 6, 5, 6, 5], [0, 8, 9, 1, 8, 9]]


def test_bigram_blocks_follow_their_chain_and_repeat():
    corpus = BigramBlocks(size=6, context=40, shortest=5, longest=9)
    tokens, chain = draw(corpus, 20_000), corpus.chain()
    fits = np.stack([(tokens[:, 1 + n :] == tokens[:, 1:-n]).all(1) for n in range(5, 10)])
    assert fits.any(axis=0).all()  # every text has a period within the bounds
    counts = np.zeros((6, 6))
    np.add.at(
        counts, (tokens[:, 1:5].ravel() - 1, tokens[:, 2:6].ravel() - 1), 1
    )  # the first block, before any repeat
    rows = counts.sum(axis=1, keepdims=True)
    assert (np.abs(counts / rows - chain) < 5 * np.sqrt(chain * (1 - chain) / rows)).all()
    assert np.array_equal(
        corpus.chain(), BigramBlocks(size=6, context=40, shortest=5, longest=9).chain()
    )


def test_phrases_come_back():
    """Every text is made of its three phrases, so its tokens are few; frequencies fall with
    rank."""
    corpus = Phrases(size=500, context=128, phrases=3, shortest=4, longest=9)
    tokens = draw(corpus, 2_000)
    assert max(len(set(row)) for row in tokens[:, 1:].tolist()) <= 27
    pairs = [set(pairwise(row[1:])) for row in tokens.tolist()]
    assert max(map(len, pairs)) <= 3 * 8 + 9  # within phrases, and 3 x 3 seams
    starts = np.bincount(tokens[:, 1], minlength=501)[1:]
    assert starts[:20].sum() > 2 * starts[-20:].sum()


@pytest.mark.parametrize(
    "make",
    [
        lambda: BigramBlocks(longest=64),
        lambda: Phrases(shortest=0),
        lambda: RepeatedRandom(block=64),
    ],
)
def test_what_does_not_fit_is_named(make):
    with pytest.raises(ValueError, match="context"):
        make()
