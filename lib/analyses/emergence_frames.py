"""What the figures of emergence show, as tables: one function a figure, a row a mark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import pandas as pd
import torch
from torch import Tensor

from lib.analyses import emergence_parts
from lib.analyses.emergence import KINDS, Course
from lib.analyses.emergence_families import PATTERN, Timing
from lib.analyses.emergence_parts import RISES, WHEN
from lib.measures import emergence, statistics
from lib.measures.emergence import Ratio

LEVELS = ("loss reduction", "format compliance", PATTERN)
SHOWN = (
    *("facts, printed", "facts, source", "syntax, printed"),
    *("syntax, source", "copying, source", "prefix matching"),
)


def progress(runs: Iterable[Timing]) -> pd.DataFrame:
    """How far each level has come: 0 at the first snapshot, 1 where it is highest."""
    parts = []
    for run in runs:
        for name, drawn in run.ability.items():
            curve = emergence.smoothed(drawn[0])
            way = (curve - curve[0]) / (curve.max() - curve[0])
            columns = {"step": run.course.steps.tolist(), "progress": way.tolist()}
            parts.append(pd.DataFrame(columns | {"curve": name, "seed": _seed(run)}))
    return pd.concat(parts, ignore_index=True)


def families(runs: Iterable[Timing]) -> pd.DataFrame:
    """The mean curve of each family, smoothed, with its 95 % interval."""
    parts = []
    for run, name in product(runs, SHOWN):
        found = statistics.interval(emergence.smoothed(run.families[name].curve()))
        columns = {"step": run.course.steps.tolist()}
        columns |= dict(zip(("value", "low", "high"), (x.tolist() for x in found), strict=True))
        parts.append(pd.DataFrame(columns | {"family": name, "seed": _seed(run)}))
    return pd.concat(parts, ignore_index=True)


def _seed(run: Timing) -> str:
    return f"seed {run.course.seed}"


def every_head(course: Course, measured: dict[str, Ratio | Tensor], panel: str) -> pd.DataFrame:
    """All heads of all relations, smoothed: step, value, relation, layer, head; a panel a score.

    Scores without relations have an empty one.
    """
    parts = []
    for name, ratio in measured.items():
        values = emergence.smoothed(ratio.value if isinstance(ratio, Ratio) else ratio.mean(0))
        kind = KINDS.get(name.split(",")[0], ("", ("",)))
        cells = values if values.dim() == 3 else values[None]
        for relation, curves in zip(kind[1], cells, strict=True):
            frame = _heads(course, curves, course.steps.int().tolist())
            parts.append(frame.assign(**{panel: name, "relation": relation}))
    return pd.concat(parts, ignore_index=True)


def _heads(course: Course, curves: Tensor, steps: Sequence[int]) -> pd.DataFrame:
    """Curves [head, snapshot] as rows."""
    index = pd.MultiIndex.from_product([range(len(curves)), steps], names=["number", "step"])
    frame = pd.DataFrame({"value": curves.flatten().tolist()}, index).reset_index()
    frame["layer"] = (frame.number // course.heads).astype(str)
    return frame.assign(head=frame.number.map(course.named)).drop(columns="number")


def chosen(course: Course) -> pd.DataFrame:
    """All heads by score and relation, every second snapshot: what a reader can choose."""
    scores = {
        "above both controls": (course.indexes, "source"),
        "above a fake tail (printed)": (course.indexes, "printed"),
        "gate": (course.gates, "printed"),
    }
    parts = []
    for title, (measured, reading) in scores.items():
        some = {name: found for name, found in measured.items() if name.endswith(reading)}
        frame = every_head(course, some, "index").drop(columns="index")
        parts.append(frame.round({"value": 4}).assign(score=title))
    kept = course.steps[::2].int().tolist()
    frame = pd.concat(parts, ignore_index=True)
    return frame[frame.step.isin(kept)].reset_index(drop=True)


def vectors(course: Course) -> pd.DataFrame:
    """Function-vector scores of all heads, with means of the task and with unknowing ones."""
    parts = []
    steps = course.some.int().tolist()
    for title, samples in (("of the task", course.vectors), ("without a rule", course.unknowing)):
        parts.append(_heads(course, samples.mean(0), steps).assign(means=title))
    return pd.concat(parts, ignore_index=True)


def leads(runs: Sequence[Timing]) -> pd.DataFrame:
    """By how many doublings each family's onset comes before that of each level."""
    rows = []
    for run in runs:
        plain = {"plain loss": run.levels["loss"]}
        for family, onset in {**run.onsets, **plain}.items():
            for level in LEVELS:
                found = statistics.interval(emergence.lead(onset, run.levels[level]))
                value, low, high = map(float, found)
                row = {"family": family, "level": level, "seed": _seed(run), "lead": value}
                rows.append(row | {"low": low, "high": high})
    return pd.DataFrame(rows)


