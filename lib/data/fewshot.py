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

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lib.data.lexicon import LABELS, OBJECTS, RELATIONS, SIZE
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
    is padding. `label` is the right next token, `legal` are the tokens of all labels of the task.
    """

    task: str
    shots: int
    tokens: Int[Tensor, "n position"]
    last: Int[Tensor, "n"]
    label: Int[Tensor, "n"]
    legal: Int[Tensor, "k"]


def questions(world: World, rng: np.random.Generator, task: str, shots: int, n: int) -> Prompts:
    """Prompts as `prompts` draws them, their last lines balanced over the classes and never among
    the examples. Errors: as `prompts`."""
    drawn = _lines(world, rng, task, shots, n, balanced=True)
    tokens, label, legal = map(torch.from_numpy, drawn)
    last = torch.full((n,), tokens.shape[1] - 1)
    return Prompts(task, shots, tokens, last, label, legal)


def shuffled(asked: Prompts, rng: np.random.Generator) -> Prompts:
    """The same prompts with the labels of each one's examples dealt anew among its examples: form
    and counts stay, what goes with what is lost."""
    width, tokens = words_in_line(asked.task) + 1, asked.tokens.clone()
    labels = tokens[:, width::width].numpy()
    tokens[:, width::width] = torch.from_numpy(rng.permuted(labels, axis=1))
    return replace(asked, tokens=tokens)


def prompts(
    world: World, rng: np.random.Generator, task: str, shots: int, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Few-shot prompts of a task of `TASKS`, `JUSTIFY` or `SINGLES`, at section 4's rules.

    Returns tokens [n, 3 + 3 * shots] (`<bos>`, lines `w1 w2 label`, the last without its label; for
    `SINGLES` [n, 2 + 2 * shots]), the right label's token [n], and the tokens that are a legal
    label of the task. From as many shots as there are classes, each class occurs.
    Errors: ValueError for an unknown task or more shots than the context holds.
    """
    return _lines(world, rng, task, shots, n)


def _lines(
    world: World, rng: np.random.Generator, task: str, shots: int, n: int, balanced: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `prompts` returns, or with last lines as `questions` has them."""
    known, length = (*TASKS, *JUSTIFY, *SINGLES), words_in_line(task) + 1
    if task not in known or length * (shots + 1) > world.context:
        most = world.context // length - 1
        raise ValueError(
            f"task {task!r} with {shots} shots: tasks are {', '.join(known)}; at most {most} shots"
        )
    classes = (TASKS | SINGLES).get(task, (2,))[0]
    shown = _demonstrated(rng, classes, shots, n)
    due = _evenly(rng, classes, n) if balanced else rng.integers(classes, size=(n, 1))
    line_class = np.concatenate([shown, due], 1)
    words = _words(world, rng, task, line_class)
    while balanced and (same := (words[:, :-1] == words[:, -1:]).all(2)).any():
        words[:, :-1][same] = _words(world, rng, task, line_class)[:, :-1][same]
    legal = world.encode(("true", "false") if task in JUSTIFY else LABELS[:10])
    label = legal[line_class]
    lines = np.concatenate([words, label[..., None]], 2).reshape(n, -1)
    return np.concatenate([np.zeros((n, 1), np.int64), lines[:, :-1]], 1), label[:, -1], legal


def words_in_line(task: str) -> int:
    """How many words stand before a line's label."""
    return 1 if task in SINGLES else 2


def _words(world: World, rng, task: str, line_class: np.ndarray) -> np.ndarray:
    """The words [n, line, words in line] of each line, for classes [n, line]; in `JUSTIFY`, class 0
    is a true pair, class 1 an animal and a month."""
    if task in SINGLES:
        table = np.stack([world.categories[name] for name in SINGLES[task][1]])
        return table[line_class, rng.integers(SIZE, size=line_class.shape)][..., None]
    if task in TASKS:
        classes, names = TASKS[task]
        table = np.stack([world.categories[name] for name in names])
        return table[
            sides(np.full((1, 1), classes), line_class),
            rng.integers(SIZE, size=(*line_class.shape, 2)),
        ]
    true = true_pairs(world, task)
    false = np.stack(
        [rng.choice(world.categories[name], line_class.shape) for name in ("animal", "month")], 2
    )
    return np.where(
        line_class[..., None] == 0, true[rng.integers(len(true), size=line_class.shape)], false
    )


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
