"""Few-shot tasks in the generated world, at the rules of Ren et al. (2024), section 4.

Idea. A line `w1 w2 label` asks for a rule that its examples show: which two categories, in which
order, or whether a relation of the world holds. A line `w label` of `SINGLES` asks for one
category. The categories of a task never met in a list that a model was trained on.

    tokens, label, legal = prompts(world, rng, "binary", shots=10, n=100)
    asked = questions(world, rng, "binary", shots=10, n=100)

`questions` adds what a test needs: every class is asked equally often, and no line is asked that
stands among its own examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lib.data.lexicon import LABELS, OBJECTS, RELATIONS
from lib.data.worlds import World, sides

TASKS: dict[str, tuple[int, tuple[str, ...]]] = {  # the paper's tasks: classes and categories
    "binary": (2, ("fruit", "month")),
    "binary-2": (2, ("furniture", "profession")),
    "four": (4, ("fruit", "month")),
    "nine": (9, ("fruit", "animal", "month")),
}
SINGLES = {"three": (3, ("fruit", "animal", "month"))}  # ours: lines of one word and a label
JUSTIFY = ("subj-verb", "verb-obj", "mod-obj", "part-whole")


@dataclass(frozen=True)
class Prompts:
    """Few-shot prompts of one task, each with so many examples.

    A prompt's last token, the one whose successor is graded, stands at `last`; what follows there
    is padding. `label` is the right next token, `legal` are the tokens of all labels, of which the
    first `classes` are those of the task. `null`: what was done to leave nothing to find.
    """

    task: str
    shots: int
    tokens: Int[Tensor, "n position"]
    last: Int[Tensor, "n"]
    label: Int[Tensor, "n"]
    legal: Int[Tensor, "k"]
    classes: int
    null: str = ""


def questions(world: World, rng: np.random.Generator, task: str, shots: int, n: int) -> Prompts:
    """Prompts as `prompts` draws them, their last lines balanced over the classes and never among
    the examples. Errors: as `prompts`."""
    drawn = _prompts(world, rng, task, shots, n, balanced=True)
    tokens, label, legal = map(torch.from_numpy, drawn)
    last = torch.full((n,), tokens.shape[1] - 1)
    return Prompts(task, shots, tokens, last, label, legal, classes_of(task))


def shuffled(asked: Prompts, rng: np.random.Generator) -> Prompts:
    """The same prompts of the world with the labels of each one's examples dealt anew among them:
    form and counts stay, what goes with what is lost."""
    width, tokens = words_in_line(asked.task) + 1, asked.tokens.clone()
    labels = tokens[:, width::width].numpy()
    tokens[:, width::width] = torch.from_numpy(rng.permuted(labels, axis=1))
    return replace(asked, tokens=tokens, null="labels dealt anew")


def prompts(
    world: World, rng: np.random.Generator, task: str, shots: int, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Few-shot prompts of a task of `TASKS`, `JUSTIFY` or `SINGLES`, at section 4's rules.

    Returns tokens [n, 3 + 3 * shots] (`<bos>`, lines `w1 w2 label`, the last without its label; for
    `SINGLES` [n, 2 + 2 * shots]), the right label's token [n], and the tokens that are a legal
    label of the task. From as many shots as there are classes, each class occurs.
    Errors: ValueError for an unknown task or more shots than the context holds.
    """
    return _prompts(world, rng, task, shots, n)


