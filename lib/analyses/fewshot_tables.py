"""What chapter 11 shows of its seeds, as tidy frames: one row per mark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from lib.analyses import fewshot_circuit as circuit
from lib.analyses.fewshot_claims import LONE, Seed
from lib.measures import learning, statistics
from lib.models.run_recipes import HEADS

KINDS = {
    "training": "as in training",
    "other_pairs": "other pairs of labels",
    "other_classes": "other classes",
    "other_exemplars": "other exemplars",
}


def evaluations(seeds: Sequence[Seed], p) -> pd.DataFrame:
    """Accuracy and loss at the end, on what was trained and on what was held out."""
    rows = []
    for s in seeds:
        for kind, words in KINDS.items():
            came = circuit.outcome(s.t, ["all"], s.t.sequences(p, kind))
            accuracy, loss = float(came.accuracy[0]), float(came.losses.mean())
            rows.append({"seed": s.t.seed, "shown": words, "accuracy": accuracy, "loss": loss})
    return pd.DataFrame(rows)


def strengths(s: Seed) -> pd.DataFrame:
    """Induction strength of each head of layer 2 at the snapshots of the run with all heads."""
    mean = s.followed.strengths.mean(0)
    parts = []
    for head in range(HEADS):
        columns = {"thousand sequences": _seen(s), "strength": mean[head]}
        parts.append(pd.DataFrame(columns).assign(head=f"1.{head}"))
    return pd.concat(parts, ignore_index=True)


def heads(seeds: Sequence[Seed], rng: np.random.Generator, p) -> pd.DataFrame:
    """Each head of layer 2: strength, accuracy without it, and alone, with its interval."""
    rows = []
    for s in seeds:
        strength = s.strength().mean(1)
        alone = s.lone.right.T.double()
        value, low, high = statistics.bootstrap_mean(alone, rng, p.resamples)
        for head in range(HEADS):
            own = {"low": float(low[head]), "high": float(high[head])}
            own |= {"strength": float(strength[head]), "accuracy alone": float(value[head])}
            own["accuracy without"] = float(s.single.accuracy[head])
            rows.append({"head": f"1.{head}", "seed": str(s.t.seed), **own})
    return pd.DataFrame(rows)


def added(seeds: Sequence[Seed]) -> pd.DataFrame:
    """The loss as heads of layer 2 are added back, the strongest first."""
    parts = []
    for s in seeds:
        columns = {"heads": range(1, HEADS + 1), "loss": s.added.losses.mean(1)}
        parts.append(pd.DataFrame(columns).assign(seed=s.t.seed))
    return pd.concat(parts, ignore_index=True)


def times(seeds: Sequence[Seed]) -> pd.DataFrame:
    """Thousands of sequences until each run has learnt, by how many heads of layer 2 it has."""
    frame = circuit.learning_times([s.t for s in seeds])
    size = dict.fromkeys(LONE, "one head") | {"all": "all heads"}
    frame["heads"] = [size.get(run, "two heads") for run in frame["run"]]
    return frame.assign(seed=frame["seed"].astype(str)).replace(np.inf, np.nan)


def solved(seeds: Sequence[Seed], least: float = 0.95) -> np.ndarray:
    """Which heads that were trained alone are right in that share of fresh sequences."""
    each = [circuit.outcome(s.t, LONE, s.shown).accuracy for s in seeds]
    return (torch.cat(each) > least).numpy()


def wiring(s: Seed) -> pd.DataFrame:
    """What each head of layer 2 loses of its strength without a head of layer 1."""
    lost = s.weakened.mean(2)
    rows = []
    for giver in range(HEADS):
        for taker in range(HEADS):
            drop = float(lost[giver, taker])
            rows.append({"layer 1": f"0.{giver}", "layer 2": f"1.{taker}", "drop": drop})
    return pd.DataFrame(rows)


def table_one(seeds: Sequence[Seed]) -> pd.DataFrame:
    """Accuracy without the previous-token heads, and without the others, as layer 2 is preserved in
    part."""
    rows = []
    for s in seeds:
        groups = {"previous-token heads": s.previous, "the others": s.others}
        for place, (name, group) in enumerate(groups.items()):
            row = {"seed": s.t.seed, "without": name, "heads": ", ".join(map(str, group))}
            for how, words in {
                "free": "nothing preserved",
                "pattern": "patterns preserved",
                "values": "values preserved",
            }.items():
                row[words] = float(s.kept[how][place].double().mean())
            rows.append(row)
    return pd.DataFrame(rows)


def path(seeds: Sequence[Seed]) -> pd.DataFrame:
    """Nats lost through training without the path from layer 1 to the output."""
    parts = []
    for s in seeds:
        lost = (s.followed.without_path - s.followed.losses).mean(0)
        columns = {"thousand sequences": _seen(s), "loss added": lost}
        parts.append(pd.DataFrame(columns).assign(seed=s.t.seed))
    return pd.concat(parts, ignore_index=True)


def with_strength(s: Seed) -> pd.DataFrame:
    """Loss and summed strength of a run, each as a share of its plateau or its last value."""
    mean = s.followed.strengths.mean(0).sum(0)
    loss = s.followed.losses.mean(0) / learning.LN2
    lines = {"loss / ln 2": loss, "summed strength / last": mean / mean[-1]}
    parts = [
        pd.DataFrame({"thousand sequences": _seen(s), "value": line}).assign(quantity=name)
        for name, line in lines.items()
    ]
    return pd.concat(parts, ignore_index=True)


def learnt(s: Seed) -> float:
    """Thousands of sequences until the run with all heads has learnt."""
    steps = learning.first_below(s.t.curve("all"), learning.LEARNT).value
    return float(steps) * s.t.recipe.batch / 1000


def worse_of(s: Seed, one: int, other: int) -> float:
    """Accuracy of the worse of two heads that were trained as a pair, each with the other
    silenced."""
    pair = [f"heads {one}, {other}"] * 2
    return float(
        circuit.outcome(s.t, pair, s.shown, circuit.with_only([[one], [other]])).accuracy.min()
    )


def blind_choice(s: Seed, step: int) -> tuple[float, float]:
    """Of the run with all heads at a step: the share of right answers where the later label is
    right, and how much the shares by right label differ, the highest less the lowest."""
    came = circuit.outcome(s.t, ["all"], s.shown, step=step)
    columns = {"right": came.right[0], "place": came.answer[0], "label": s.shown.target()[0]}
    rows = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
    return float(rows.right[rows.place == 1].mean()), float(
        np.ptp(rows.groupby("label").right.mean())
    )


def _seen(s: Seed) -> torch.Tensor:
    """Thousands of sequences that had been seen at each snapshot of the run with all heads."""
    return s.followed.steps * s.t.recipe.batch / 1000
