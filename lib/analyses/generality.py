"""Do heads that match tokens also match what tokens have in common? (Olsson et al., argument 4)

Idea. On repeats an induction head finds where the *same* token stood. Two tasks ask for more. In a
list of lines, each of
some class, the query is where the last line's label is due, and the question is whether attention
goes to lines of the
query's class. In a translation the query is a translated word, and the question is whether
attention goes to the word
that comes next in the *other* vocabulary.

    lists = world_lists(world, rng, "four", lines=16, n=64)
    matching(opened, lists)["excess"]                   # [prompt, layer, head]
    translating(opened, *world_translations(world, rng, 64))["excess"]

Three things could be mistaken for abstraction, and are kept out. A line that shares a word with the
query's is matched
literally: no line does (unless `literal` is asked for). A head that attends to lines at all attends
to right ones by
chance: `excess` takes off the share of right lines among all. A head may count places: for
translations, `excess` takes off what
it gives to the same place when the words of the second side are replaced by others.

Caveat. Attention to the right line is not yet its use; take the heads out (`label_accuracy`) before
you say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.data import fewshot
from lib.measures import scores
from lib.measures.statistics import Estimate, bootstrap_mean
from lib.tracing import ablation, capture

# The paper's task: `January lion: 0`; the class says which of two categories each word is of.
ENGLISH = {
    "month": "January February March April June July August September October November December".split(),
    "colour": "red green blue yellow black white brown grey pink purple orange".split(),
    "animal": "dog cat horse lion tiger bear wolf rabbit mouse sheep snake".split(),
    "fruit": "apple pear plum grape lemon cherry peach banana melon mango fig".split(),
}
SIDES = (("month", "animal"), ("month", "fruit"), ("colour", "animal"), ("colour", "fruit"))
FRENCH = dict(
    pair.split(":")
    for pair in "dog:chien cat:chat horse:cheval house:maison bread:pain water:eau book:livre tree:arbre hand:main night:nuit king:roi sea:mer".split()
)


@dataclass(frozen=True)
class Lists:
    """Few-shot prompts. Position `query` of each is where the label is due; its own line is the
    last and counts as none.

    line: number of the line that a position stands in, -1 for none. right: lines of the query's
    class. shared: lines that
    share a word with the query's line. label: the right next token, -1 where it is not one token.
    """

    tokens: Int[Tensor, "prompt position"]
    line: Int[Tensor, "prompt position"]
    query: Int[Tensor, "prompt"]
    right: Bool[Tensor, "prompt line"]
    shared: Bool[Tensor, "prompt line"]
    label: Int[Tensor, "prompt"]

    def targets(self) -> tuple[Bool[Tensor, "prompt query key"], Bool[Tensor, "prompt query key"]]:
        """Keys in right and in wrong lines, at each prompt's query."""
        here = torch.arange(self.tokens.shape[1]) == self.query[:, None]
        right = self.right.gather(1, self.line.clamp(min=0))
        return tuple(
            here[:, :, None] & ((self.line >= 0) & kind)[:, None, :] for kind in (right, ~right)
        )

    def chance(self) -> Float[Tensor, "prompt"]:
        """Share of right lines."""
        return self.right.float().mean(1)


def world_lists(
    world, rng: np.random.Generator, task: str, lines: int, n: int, literal: bool = False
) -> Lists:
    """Prompts of a task of the book's world (`tasks.TASKS`): `<bos>`, lines of two words and a
    label, the last without.

    Words of the last line that stood in an earlier one are replaced there by others of their
    category, unless `literal`.
    """
    tokens, label, _ = (
        torch.from_numpy(part) for part in fewshot.prompts(world, rng, task, lines, n)
    )
    words, last = tokens[:, 1:-2].unflatten(1, (lines, 3))[:, :, :2], tokens[:, -2:]
    if not literal:
        for prompt, line, side in (
            (words[..., None] == last[:, None, None]).any(3).nonzero().tolist()
        ):
            kind = next(
                ids for ids in world.categories.values() if int(words[prompt, line, side]) in ids
            )
            words[prompt, line, side] = int(
                rng.choice(np.setdiff1d(kind, last[prompt].numpy()))
            )  # a view: tokens change, too
    line = torch.arange(-1, tokens.shape[1] - 1).div(3, rounding_mode="floor").expand(n, -1).clone()
    line[:, -2:] = -1
    shared = (words[..., None] == last[:, None, None]).flatten(2).any(2)
    right = tokens[:, 3::3] == label[:, None]
    return Lists(tokens, line, torch.full((n,), tokens.shape[1] - 1), right, shared, label)


