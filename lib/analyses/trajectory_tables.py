"""Frames of many trajectories, as figures and tables show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor

from lib.analyses import trajectories
from lib.analyses.trajectories import Trajectory
from lib.analyses.trajectory_parts import Parts
from lib.measures import onsets, statistics
from lib.models import opening

Runs = Mapping[str, Sequence[Trajectory]]  # by kind of model, one a seed


def frames(followed: Runs) -> pd.DataFrame:
    """`Trajectory.frame` of all runs, one below the other; `model` is their kind."""
    return _joined([run.frame(model=kind) for kind, run in _each(followed)])


def head_frames(followed: Runs) -> pd.DataFrame:
    """`Trajectory.head_frame` of all runs with their kind; `looks`: the head that matches most at
    the end."""
    found = []
    for kind, run in _each(followed):
        heads, (layer, head) = run.head_frame().assign(model=kind), run.matching
        found.append(heads.assign(looks=(heads.layer == layer) & (heads["head"] == head)))
    return _joined(found)


def looks(followed: Runs, p, tokens: Int[Tensor, "1 place"], least: float = 0.02) -> pd.DataFrame:
    """One row per run and snapshot: `name` of the head that matches most at the end, and lists
    `query`, `key` and `attention` of the entries of its pattern that are not below `least`."""
    rows = []
    for kind, run in _each(followed):
        name = "{}.{}".format(*run.matching)
        patterns = trajectories.looks(run, p, tokens)
        for step, pattern in zip(run.steps.int().tolist(), patterns, strict=True):
            query, key = (pattern >= least).nonzero().T.tolist()
            shares = [round(x, 2) for x in pattern[query, key].tolist()]
            lists = {"query": query, "key": key, "attention": shares}
            rows.append({"model": kind, "step": step, "name": name} | lists)
    return pd.DataFrame(rows)


def speeds(followed: Runs) -> pd.DataFrame:
    """`Trajectory.speed` of all runs, with their kind and seed."""
    rows = _each(followed)
    return _joined([run.speed().assign(model=kind, seed=str(run.seed)) for kind, run in rows])


def list_frame(
    runs: Sequence[Trajectory], used: Sequence[tuple[Trajectory, Trajectory]]
) -> pd.DataFrame:
    """One row per snapshot, quantity and seed, of what `list_use` gives and of the best head."""
    found = []
    for run, (use, dealt) in zip(runs, used, strict=True):
        curves = {
            "use of the pairing": use.scores,
            "score, labels dealt anew": dealt.scores,
            "prefix matching": run.best,
        }
        for name, samples in curves.items():
            columns = {"step": run.steps, "value": samples.mean(0)}
            found.append(pd.DataFrame(columns).assign(quantity=name, seed=str(run.seed)))
    return _joined(found)


def final_heads(followed: Runs) -> pd.DataFrame:
    """`Trajectory.head_frame` of all runs at their last snapshot, with kind and seed."""
    found = []
    for kind, run in _each(followed):
        heads = run.head_frame().assign(model=kind, seed=str(run.seed))
        found.append(heads[heads.step == heads.step.max()].drop(columns="step"))
    return _joined(found)


def progress(followed: Runs) -> pd.DataFrame:
    """`Trajectory.progress` of the first run of each kind."""
    return _joined([runs[0].progress().assign(model=kind) for kind, runs in followed.items()])


def means(
    steps: Float[Tensor, "snapshot"], curves: Mapping[str, Float[Tensor, "text snapshot"]], y: str
) -> pd.DataFrame:
    """One row per snapshot and kind: the mean over texts, in a column `y`."""
    named = [(kind, curve.mean(0)) for kind, curve in curves.items()]
    return _joined([pd.DataFrame({"step": steps, y: mean, "kind": kind}) for kind, mean in named])


def windows(ask: Parts, followed: Runs) -> pd.DataFrame:
    """One row per run: its window, the share of the score that forms there with its interval, what
    that is more than in a curve that flattens, and the best head at both ends."""
    rows = []
    for kind, run in _each(followed):
        share, more = ask.formed("", run), ask.excess("", run)
        ends = [float(onsets.at(run.steps, run.heads.mean(0), s).amax()) for s in run.window]
        row = {"model": kind, "seed": str(run.seed), "from": run.window[0], "to": run.window[1]}
        row |= {"share of the score": share.value, "low": share.low, "high": share.high}
        row |= {"more than flattening": more.value}
        rows.append(row | {"best head before": ends[0], "best head after": ends[1]})
    return pd.DataFrame(rows)


def onset_table(ask: Parts, followed: Runs) -> pd.DataFrame:
    """One row per run and quantity: the onset with its interval."""
    rows = []
    for kind, run in _each(followed):
        for name, drawn in ask.onset_draws(run).items():
            value, low, high = (float(x) for x in statistics.interval(drawn))
            row = {"run": f"{kind}, seed {run.seed}", "quantity": name, "onset (step)": value}
            rows.append(row | {"low": low, "high": high})
    return pd.DataFrame(rows)


def mixtures(names: Mapping[str, str], p) -> pd.DataFrame:
    """One row per snapshot and head of recipes (by kind) with smeared keys: `own`, sigma(alpha),
    the weight of a key's own token."""
    rows = []
    for kind, name in names.items():
        for seed in p.seeds:
            for step, place in opening.organism_snapshots(name, seed, p).items():
                at = {"model": kind, "seed": str(seed), "step": step}
                rows += [at | row for row in _weights(place)]
    return pd.DataFrame(rows)


def _weights(place: Path) -> list[dict[str, float | int]]:
    """Layer, head and weight of the own key, of one snapshot; none where no key is smeared."""
    rows = []
    for layer, alpha in _alpha(place).items():
        for head, own in enumerate(torch.sigmoid(alpha).tolist()):
            rows.append({"layer": layer, "head": head, "own": own})
    return rows


def _alpha(place: Path) -> Mapping[int, Float[Tensor, "head"]]:
    """Layer -> alpha of its heads, from one snapshot; empty where no key is smeared."""
    with safe_open(place / "model.safetensors", "pt") as file:
        keys = sorted(key for key in file.keys() if key.endswith("smear"))  # noqa: SIM118
        return {int(key.split("layers.")[1].split(".")[0]): file.get_tensor(key) for key in keys}


def _each(followed: Runs) -> list[tuple[str, Trajectory]]:
    """(kind, run) of all runs."""
    return [(kind, run) for kind, runs in followed.items() for run in runs]


def _joined(found: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(found, ignore_index=True)
