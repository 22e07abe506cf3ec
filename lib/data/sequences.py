"""Token-level corpora: what the small organisms are trained on and examined with.

A corpus has `.words` (index = token id, `words[0] == "<bos>"`), `.context` and `.batch(rng, size)`,
which draws `size` sequences of `context` tokens, `<bos>` first, as an int64 array. The generator is
passed in: same generator, same text.

- `BigramBlocks`: a block from a fixed random bigram chain, repeated to fill. Bigrams can be learnt
by weights alone;
  everything beyond them is in the context, once the block has been seen.
- `Phrases`: a few phrases, drawn anew for each sequence, in random order. Repeats come at irregular
distances and have
  irregular lengths, and words differ in frequency as in text: a second corpus that shares no
  statistics with the first.
- `RepeatedRandom`: one block of uniform random tokens, repeated; used to examine, not to train.
"""

from dataclasses import dataclass, field

import numpy as np


def vocabulary(size: int) -> list[str]:
    """`<bos>` and `size` invented words, w000, w001 and so on."""
    return ["<bos>", *(f"w{i:03d}" for i in range(size))]


def repeat_to_fill(blocks: np.ndarray, lengths: np.ndarray, context: int) -> np.ndarray:
    """`<bos>`, then the first `lengths[i]` tokens of row i of `blocks`, over and over: int64 [size,
    context]."""
    place = np.arange(context - 1)[None] % lengths[:, None]
    tokens = np.take_along_axis(blocks, place, axis=1)
    return np.concatenate([np.zeros((len(blocks), 1), np.int64), tokens], axis=1)


@dataclass(frozen=True)
class BigramBlocks:
    """A block of `shortest`..`longest` tokens from one fixed random bigram chain, repeated to fill
    the context.

    Row i of the chain is softmax(`sharpness` * normal noise): at 0 the next token is uniform, at 2
    it is one of a few.
    """

    size: int = 128  # words beside <bos>
    context: int = 64
    shortest: int = 10
    longest: int = 24
    sharpness: float = 2.0
    chain_seed: int = 0  # the language itself; the same for all seeds of training
    words: list[str] = field(init=False, repr=False)
    steps: np.ndarray = field(init=False, repr=False, compare=False)  # cumulative transition rows

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest < self.context:
            raise ValueError(
                f"blocks of {self.shortest}..{self.longest} tokens do not fit a context of "
                f"{self.context}"
            )
        object.__setattr__(self, "words", vocabulary(self.size))
        object.__setattr__(self, "steps", self.chain().cumsum(axis=1))

    def chain(self) -> np.ndarray:
        """Transition probabilities between words, without `<bos>`: float [size, size], rows sum to
        1."""
        noise = np.random.default_rng(self.chain_seed).normal(size=(self.size, self.size))
        weights = np.exp(self.sharpness * noise)
        return weights / weights.sum(axis=1, keepdims=True)

    def walk(self, rng: np.random.Generator, size: int, length: int) -> np.ndarray:
        """`size` walks of `length` tokens on the chain, ids from 1: int64 [size, length]."""
        tokens = np.empty((length, size), np.int64)
        tokens[0] = rng.integers(0, self.size, size)
        for place, lot in enumerate(rng.random((length - 1, size, 1)), 1):
            below = (self.steps[tokens[place - 1]] < lot).sum(axis=1)
            tokens[place] = below.clip(max=self.size - 1)
        return tokens.T + 1

    def batch(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Draw int64 [size, context]."""
        blocks = self.walk(rng, size, self.longest)
        lengths = rng.integers(self.shortest, self.longest + 1, size)
        return repeat_to_fill(blocks, lengths, self.context)


@dataclass(frozen=True)
class Phrases:
    """`phrases` phrases of `shortest`..`longest` words, drawn for the sequence, in random order
    until it is full."""

    size: int = 128
    context: int = 64
    phrases: int = 3
    shortest: int = 4
    longest: int = 9
    # word r of the frequency list is drawn with probability proportional to (r + 1) ** -decay
    decay: float = 0.5
    words: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest < self.context:
            raise ValueError(
                f"phrases of {self.shortest}..{self.longest} do not fit a context of {self.context}"
            )
        object.__setattr__(self, "words", vocabulary(self.size))

    def frequencies(self) -> np.ndarray:
        """Probability of each word, without `<bos>`: float [size]."""
        weights = np.arange(1.0, self.size + 1) ** -self.decay
        return weights / weights.sum()

    def batch(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Draw int64 [size, context]."""
        shape = (size, self.phrases, self.longest)
        texts = rng.choice(self.size, shape, p=self.frequencies()) + 1
        lengths = rng.integers(self.shortest, self.longest + 1, shape[:2])
        order = rng.integers(0, self.phrases, (size, self.context // self.shortest + 1))
        ends = np.take_along_axis(lengths, order, axis=1).cumsum(axis=1)
        place = np.arange(self.context - 1)
        turn = (ends[:, :, None] <= place).sum(
            axis=1
        )  # which phrase of the order a position lies in
        start = np.take_along_axis(
            np.concatenate([np.zeros((size, 1), np.int64), ends], axis=1), turn, axis=1
        )
        tokens = texts[
            np.arange(size)[:, None], np.take_along_axis(order, turn, axis=1), place - start
        ]
        return np.concatenate([np.zeros((size, 1), np.int64), tokens], axis=1)


@dataclass(frozen=True)
class RepeatedRandom:
    """One block of `block` uniform random words, repeated to fill the context."""

    size: int = 128
    context: int = 64
    block: int = 25
    words: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.block < self.context:
            raise ValueError(
                f"a block of {self.block} tokens does not repeat within a context of {self.context}"
            )
        object.__setattr__(self, "words", vocabulary(self.size))

    def batch(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Draw int64 [size, context]."""
        blocks = rng.integers(1, self.size + 1, (size, self.block))
        return repeat_to_fill(blocks, np.full(size, self.block), self.context)
