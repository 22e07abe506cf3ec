"""The causal tests on a reader's model, in English: what it loses without families of its heads."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from lib.analyses import causes, function_vectors, head_families
from lib.analyses.causal_frames import TITLES
from lib.analyses.causes import LEVELS, Trial
from lib.analyses.head_families import INDUCTION, VECTORS, Families
from lib.data import english_fewshot
from lib.measures import statistics


def ablated(opened, p) -> pd.DataFrame:
    """Any language model, asked in English: what it loses of each level without its induction heads
    and its function-vector heads, and without random ones. The loss is taken on repeated tokens."""
    rng = np.random.default_rng([p.seed, 12])
    tasks = tuple(function_vectors.TASKS[:2])
    given = p.causal_shots, p.causal_prompts
    pairs = []
    for task in tasks:
        pairs.append([english_fewshot.questions(opened, rng, task, *given) for _ in range(2)])
    heads = head_families.literal(opened, rng, p.examples)
    heads = Families(heads | {VECTORS: function_vectors.over(opened, pairs, rng).scores})
    texts = head_families.repeats(opened, rng, p.texts)
    trial = Trial(opened, [asked for _, asked in pairs], texts)
    named = {name: heads.best(name, p.family_size) for name in (INDUCTION, VECTORS)}
    every = list(product(range(opened.n_layers), range(opened.n_heads)))
    picked = rng.permutation(len(every))[: p.family_size]
    named["random heads"] = [every[i] for i in picked]
    outcome = trial.without(list(named.values()), "mean")
    rows = []
    for level in LEVELS:
        found = statistics.interval(causes.shares(trial, outcome, level, rng, p.resamples))
        for i, name in enumerate(named):
            ends = (float(end[i]) for end in found)
            rows.append((TITLES[level], name, *ends))
    return pd.DataFrame(rows, columns=["panel", "removed", "share lost", "low", "high"])