def _prompts(
    world: World, rng: np.random.Generator, task: str, shots: int, n: int, balanced: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `prompts` returns, or with last lines as `questions` has them."""
    known, length = (*TASKS, *JUSTIFY, *SINGLES), words_in_line(task) + 1
    if task not in known or length * (shots + 1) > world.context:
        most = world.context // length - 1
        raise ValueError(
            f"task {task!r} with {shots} shots: tasks are {', '.join(known)}; at most {most} shots"
        )
    true = true_pairs(world, task) if task in JUSTIFY else None
    words, line_class = lines(world.categories, true, rng, task, shots, n, balanced)
    legal = world.encode(said(task))
    label = legal[line_class]
    text = np.concatenate([words, label[..., None]], 2).reshape(n, -1)
    return np.concatenate([np.zeros((n, 1), np.int64), text[:, :-1]], 1), label[:, -1], legal


def lines(
    categories: Mapping[str, np.ndarray],
    true: np.ndarray | None,
    rng: np.random.Generator,
    task: str,
    shots: int,
    n: int,
    balanced: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Words [n, line, words in line] and classes [n, line] of prompts; the last line is the one
    that is asked. categories: words, or their tokens, by name; true: the true pairs of `JUSTIFY`.
    """
    classes = classes_of(task)
    shown = _demonstrated(rng, classes, shots, n)
    due = _evenly(rng, classes, n) if balanced else rng.integers(classes, size=(n, 1))
    line_class = np.concatenate([shown, due], 1)
    words = _words(categories, true, rng, task, line_class)
    while balanced and (same := (words[:, :-1] == words[:, -1:]).all(2)).any():
        words[:, :-1][same] = _words(categories, true, rng, task, line_class)[:, :-1][same]
    return words, line_class


def classes_of(task: str) -> int:
    """How many classes a task has."""
    return (TASKS | SINGLES).get(task, (2,))[0]


def said(task: str) -> tuple[str, ...]:
    """The words that are a legal label of a task, those of its classes first."""
    return ("true", "false") if task in JUSTIFY else LABELS[:10]


def words_in_line(task: str) -> int:
    """How many words stand before a line's label."""
    return 1 if task in SINGLES else 2


def _words(
    categories: Mapping[str, np.ndarray], true: np.ndarray | None, rng, task: str, line_class
) -> np.ndarray:
    """The words [n, line, words in line] of each line, for classes [n, line]; in `JUSTIFY`, class 0
    is a true pair, class 1 an animal and a month."""
    shape = line_class.shape
    if true is not None:
        false = np.stack([rng.choice(categories[name], shape) for name in ("animal", "month")], 2)
        drawn = true[rng.integers(len(true), size=shape)]
        return np.where(line_class[..., None] == 0, drawn, false)
    classes, names = (TASKS | SINGLES)[task]
    table = np.stack([categories[name] for name in names])
    if task in SINGLES:
        return table[line_class, rng.integers(table.shape[1], size=shape)][..., None]
    side = sides(np.full((1, 1), classes), line_class)
    return table[side, rng.integers(table.shape[1], size=(*shape, 2))]


def true_pairs(world: World, task: str) -> np.ndarray:
    """The pairs [pair, 2] of words of which a relation of `JUSTIFY` holds."""
    if task == "part-whole":
        facts = world.graph.reshape(-1, 3)
        return facts[facts[:, 1] == world.ids[RELATIONS["Part-of"]]][:, [0, 2]]
    if task == "mod-obj":
        nouns = np.repeat(world.nouns(OBJECTS), 2)
        return np.stack([world.grammar["adjective"][world.nouns(OBJECTS)].ravel(), nouns], 1)
    verbs = np.repeat(world.categories["verb"], 2)
    columns = (
        (world.grammar["subject"].ravel(), verbs)
        if task == "subj-verb"
        else (verbs, world.grammar["object"].ravel())
    )
    return np.stack(columns, 1)


def _demonstrated(rng: np.random.Generator, classes: int, shots: int, n: int) -> np.ndarray:
    """Classes [n, shots] of the examples: random, but each at least once if there are enough."""
    drawn = rng.integers(classes, size=(n, shots))
    if shots >= classes:
        drawn[:, :classes] = np.arange(classes)
    return rng.permuted(drawn, axis=1)


def _evenly(rng: np.random.Generator, classes: int, n: int) -> np.ndarray:
    """Classes [n, 1], each as often as the others (give or take one), in random order."""
    return rng.permutation(np.resize(rng.permutation(classes), n))[:, None]