def matching(opened, lists: Lists) -> dict[str, Float[Tensor, "prompt layer head"]]:
    """Attention from each query to right lines (`right`), wrong lines, and `excess`: right beyond
    its chance share of both.

    A perfect matcher has an excess of 1 - chance, one that attends to lines without regard to class
    0.
    """
    weight = torch.stack(lists.targets()).float().to(opened.device)
    found = capture.stream(
        opened,
        lists.tokens,
        lambda layer, z, pattern: {"score": scores.attention_to(pattern, weight)},
    )["score"]
    right, wrong = found.permute(1, 2, 0, 3)
    chance = lists.chance()[:, None, None]
    return {"right": right, "wrong": wrong, "excess": right - chance * (right + wrong)}


def laid_out(opened, lists: Lists, prompt: int, heads: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """One prompt's lines as rows of two words and a label with the attention that each token gets
    from the query, by named head.

    Line names carry their number, and a star for the query's class.
    """
    tokens, query = lists.tokens[prompt : prompt + 1], int(lists.query[prompt])
    layers = sorted({layer for layer, _ in heads.values()})
    seen = dict(zip(layers, capture.patterns(opened, tokens, layers), strict=True))
    words = opened.tokenizer.convert_ids_to_tokens(tokens[0])
    rows = []
    for place in (lists.line[prompt] >= 0).nonzero()[:, 0].tolist():
        line = int(lists.line[prompt, place])
        inside = [
            w for w, other in zip(words, lists.line[prompt].tolist(), strict=True) if other == line
        ]
        name = f"{line + 1:02d} {' '.join(inside)}{' *' if lists.right[prompt, line] else ''}"
        kind = ("1 word", "2 word", "3 label")[
            place - int((lists.line[prompt] == line).nonzero()[0])
        ]
        rows += [
            {
                "head": label,
                "line": name,
                "place": kind,
                "attention": float(seen[layer][0, head, query, place]),
            }
            for label, (layer, head) in heads.items()
        ]
    return pd.DataFrame(rows)


def label_accuracy(
    opened, lists: Lists, groups: Sequence[ablation.Heads]
) -> Float[Tensor, "set prompt"]:
    """Whether the right label is the most probable next token, with each set of heads set to zero
    (patterns run free)."""
    rows = torch.arange(len(lists.tokens))

    def measure(logits: Tensor, tokens: Tensor) -> Tensor:
        times = len(tokens) // len(rows)
        last = logits[torch.arange(len(tokens)), lists.query.repeat(times)]
        return (last.argmax(-1) == lists.label.repeat(times).to(last.device)).float()

    return ablation.run(opened, lists.tokens, ablation.sets(groups, opened), measure=measure)


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


def world_translations(
    world, rng: np.random.Generator, n: int
) -> tuple[Translations, Translations]:
    """Texts of the book's world, and the same texts with each second-side word replaced by another
    of its vocabulary."""
    made = world.documents(rng, n, "translations")
    tokens, cell, line = (torch.from_numpy(part) for part in (made.tokens, made.cell, made.unit))
    side = torch.where((cell > 6) & (cell < 13), 1, -1).where((cell < 0) | (cell > 5), 0)
    foreign = torch.tensor(sorted(world.translation.values()))
    step = torch.from_numpy(rng.integers(1, len(foreign), tokens.shape))
    other = foreign[(torch.searchsorted(foreign, tokens) + step) % len(foreign)]
    word = torch.where(side == 1, cell - 7, cell)
    return Translations(tokens, line, side, word), Translations(
        torch.where(side == 1, other, tokens), line, side, word
    )


def translating(
    opened, paired: Translations, placed: Translations
) -> dict[str, Float[Tensor, "text layer head"]]:
    """Attention from words behind the mark to the source of the next one: `paired`, `placed`
    (without correspondence),
    and `excess`, the difference: what the correspondence adds to the place."""

    def attention(texts: Translations) -> Tensor:
        weight = scores.weights({"next": texts.target()}).to(opened.device)
        found = capture.stream(
            opened,
            texts.tokens,
            lambda layer, z, pattern: {"score": scores.attention_to(pattern, weight)[0]},
        )
        return found["score"].transpose(0, 1)

    both = {"paired": attention(paired), "placed": attention(placed)}
    return both | {"excess": both["paired"] - both["placed"]}


def translation_accuracy(
    opened, texts: Translations, groups: Sequence[ablation.Heads]
) -> Float[Tensor, "set text"]:
    """Share of each text's translated words, from the second of a line on, that are the most
    probable next token, with
    each set of heads set to zero (patterns run free)."""
    queries = texts.target().any(2)[:, :-1]

    def measure(logits: Tensor, tokens: Tensor) -> Tensor:
        right = logits[:, :-1].argmax(-1) == tokens[:, 1:].to(logits.device)
        asked = queries.repeat(len(tokens) // len(queries), 1).to(right.device)
        return (right & asked).sum(1) / asked.sum(1).clamp(min=1)

    return ablation.run(opened, texts.tokens, ablation.sets(groups, opened), measure=measure)


# --- parts of claims ---


def best_of_half(
    part: str,
    seed: int,
    excess: Float[Tensor, "text layer head"],
    heads: ablation.Heads,
    rng: np.random.Generator,
    resamples: int,
) -> Estimate:
    """The head with the largest excess on every second text, measured on the others, so that
    choosing it adds nothing.

    Not a number where there are no heads.
    """
    if not heads:
        return Estimate(part, seed, math.nan, math.nan, math.nan, 0)
    rows = torch.stack([excess[:, layer, head] for layer, head in heads], 1)
    measured = rows[1::2, rows[::2].mean(0).argmax()]
    return Estimate.of(part, seed, bootstrap_mean(measured, rng, resamples), len(measured))


def contrast(
    part: str,
    seed: int,
    excess: Float[Tensor, "text layer head"],
    heads: ablation.Heads,
    rng: np.random.Generator,
    resamples: int,
) -> Estimate:
    """Mean excess of the heads less that of all other heads. Not a number where either side is
    empty."""
    chosen = torch.zeros(excess.shape[1:], dtype=torch.bool)
    for layer, head in heads:
        chosen[layer, head] = True
    if chosen.all() or not chosen.any():
        return Estimate(part, seed, math.nan, math.nan, math.nan, 0)
    gap = excess[:, chosen].mean(1) - excess[:, ~chosen].mean(1)
    return Estimate.of(part, seed, bootstrap_mean(gap, rng, resamples), len(gap))


# --- the paper's tasks in English, for models of language ---


def spell(tokenizer, pieces: Sequence[str]) -> tuple[list[int], list[int]]:
    """Token ids of a text and, for each, the piece of it that the token ends in. Error: ValueError
    without offsets."""
    try:
        made = tokenizer("".join(pieces), add_special_tokens=False, return_offsets_mapping=True)
    except NotImplementedError as error:
        raise ValueError(
            "The prompts need a tokenizer that gives offsets (a fast one). Add its tokenizer.json beside the weights."
        ) from error
    ends = np.cumsum([len(piece) for piece in pieces])
    return made["input_ids"], [
        int(np.searchsorted(ends, max(end - 1, 0), side="right"))
        for _, end in made["offset_mapping"]
    ]


def english_lists(opened, rng: np.random.Generator, lines: int, n: int) -> Lists:
    """The paper's prompts `January lion: 0`, real words and real tokens; padded behind the query,
    which sees no padding."""
    classes, drawn = rng.integers(len(SIDES), size=(n, lines + 1)), []
    classes[:, :4] = rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1)
    words = np.array([_english_words(rng, row) for row in classes])
    for row, labels in zip(words, classes, strict=True):
        pieces = [
            (a, f" {b}", ":", f" {label}\n") for (a, b), label in zip(row, labels, strict=True)
        ]
        drawn.append(spell(opened.tokenizer, [part for line in pieces for part in line][:-1]))
    tokens, piece = (
        _padded([ids for ids, _ in drawn], opened.bos, 0),
        _padded([places for _, places in drawn], _none(opened.bos), -1),
    )
    line = piece.div(4, rounding_mode="floor")
    query = torch.tensor([len(ids) - (opened.bos is None) for ids, _ in drawn])
    shared = torch.from_numpy((words[:, :-1, :, None] == words[:, None, -1:, :]).any((2, 3)))
    spelled = [spell(opened.tokenizer, [f" {c}"])[0] for c in range(4)]
    label = torch.tensor([spelled[c][0] if len(spelled[c]) == 1 else -1 for c in classes[:, -1]])
    right = torch.from_numpy(classes[:, :-1] == classes[:, -1:])
    return Lists(tokens, torch.where(line < lines, line, -1), query, right, shared, label)


def _english_words(rng: np.random.Generator, classes: np.ndarray) -> list[list[str]]:
    """Two words for each class; those of the last line stand in no other."""
    last = [str(rng.choice(ENGLISH[name])) for name in SIDES[classes[-1]]]
    free = {name: [word for word in words if word not in last] for name, words in ENGLISH.items()}
    return [[str(rng.choice(free[name])) for name in SIDES[c]] for c in classes[:-1]] + [last]


def english_translations(
    opened, rng: np.random.Generator, n: int, lines: int = 4, words: int = 3
) -> tuple[Translations, Translations]:
    """Lines `dog house night = chien maison nuit`, and the same with French words that do not
    correspond."""
    sources = [
        [rng.choice(list(FRENCH), words, replace=False) for _ in range(lines)] for _ in range(n)
    ]
    others = [
        [rng.permutation([w for w in FRENCH if w not in line])[:words] for line in text]
        for text in sources
    ]
    return tuple(_translated(opened, sources, behind) for behind in (sources, others))


def _translated(opened, sources, behind) -> Translations:
    """Texts with the translations of `behind` on the second side; 2 words + 2 pieces a line."""
    spelled = []
    for text, other in zip(sources, behind, strict=True):
        lines = [
            [*(f" {w}" for w in first), " =", *(f" {FRENCH[w]}" for w in second), "\n"]
            for first, second in zip(text, other, strict=True)
        ]
        spelled.append(spell(opened.tokenizer, [piece for line in lines for piece in line]))
    words, length = len(sources[0][0]), 2 * len(sources[0][0]) + 2
    tokens, piece = (
        _padded([ids for ids, _ in spelled], opened.bos, 0),
        _padded([places for _, places in spelled], _none(opened.bos), -1),
    )
    cell = torch.where(piece < 0, -1, piece % length)
    last = piece != torch.cat([piece[:, 1:], torch.full_like(piece[:, :1], -2)], 1)
    second = (cell > words) & (cell < length - 1) & last
    side = torch.where((cell >= 0) & (cell < words), 0, torch.where(second, 1, -1))
    return Translations(
        tokens,
        piece.div(length, rounding_mode="floor"),
        side,
        torch.where(second, cell - words - 1, cell),
    )


def _padded(rows: list[list[int]], first: int | None, padding: int) -> Int[Tensor, "row position"]:
    """Rows behind `first` (if any), filled up at the end."""
    rows = [row if first is None else [first, *row] for row in rows]
    return torch.tensor([row + [padding] * (max(map(len, rows)) - len(row)) for row in rows])


def _none(bos: int | None) -> int | None:
    """The piece of the token that opens a text, where there is one."""
    return None if bos is None else -1
