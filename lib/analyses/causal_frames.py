"""What the figures of the causal tests show, as tables: one function a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from lib.analyses import causes
from lib.analyses.causal_study import Removed, Study
from lib.analyses.causes import PATTERN, Trial
from lib.analyses.head_families import FAMILIES, INDUCTION, PRINTED, SEMANTIC, VECTORS
from lib.analyses.importance import Importance
from lib.data import fewshot
from lib.measures import statistics

ABLATED, PATCHED = "lost without it (ablation)", "brought back by it (patching)"
TITLES = {"loss": "loss reduction", "format": "format", "pattern": "pattern discovery"}


def planted(opened, world, rng: np.random.Generator, shots: int, n: int) -> pd.DataFrame:
    """What each head of layer 1 of a small model does for a binary list, alone, and the first that
    carries most together with each other: `heads`, `measure`, `share`, `low`, `high`."""
    asked = [fewshot.questions(world, rng, "binary", shots, n)]
    texts = torch.from_numpy(world.batch(rng, 2))[:, :16]
    trial = Trial(opened, asked, texts)
    sets = [[(0, 0)], [(1, 1)], [(1, 2)], [(1, 3)], [(1, 2), (1, 3)]]
    lost = statistics.interval(causes.shares(trial, trial.without(sets, "mean"), PATTERN, rng, 500))
    back = Importance.of(opened, asked).interval(rng, 500)
    rows = []
    for i, heads in enumerate(sets):
        name = " and ".join(f"{layer}.{head}" for layer, head in heads)
        rows.append((name, ABLATED, *(float(end[i]) for end in lost)))
        if len(heads) == 1:
            rows.append((name, PATCHED, *(float(end[heads[0]]) for end in back)))
    return pd.DataFrame(rows, columns=["heads", "measure", "share", "low", "high"])


def lost(gone: Mapping[int, Removed], groups: Sequence[str]) -> pd.DataFrame:
    """Shares lost without some groups, by level, a row a model."""
    frames = [one.table().assign(seed=str(seed)) for seed, one in gone.items()]
    rows = pd.concat(frames, ignore_index=True)
    rows = rows[rows.removed.isin(groups)]
    return rows.assign(panel=rows.level.map(TITLES))


def importances(studies: Sequence[Study], found: Mapping[int, Importance]) -> pd.DataFrame:
    """A row for each head and score: `head`, `seed`, `score`, `value`, exact `importance`, and what
    attribution says."""
    frames = []
    for study in studies:
        exact = found[study.seed].exact.flatten().tolist()
        screened = found[study.seed].screened.flatten().tolist()
        rows = study.heads.table(study.p.family_size)
        rows = rows.assign(seed=str(study.seed), importance=exact, attribution=screened)
        frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def by_score(rows: pd.DataFrame) -> pd.DataFrame:
    """The scores of `importances` one below the other, to be shown side by side."""
    names = {SEMANTIC: "relation index", PRINTED: "index as printed"}
    names |= {INDUCTION: "prefix matching", "copying": "copying", VECTORS: "function vector"}
    keep = ["head", "layer", "seed", "importance"]
    renamed = rows.rename(columns=names)
    return renamed.melt(keep, list(names.values()), "score", "value")


def through_training(studies: Mapping[int, Study], draws: int) -> pd.DataFrame:
    """Shares lost at several snapshots of a model, by step, of the heads that are best *then*."""
    frames = []
    for step, study in studies.items():
        rng = np.random.default_rng([study.p.seed, step])
        groups = {family: study.families()[family] for family in FAMILIES}
        groups |= study.matched(SEMANTIC, rng, draws)
        rows = study.remove(groups).table()
        frames.append(rows.assign(step=step))
    rows = pd.concat(frames, ignore_index=True)
    return rows.assign(panel=rows.level.map(TITLES))