def onset_table(runs: Sequence[Timing]) -> pd.DataFrame:
    """Onsets in steps of levels and families, a row each, a column a seed."""
    rows = {}
    for run in runs:
        for name, drawn in {**run.levels, **run.onsets}.items():
            value, low, high = (round(float(x), 0) for x in statistics.interval(drawn))
            told = f"{value:.0f} ({low:.0f} to {high:.0f})" if value == value else "never rises"
            rows.setdefault(name, {})[_seed(run)] = told
    return pd.DataFrame(rows).T.reset_index(names="what rises")


def traced(runs: Iterable[Timing], name: str) -> pd.DataFrame:
    """Mean excess over relations of the heads highest at the end, at pattern discovery, and all."""
    frames = []
    for run in runs:
        steps, sets = run.course.steps, emergence_parts.ends(run, name)
        curves = [emergence.smoothed(drawn[0]) for drawn in run.families[name].curves]
        for title, halves in sets.items():
            pairs = zip(curves, halves, strict=True)
            mean = torch.stack([curve[mask].mean(0) for curve, mask in pairs]).mean(0)
            columns = {"step": steps.tolist(), "excess": mean.tolist()}
            frames.append(pd.DataFrame(columns | {"heads": title, "seed": _seed(run)}))
    return pd.concat(frames, ignore_index=True)


def overlap(runs: Iterable[Timing], names: Iterable[str]) -> pd.DataFrame:
    """Overlap of early and final heads beside what dealt heads give."""
    rows = []
    for run in runs:
        for name in names:
            found = emergence_parts.overlaps(run, name, run)
            low, high = found[1:].quantile(torch.tensor([0.025, 0.975], dtype=found.dtype)).tolist()
            row = {"index": name, "seed": _seed(run), "overlap": float(found[0])}
            rows.append(row | {"low": low, "high": high})
    return pd.DataFrame(rows)


def counts(runs: Iterable[Timing]) -> pd.DataFrame:
    """How many heads rise, counted by relation, and which share of them when."""
    rows = []
    for run in runs:
        for name in run.course.indexes:
            family = run.families[name]
            rising = family.rising(RISES)
            row = {"index": name, "seed": _seed(run), "rising": sum(int(x.sum()) for x in rising)}
            for when in WHEN:
                row[when] = emergence_parts.share(run, "", name, when).value
            rows.append(row)
    return pd.DataFrame(rows)


def single(runs: Iterable[Timing], names: Sequence[str]) -> pd.DataFrame:
    """Every head that rises: its relation, its name, how far it rises, its onset and its lead."""
    columns = ["seed", "index", "relation", "head", "rise", "onset", "lead"]
    rows = []
    for run, name in product(runs, names):
        family, kinds = run.families[name], KINDS[name.split(",")[0]][1]
        for rises, curves in zip(family.rises, family.curves, strict=True):
            onset = emergence.onset(run.course.steps, curves[0])
            lead = emergence.lead(onset, run.levels[PATTERN][0])
            for cell, head in (rises >= RISES).nonzero().tolist():
                who = _seed(run), name, kinds[cell], run.course.named(head)
                rows.append((*who, *(float(x[cell, head]) for x in (rises, onset, lead))))
    return pd.DataFrame(rows, columns=columns)
