"""Which labels a head gets wrong when it is left alone (Singh et al. 2024, figure 16).

Idea. Heads that learn together may share the labels among them. Leave one head of layer 2 of the
model with all heads, and sort its mistakes by the label that would have been right:

    found = alone(clamped_runs, p)
    shares(found)                    # of the sequences of each label, per head
    gathered([found], rng)           # how much of a head's mistakes its worst label takes

The null deals the right labels anew among the sequences: the mistakes of a head stay as many, and
labels stay as frequent as they are, but no label is harder than another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.analyses import fewshot_circuit
from lib.analyses.clamped import Clamped
from lib.models.run_recipes import HEADS


@dataclass(frozen=True)
class Mistakes:
    """Of each head of layer 2 alone: which sequences it gets wrong, and each one's right label."""

    seed: int
    wrong: Bool[Tensor, "head sequence"]
    labels: Float[Tensor, "sequence label"]  # 1 for the right one

    def by_label(self, labels: Tensor | None = None) -> Float[Tensor, "head label"]:
        """Mistakes of each head on each label; `labels` instead of the true ones."""
        return self.wrong.double() @ (self.labels if labels is None else labels)


def alone(found: Clamped, p) -> Mistakes:
    """Fresh training sequences, answered by one head of layer 2 after another."""
    t = found.recipes["fewshot"]
    shown = t.sequences(p)
    said = fewshot_circuit.with_only([[head] for head in range(HEADS)])
    came = fewshot_circuit.outcome(t, ["all"] * HEADS, shown, said)
    labels = torch.nn.functional.one_hot(shown.target()[0], t.task.n_labels)
    return Mistakes(found.seed, ~came.right, labels.double())


def shares(found: Mistakes) -> pd.DataFrame:
    """Share of wrong answers among the sequences of a label: columns head, label, wrong answers."""
    share = found.by_label() / found.labels.sum(0)
    rows = [
        {"head": f"1.{head}", "label": label, "wrong answers": float(one)}
        for (head, label), one in np.ndenumerate(share.numpy())
    ]
    return pd.DataFrame(rows)


def worst(counts: Float[Tensor, "*rest label"]) -> Float[Tensor, "*rest"]:
    """Share of all mistakes that the label with the most of them takes; not a number without
    any."""
    return counts.amax(-1) / counts.sum(-1)


def gathered(
    every: Sequence[Mistakes], rng: np.random.Generator, rounds: int = 400
) -> pd.DataFrame:
    """How much of a head's mistakes its worst label takes, beside labels dealt anew (mean, and what
    one dealing in forty exceeds): columns seed, head, mistakes, worst label, dealt anew, rarely
    above."""
    parts = []
    for found in every:
        orders = torch.from_numpy(rng.permuted(_rows(found, rounds), axis=1))
        dealt = worst(torch.stack([found.by_label(found.labels[order]) for order in orders]))
        columns = {
            "seed": found.seed,
            "head": [f"1.{head}" for head in range(len(found.wrong))],
            "mistakes": found.wrong.sum(1),
            "worst label": worst(found.by_label()),
            "dealt anew": dealt.mean(0),
            "rarely above": dealt.quantile(0.975, dim=0),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def _rows(found: Mistakes, rounds: int) -> np.ndarray:
    """The numbers of the sequences, once for each round."""
    return np.tile(np.arange(len(found.labels)), (rounds, 1))
