"""Texts in which a pair of words stands twice and its first word a third time (chapter 2).

What follows the third time completes the pair or breaks it. Each of the two has a control: the same
last two words, in a text whose earlier pairs are of other words.
"""

from __future__ import annotations

import numpy as np

from lib.data.sequences import BigramBlocks

KINDS = ("repeated", "repeated, control", "conflicting", "conflicting, control")


def texts(
    corpus: BigramBlocks, rng: np.random.Generator, size: int, gap: int = 12
) -> dict[str, np.ndarray]:
    """Texts of each kind, int64 [size, token]; text between the pairs is `gap` words long.

    repeated: A B stands twice, and B follows A again. conflicting: another likely successor C of A
    follows. In the controls the earlier pairs are D E, and the last words A B or A C.
    """
    fill = [corpus.walk(rng, size, gap) for _ in range(3)]
    words = np.tile(np.arange(corpus.size), (size, 1))
    first, other = rng.permuted(words, axis=1)[:, :2].T
    likely = successors(corpus, rng, first)
    known = np.stack([first + 1, likely[:, 0]], 1)
    strange = np.stack([other + 1, successors(corpus, rng, other)[:, 0]], 1)
    bos = np.zeros((size, 1), np.int64)

    def text(pair: np.ndarray, last: np.ndarray) -> np.ndarray:
        ends = [known[:, :1], last[:, None]]
        return np.concatenate([bos, fill[0], pair, fill[1], pair, fill[2], *ends], 1)

    drawn = [text(pair, last) for last in likely.T for pair in (known, strange)]
    return dict(zip(KINDS, drawn, strict=True))


def successors(corpus: BigramBlocks, rng: np.random.Generator, words: np.ndarray) -> np.ndarray:
    """Two different successors of each word, drawn from the chain: ids [word, 2].

    words: [word], numbered from 0, without `<bos>`.
    """
    rows = corpus.chain()[words]
    noise = -np.log(rng.random(rows.shape)) / rows  # the two smallest are draws without replacement
    return np.argsort(noise, axis=1)[:, :2] + 1
