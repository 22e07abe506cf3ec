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

from lib.data import fewshot
from lib.data.fewshot import Prompts
from lib.measures import levels
from lib.models import opening
from lib.tracing import capture

BATCH = 128  # prompts in one forward pass: more do not fit the caches of a processor
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


def answered(opened, asked: Sequence[Prompts], batch: int = BATCH) -> list[Marks]:
    """Each cell's prompts, one generated token each, marked (`measures.levels.graded`)."""
    logits = _next_logits(opened, asked, batch).split([len(cell.tokens) for cell in asked])
    return [
        levels.graded(rows, cell.label, cell.legal)
        for rows, cell in zip(logits, asked, strict=True)
    ]


def _next_logits(
    opened, asked: Sequence[Prompts], batch: int
) -> Float[Tensor, "prompt vocabulary"]:
    """Logits behind the last token of every prompt of all cells, in their order; prompts of one
    length run together."""
    last = torch.cat([cell.last for cell in asked])
    found = torch.empty(len(last), opened.vocabulary)
    for length in last.unique().tolist():
        rows = (last == length).nonzero()[:, 0]
        alike = [cell for cell in asked if (cell.last == length).any()]
        tokens = torch.cat([c.tokens[c.last == length][:, : length + 1] for c in alike])
        for part, fed in zip(rows.split(batch), tokens.split(batch), strict=True):
            found[part] = capture.next_logits(opened, fed)
    return found


def table(asked: Sequence[Prompts], marks: Sequence[Marks], **labels: object) -> pd.DataFrame:
    """One row per task and number of shots: the mean of every mark but the answer, and labels."""
    rows = []
    for cell, given in zip(asked, marks, strict=True):
        means = {name: float(x.float().mean()) for name, x in given.items() if name != "answer"}
        rows.append({"task": cell.task, "shots": cell.shots, **means, **labels})
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Course:
    """One model through training: marks of all cells at every snapshot, and the losses of texts."""

    seed: int | None
    steps: Float[Tensor, "snapshot"]
    asked: Sequence[Prompts]
    marks: dict[str, Tensor]  # name -> [snapshot, cell, prompt]
    losses: Float[Tensor, "snapshot text position"]
    last: Path | None = None  # directory of the last snapshot

    def cell(self, task: str, shots: int) -> int:
        """Number of a cell. Error: ValueError that names the cells."""
        known = [(cell.task, cell.shots) for cell in self.asked]
        if (task, shots) not in known:
            raise ValueError(f"{task!r} with {shots} shots was not asked. Asked: {known}.")
        return known.index((task, shots))

    def curve(self, level: str, task: str, shots: int) -> Float[Tensor, "prompt snapshot"]:
        """A mark of each prompt of a cell through training."""
        return self.marks[level][:, self.cell(task, shots)].T.float()

    def loss_reduction(self, first: int = 50, later: int = 50) -> Float[Tensor, "text snapshot"]:
        """Of each text through training, in nats; below zero the context helps."""
        return levels.loss_reduction(self.losses, first, later).T

    def table(self) -> pd.DataFrame:
        """One row per snapshot, task and number of shots."""
        frames = []
        for number, step in enumerate(self.steps.int().tolist()):
            marks = [
                {name: found[number, cell] for name, found in self.marks.items()}
                for cell in range(len(self.asked))
            ]
            frames.append(table(self.asked, marks, step=step, seed=str(self.seed)))
        return pd.concat(frames, ignore_index=True)


def follow(
    name: str, seed: int, p, asked: Sequence[Prompts], texts: Int[Tensor, "text token"]
) -> Course:
    """Ask one of the book's own models at every snapshot, training it first if it is not there
    yet."""
    kept = opening.organism_snapshots(name, seed, p)
    opened = opening.open_model(kept[0])
    rows, losses = [], []
    for _, model in opening.snapshots_in_turn(opened, kept.values()):
        rows.append(_stacked(answered(model, asked)))
        losses.append(capture.token_losses(model, texts))
    marks = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
    steps = torch.tensor(list(kept), dtype=torch.float32)
    return Course(seed, steps, asked, marks, torch.stack(losses), kept[max(kept)])


def _stacked(marks: Sequence[Marks]) -> Marks:
    """Marks of all cells as name -> [cell, prompt]; all cells have as many prompts."""
    return {key: torch.stack([given[key] for given in marks]) for key in marks[0]}
