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
from lib.data.fewshot import Prompts
from lib.measures import statistics


def prompts(opened, p, rng: np.random.Generator) -> list[list[Prompts]]:
    """Two sets of English prompts for each of the paper's binary tasks.

    Error: ValueError where a label is not one token, or the context of the model too short.
    """
    pairs = []
    for task in function_vectors.TASKS[:2]:
        given = opened, rng, task, p.causal_shots, p.causal_prompts
        pairs.append([english_fewshot.questions(*given) for _ in range(2)])
    longest = max(asked.tokens.shape[1] for pair in pairs for asked in pair)
    if longest > opened.context:
        raise ValueError(
            f"Prompts of {longest} tokens do not fit the context of {opened.name}, "
            f"{opened.context}. Lower causal_shots."
        )
    return pairs


def ablated(opened, p) -> pd.DataFrame:
    """Any language model, asked in English: what it loses of each level without its induction heads
    and its function-vector heads, and without random ones. The loss is taken on repeated tokens."""
    rng = np.random.default_rng([p.seed, 12])
    pairs = prompts(opened, p, rng)
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
