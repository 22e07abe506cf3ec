"""The levels of in-context learning of a model: what it answers to few-shot prompts, at every
snapshot of its training (Ren et al. 2024, section 4).

    asked = questions(world, rng, tasks=("binary", "four"), shots=(0, 5, 20), n=96)
    answered(opened, asked)                  # one dict of marks for each of the prompts' cells
    table(asked, marks)                      # a row per task and number of shots

Prompts of one length make up batches, whatever their task, and the logits of the last place alone
are formed. A cache of keys and values would save nothing: every prompt has its own examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.data import english_fewshot, fewshot
from lib.data.fewshot import Prompts
from lib.measures import levels
from lib.models import opening
from lib.models.series import Series
from lib.tracing import capture

BATCH = 4096  # tokens in one forward pass: more do not fit the caches of a processor
Marks = dict[str, Tensor]  # what `measures.levels.graded` returns


def questions(
    world, rng: np.random.Generator, tasks: Iterable[str], shots: Iterable[int], n: int
) -> list[Prompts]:
    """n balanced prompts of each task and number of shots that the context has room for."""
    shots, cells = list(shots), []
    for task in tasks:
        room = world.context // (fewshot.words_in_line(task) + 1) - 1
        cells += [(task, count) for count in shots if count <= room]
    return [fewshot.questions(world, rng, task, count, n) for task, count in cells]


def dealt_anew(asked: Iterable[Prompts], rng: np.random.Generator) -> list[Prompts]:
    """The same prompts with the labels of their examples shuffled (`fewshot.shuffled`)."""
    return [fewshot.shuffled(cell, rng) for cell in asked]


def in_english(
    opened, rng: np.random.Generator, tasks: Iterable[str], shots: Iterable[int], n: int
) -> list[Prompts]:
    """The same tasks in English for a model of language, with as many shots as its context holds.
    Error: ValueError where a label is not one token."""
    cells = [(task, count) for task in tasks for count in shots]
    asked = [english_fewshot.questions(opened, rng, task, count, n) for task, count in cells]
    return [cell for cell in asked if cell.tokens.shape[1] <= opened.context]


@capture.there
def answered(opened, asked: Sequence[Prompts], batch: int = BATCH) -> list[Marks]:
    """Each cell's prompts, one generated token each, marked (`measures.levels.graded`)."""
    logits = next_logits(opened, asked, batch).split([len(cell.tokens) for cell in asked])
    return [
        levels.graded(rows, cell.label, cell.legal)
        for rows, cell in zip(logits, asked, strict=True)
    ]


def next_logits(
    opened, asked: Sequence[Prompts], batch: int = BATCH
) -> Float[Tensor, "prompt vocabulary"]:
    """Logits behind the last token of every prompt of all cells, in their order; prompts of one
    length run together."""
    last = torch.cat([cell.last for cell in asked])
    found = torch.empty(len(last), opened.vocabulary)
    for length in last.unique().tolist():
        rows = (last == length).nonzero()[:, 0]
        alike = [cell for cell in asked if (cell.last == length).any()]
        tokens = torch.cat([c.tokens[c.last == length][:, : length + 1] for c in alike])
        size = max(1, batch // (length + 1))
        for part, fed in zip(rows.split(size), tokens.split(size), strict=True):
            found[part] = capture.next_logits(opened, fed)
    return found


def table(asked: Sequence[Prompts], marks: Sequence[Marks], **labels: object) -> pd.DataFrame:
    """One row per task and number of shots: the mean of every mark but the answer, what is right
    beyond guessing, and labels."""
    rows = []
    for cell, given in zip(asked, marks, strict=True):
        means = {name: float(x.float().mean()) for name, x in given.items() if name != "answer"}
        means["beyond"] = float(beyond(cell, given).mean())
        rows.append({"task": cell.task, "shots": cell.shots, "null": cell.null, **means, **labels})
    return pd.DataFrame(rows)


def beyond(cell: Prompts, given: Marks) -> Float[Tensor, "*rest prompt"]:
    """How far each answer to a cell's prompts goes beyond guessing among the labels of its task."""
    return levels.beyond_guessing(given, cell.legal[: cell.classes])


def right_when_dealt(cell: Prompts, given: Marks) -> float:
    """How often answers would be right if each were given to a prompt drawn at random: what a model
    gets that knows which answers there are, and nothing of the prompt."""
    return float((given["answer"][:, None] == cell.label).float().mean())


@dataclass(frozen=True)
class Course:
    """One model through training: marks of all cells at every snapshot, and the losses of texts."""

    seed: int | None
    steps: Float[Tensor, "snapshot"]
    asked: Sequence[Prompts]
    marks: dict[str, Tensor]  # name -> [snapshot, cell, prompt]
    losses: Float[Tensor, "snapshot text position"]
    last: Path | None = None  # directory of the last snapshot
    read: Series | None = None  # the checkpoints of a reader's model

    def cell(self, task: str, shots: int, null: str = "") -> int:
        """Number of a cell. Error: ValueError that names the cells."""
        known = [(cell.task, cell.shots, cell.null) for cell in self.asked]
        if (task, shots, null) not in known:
            raise ValueError(f"{task!r} with {shots} shots was not asked. Asked: {known}.")
        return known.index((task, shots, null))

    def curve(
        self, level: str, task: str, shots: int, null: str = ""
    ) -> Float[Tensor, "prompt snapshot"]:
        """A mark of each prompt of a cell through training; `beyond` is what goes beyond
        guessing."""
        number = self.cell(task, shots, null)
        given = {name: found[:, number] for name, found in self.marks.items()}
        asked = beyond(self.asked[number], given) if level == "beyond" else given[level]
        return asked.T.float()

    def at(self, snapshot: int) -> list[Marks]:
        """The marks of every cell at one snapshot."""
        return [self._of(snapshot, cell) for cell in range(len(self.asked))]

    def _of(self, snapshot: int, cell: int) -> Marks:
        return {name: found[snapshot, cell] for name, found in self.marks.items()}

    def loss_reduction(self, first: int = 50, later: int = 50) -> Float[Tensor, "text snapshot"]:
        """Of each text through training, in nats; below zero the context helps."""
        return levels.loss_reduction(self.losses, first, later).T

    def table(self) -> pd.DataFrame:
        """One row per snapshot, task and number of shots."""
        steps = enumerate(self.steps.int().tolist())
        seed = str(self.seed)
        frames = [table(self.asked, self.at(i), step=step, seed=seed) for i, step in steps]
        return pd.concat(frames, ignore_index=True)


def follow(
    name: str, seed: int, p, asked: Sequence[Prompts], texts: Int[Tensor, "text token"]
) -> Course:
    """Ask one of the book's own models at every snapshot, training it first if it is not there
    yet."""
    kept = opening.organism_snapshots(name, seed, p)
    opened = opening.open_model(kept[0])
    found = (model for _, model in opening.snapshots_in_turn(opened, kept.values()))
    return _course(seed, kept, found, asked, texts, kept[max(kept)])


def _course(seed, steps, models, asked, texts, last=None) -> Course:
    """Ask each of the models in turn."""
    rows, losses = [], []
    for model in models:
        rows.append(stacked(answered(model, asked)))
        losses.append(capture.token_losses(model, texts))
    at = torch.tensor(list(steps), dtype=torch.float32)
    return Course(seed, at, asked, stacked(rows), torch.stack(losses), last)


def stacked(marks: Sequence[Marks]) -> Marks:
    """Marks of the same names along a new first axis."""
    names, columns = marks[0], zip(*map(dict.values, marks), strict=True)
    return dict(zip(names, map(torch.stack, columns), strict=True))
