"""Prompts that ask for more than literal matching: lists by category, and translations.

They are those of Olsson et al., argument 4, in the book's world; `english` has the paper's own.

In a list of lines `word label` (or `word word label`), each line is of some class, and the last
line's label is due. In a translation `w1 w2 = v1 v2 .` a translated word is followed by the
translation of the word behind its source.

    lists = world_lists(world, rng, "three", lines=16, n=64)
    texts = world_translations(world, rng, 64)
    counted = without_correspondence(texts, world, rng)

A line that shares a word with the query's could be matched literally: no line does (unless
`literal` is asked for). A place can be counted: `counted` are the same texts with the words of the
second side replaced by others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lib.data import fewshot


@dataclass(frozen=True)
class Lists:
    """Few-shot prompts. Position `query` of each is where the label is due; its own line is the
    last and counts as none.

    line: number of the line that a position stands in, -1 for none. right: lines of the query's
    class. shared: lines that share a word with the query's line. label: the right next token, -1
    where it is not one token.
    """

    tokens: Int[Tensor, "prompt position"]
    line: Int[Tensor, "prompt position"]
    query: Int[Tensor, "prompt"]
    right: Bool[Tensor, "prompt line"]
    shared: Bool[Tensor, "prompt line"]
    label: Int[Tensor, "prompt"]

    def chance(self, among: Bool[Tensor, "prompt line"] | None = None) -> float:
        """Share of right lines, of all or of some lines."""
        lines = self.right if among is None else self.right[among]
        return float(lines.float().mean())


def lists_of_the_world(world, rng: np.random.Generator, lines: int, n: int) -> dict[str, Lists]:
    """The three kinds of lists that chapter 5 asks with, by name."""
    tasks = {"one word": "singles", "one word, unmet": "three", "two words": "four"}
    return {name: world_lists(world, rng, task, lines, n) for name, task in tasks.items()}


def world_lists(
    world, rng: np.random.Generator, task: str, lines: int, n: int, literal: bool = False
) -> Lists:
    """Lists of the book's world: `<bos>`, lines of words and a label, the last without.

    task: `singles`, one word a line, of three categories as in training; `three`, of three that
    never met in a list there; or one of `fewshot.TASKS`, two words a line. Words of the last line
    that stood in an earlier one are replaced there by others of their category, unless `literal`.
    """
    tokens, label = (
        _singles(world, rng, lines, n)
        if task == "singles"
        else (fewshot.prompts(world, rng, task, lines, n)[:2])
    )
    width = 1 if task in ("singles", *fewshot.SINGLES) else 2
    return _lists(world, rng, torch.from_numpy(tokens), torch.from_numpy(label), width, literal)


def _singles(world, rng: np.random.Generator, lines: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and the right label of documents that are cut before a label."""
    made = world.documents(rng, n, "singles")
    due = 2 * lines + 2
    return made.tokens[:, :due], made.tokens[:, due]


def _lists(world, rng, tokens: Tensor, label: Tensor, width: int, literal: bool) -> Lists:
    """Say what stands where, `width` words a line."""
    words = tokens[:, 1:-width].unflatten(1, (-1, width + 1))[:, :, :width]
    (n, lines, _), last = words.shape, tokens[:, -width:]
    if not literal:
        _replace_shared(words, last, world, rng)
    place = torch.arange(-1, tokens.shape[1] - 1).div(width + 1, rounding_mode="floor")
    line = torch.where(place < lines, place, -1).expand(n, -1)
    right = tokens[:, width + 1 :: width + 1] == label[:, None]
    query = torch.full((n,), tokens.shape[1] - 1)
    return Lists(tokens, line, query, right, _shared(words, last).any(2), label)


def _replace_shared(words: Tensor, last: Tensor, world, rng: np.random.Generator) -> None:
    """Change in place the words [prompt, line, word] that stand in the last line, too."""
    for prompt, line, side in _shared(words, last).nonzero().tolist():
        word = int(words[prompt, line, side])
        kind = next(ids for ids in world.categories.values() if word in ids)
        others = np.setdiff1d(kind, last[prompt].numpy())
        words[prompt, line, side] = int(rng.choice(others))


def _shared(words: Tensor, last: Tensor) -> Bool[Tensor, "prompt line word"]:
    return (words[..., None] == last[:, None, None]).any(3)


def dealt_anew(lists: Lists, rng: np.random.Generator) -> Lists:
    """The same prompts with their classes dealt anew among the lines: as many right lines, but
    which they are says nothing."""
    right = rng.permuted(lists.right.numpy(), axis=1)
    return replace(lists, right=torch.from_numpy(right))


# --- translation ---


@dataclass(frozen=True)
class Translations:
    """Texts of lines `w1 w2 … = v1 v2 … .`

    line: number of the line, -1 outside. side: 0 before the mark, 1 at (the last token of) a word
    behind it, else -1.
    word: number of the word within its side.
    """

    tokens: Int[Tensor, "text position"]
    line: Int[Tensor, "text position"]
    side: Int[Tensor, "text position"]
    word: Int[Tensor, "text position"]

    def target(self) -> Bool[Tensor, "text query key"]:
        """From each word behind the mark to the one that follows its source: same line, first side,
        the next number."""
        same = self.line[:, :, None] == self.line[:, None, :]
        sides = (self.side[:, :, None] == 1) & (self.side[:, None, :] == 0)
        return same & sides & (self.word[:, None, :] == self.word[:, :, None] + 1)


def world_translations(world, rng: np.random.Generator, n: int) -> Translations:
    """Texts of the book's world."""
    made = world.documents(rng, n, "translations")
    tokens, cell, line = (torch.from_numpy(part) for part in (made.tokens, made.cell, made.unit))
    side = torch.where((cell > 6) & (cell < 13), 1, -1).where((cell < 0) | (cell > 5), 0)
    return Translations(tokens, line, side, torch.where(side == 1, cell - 7, cell))


def without_correspondence(texts: Translations, world, rng: np.random.Generator) -> Translations:
    """The same texts with each second-side word replaced by another of its vocabulary."""
    foreign = torch.tensor(sorted(world.translation.values()))
    step = torch.from_numpy(rng.integers(1, len(foreign), texts.tokens.shape))
    other = foreign[(torch.searchsorted(foreign, texts.tokens) + step) % len(foreign)]
    return replace(texts, tokens=torch.where(texts.side == 1, other, texts.tokens))
