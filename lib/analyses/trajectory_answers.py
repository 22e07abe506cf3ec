"""What the exercises on trajectories come to: their checks ask here, and show no way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.analyses.trajectories import Trajectory
from lib.measures import onsets, scores


def ends_moved(run: Trajectory) -> list[float]:
    """Nats by which the losses of early and of late tokens move within a run's window."""
    start, end = run.window
    curves = torch.stack([run.losses[..., place].mean((1, 2)) for place in run.places])
    return (onsets.at(run.steps, curves, end) - onsets.at(run.steps, curves, start)).tolist()


def mean_held(run: Trajectory, slower: Sequence[float | int] = (1, 2, 4, 8)) -> float:
    """Share of its way that the window of a mean curve holds: the mean of a run's in-context score
    and of the same curve with its training so many times as slow."""
    curve = run.scores.mean(0).numpy()
    grid = torch.linspace(0, max(slower) * float(run.steps[-1]), 4001)
    each = [np.interp(grid / factor, run.steps, curve) for factor in slower]
    mean = torch.tensor(np.mean(each, axis=0), dtype=torch.float32)
    return float(onsets.share_within(grid, mean, *onsets.window(grid, mean)))


def apart_by_chance(begun: pd.DataFrame) -> float:
    """Mean distance in steps between the onset of one run's heads and that of another run's score;
    `begun` has a row a run and a column a quantity."""
    heads, score = (
        torch.tensor(begun[name].to_numpy()) for name in ("prefix matching", "in-context score")
    )
    gaps = (heads[:, None] - score).abs()
    return float(gaps[~torch.eye(len(gaps), dtype=bool)].mean())


def bag_of_words(
    texts: Int[Tensor, "text token"], words: int, extra: float | int
) -> dict[str, float]:
    """Mean loss in nats at `early` and at `late` tokens, and their difference, the `score`, of a
    predictor that knows no order: a word is as likely as it has been frequent so far in the text,
    with `extra` added to each count."""
    losses = _of_counts(texts, words, extra)
    early, late = (losses[:, place].mean().item() for place in scores.windows(texts.shape[1]))
    return {"early": early, "late": late, "score": late - early}


def _of_counts(texts: Tensor, words: int, extra: float | int) -> Float[Tensor, "text position"]:
    counts = torch.nn.functional.one_hot(texts[:, :-1], words).cumsum(1) + extra
    said = counts.gather(2, texts[:, 1:, None])[..., 0] / counts.sum(2)
    return -said.log()
