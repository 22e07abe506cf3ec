"""Frames of the levels of in-context learning, as figures and tables show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.analyses.level_parts import Onset, Parts
from lib.analyses.levels import Course, Marks
from lib.data.fewshot import Prompts
from lib.measures import levels, statistics
from lib.models import opening
from lib.tracing import capture

MARKS = {  # as columns, and as figures name them
    "in_format": "a label",
    "right": "the right label",
    "right_among_legal": "right among labels",
    "legal_mass": "probability of labels",
    "p_right": "probability of the right label",
}


def accuracy(courses: Sequence[Course]) -> pd.DataFrame:
    """One row per seed, snapshot, task and number of shots, with every mark."""
    found = pd.concat([course.table() for course in courses], ignore_index=True)
    return found[found.null == ""]


def reductions(courses: Sequence[Course]) -> pd.DataFrame:
    """One row per seed, snapshot and (i, j): the loss reduction in nats."""
    frames = []
    for course in courses:
        for i, j in ((50, 50), (50, 450)):
            values = course.loss_reduction(i, j).mean(0)
            columns = {"step": course.steps, "loss reduction (nats)": values}
            frames.append(pd.DataFrame(columns).assign(places=f"({i}, {j})", seed=str(course.seed)))
    return pd.concat(frames, ignore_index=True)


def by_shots(asked: Sequence[Prompts], marks: Sequence[Marks], **labels: object) -> pd.DataFrame:
    """One row per task, number of shots and of two marks, with Wilson's interval, and the share
    that guessing among the task's labels gives."""
    rows = []
    for cell, given in zip(asked, marks, strict=True):
        place = {"task": cell.task, "shots": cell.shots, "guess": 1 / cell.classes} | labels
        for mark in ("in_format", "right", "right_among_legal"):
            share, low, high = map(float, statistics.wilson(given[mark]))
            rows.append(place | {"answer": MARKS[mark], "share": share, "low": low, "high": high})
    return pd.DataFrame(rows)


def fewest(frame: pd.DataFrame, goal: float = 0.8) -> pd.DataFrame:
    """One row per task, step and level: the fewest shots with which the share of `accuracy`, mean
    over seeds, reaches the goal; NaN where none does."""
    rows = []
    for (task, step), cells in frame.groupby(["task", "step"], sort=False):
        mean = cells.groupby("shots")[["in_format", "right"]].mean()
        shots = torch.tensor(mean.index.to_numpy())
        for mark in mean:
            few = levels.fewest(shots, torch.from_numpy(mean[mark].to_numpy(copy=True)), goal)
            place = {"task": task, "step": str(step), "level": MARKS[mark]}
            rows.append(place | {"fewest shots": float(few)})
    return pd.DataFrame(rows)


def trained_by_shots(courses: Sequence[Course]) -> pd.DataFrame:
    """`by_shots` of every model at its last snapshot, without nulls."""
    frames = []
    for course in courses:
        told = list(zip(course.asked, course.at(-1), strict=True))
        asked, marks = zip(*[row for row in told if not row[0].null], strict=True)
        frames.append(by_shots(asked, marks, seed=str(course.seed)))
    return pd.concat(frames, ignore_index=True)


def biases(course: Course, tasks: Iterable[str]) -> pd.DataFrame:
    """One row per task, snapshot and label: how much more often than is due it is the answer, with
    the most shots."""
    frames = []
    for task in tasks:
        number = course.cell(task, max(cell.shots for cell in course.asked))
        cell = course.asked[number]
        found = levels.bias(course.marks["answer"][:, number], cell.legal[: cell.classes])
        for label, values in enumerate(found.T):
            columns = {"step": course.steps, "more than due": values}
            frames.append(pd.DataFrame(columns).assign(label=str(label), task=task))
    return pd.concat(frames, ignore_index=True)


def onset_table(asked: Iterable[tuple[Parts, str, Tensor, Onset]]) -> pd.DataFrame:
    """One row per model and named curve: its onset with its interval, in steps."""
    rows = []
    for ask, name, curve, onset in asked:
        e = ask.onset(name, curve, onset)
        rows.append({"seed": f"seed {e.seed}", "curve": name, "onset (step)": e.value})
        rows[-1] |= {"low": e.low, "high": e.high}
    return pd.DataFrame(rows)


def progress(course: Course) -> pd.DataFrame:
    """One row per snapshot and quantity of a series: loss reduction, and with the most shots the
    shares of labels and of right labels, mean over tasks."""
    most = max(cell.shots for cell in course.asked)
    cells = [i for i, cell in enumerate(course.asked) if cell.shots == most]
    curves = {"loss reduction": course.loss_reduction().mean(0)}
    for mark in ("in_format", "right"):
        curves[MARKS[mark]] = course.marks[mark][:, cells].float().mean((1, 2))
    frames = [
        pd.DataFrame({"step": course.steps, "value": values}).assign(quantity=name)
        for name, values in curves.items()
    ]
    return pd.concat(frames, ignore_index=True)


# --- one prompt, and what is answered to it ---


def walk(
    name: str, seed: int, p, asked: Sequence[Prompts], shown: Sequence[int], most: int = 5
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first prompt of every cell: its lines, and the most probable next words at some
    snapshots.

    Returns frames of lines (task, shots, line, text, label) and of answers, a row per cell and
    snapshot with lists of words and probabilities.
    """
    kept = opening.organism_snapshots(name, seed, p)
    steps = np.array(sorted(kept))
    chosen = sorted({int(steps[abs(steps - step).argmin()]) for step in shown})
    opened = opening.open_model(kept[0])
    words = opened.tokenizer.convert_ids_to_tokens(range(opened.vocabulary))
    answers = []
    for step in chosen:
        opened.load_weights(kept[step])
        answers += [_answers(opened, cell, words, step, chosen.index(step), most) for cell in asked]
    return _lines(asked, words), pd.DataFrame(answers)


def _answers(opened, cell: Prompts, words: list[str], step: int, moment: int, most: int) -> dict:
    """The most probable words behind a cell's first prompt; a star marks the right one."""
    tokens = cell.tokens[:1, : int(cell.last[0]) + 1]
    top = capture.next_logits(opened, tokens)[0].softmax(-1).topk(most)
    said = [words[i] + (" ✓" if i == int(cell.label[0]) else "") for i in top.indices.tolist()]
    place = {"task": cell.task, "shots": cell.shots, "step": step, "moment": moment}
    return place | {"word": said, "probability": [round(x, 3) for x in top.values.tolist()]}


def _lines(asked: Sequence[Prompts], words: list[str]) -> pd.DataFrame:
    """The lines of each cell's first prompt; the last one ends in a question."""
    rows = []
    for cell in asked:
        said = [words[i] for i in cell.tokens[0, 1 : int(cell.last[0]) + 1].tolist()]
        texts = [" ".join(said[i : i + 3]) for i in range(0, len(said), 3)]
        texts[-1] += f" ?   (right: {words[int(cell.label[0])]})"
        for number, text in enumerate(texts):
            rows.append({"task": cell.task, "shots": cell.shots, "line": number, "text": text})
    return pd.DataFrame(rows)


def asked_with(
    asked: Sequence[Prompts], shots: Iterable[int], tasks: Iterable[str] = ()
) -> list[Prompts]:
    """The cells with some numbers of shots, of some tasks or of all."""
    counts, wanted = set(shots), set(tasks)
    return [c for c in asked if c.shots in counts and (not wanted or c.task in wanted)]
