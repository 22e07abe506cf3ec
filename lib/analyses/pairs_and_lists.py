"""Trajectories on texts of special kinds: pairs that are completed or broken, lists of words and
labels (chapter 2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.analyses.trajectories import Trajectory
from lib.data import pairs
from lib.models import opening
from lib.models.recipes import RECIPES
from lib.tracing import capture


def pair_losses(
    name: str, seed: int, p, window: tuple[float, float] | None = None
) -> tuple[Float[Tensor, "snapshot"], dict[str, Float[Tensor, "text snapshot"]]]:
    """Steps, and for each kind of text in `lib.data.pairs` the loss of its last token then: at
    every snapshot, or at those on both sides of the two ends of a window."""
    corpus = RECIPES[name].make_corpus()
    texts = pairs.texts(corpus, np.random.default_rng([p.seed, 3]), p.trajectory_texts)
    tokens = torch.from_numpy(np.concatenate(list(texts.values())))
    kept = opening.organism_snapshots(name, seed, p)
    steps = beside(list(kept), window) if window else list(kept)
    places = [kept[step] for step in steps]
    found = opening.snapshots_in_turn(opening.open_model(places[0]), places)
    last = torch.stack([capture.token_losses(model, tokens)[:, -1] for _, model in found], 1)
    by_kind = dict(zip(texts, last.chunk(len(texts)), strict=True))
    return torch.tensor(steps, dtype=torch.float32), by_kind


def beside(steps: list[int], edges: tuple[float, float]) -> list[int]:
    """Of rising steps, the last one up to each edge and the first one past it."""
    right = np.searchsorted(steps, edges, side="right").clip(1, len(steps) - 1)
    return [steps[i] for i in sorted({*(right - 1).tolist(), *right.tolist()})]


def list_texts(p) -> Int[Tensor, "text token"]:
    """Half of `p.trajectory_texts` lists of words and labels of the world, then the same lists with
    each one's labels dealt anew among its lines: only which labels are in use can then be learnt
    from the context."""
    rng = np.random.default_rng([p.seed, 4])
    lists = RECIPES["world"].make_corpus().documents(rng, p.trajectory_texts // 2, "singles").tokens
    dealt = lists.copy()
    dealt[:, 2::2] = rng.permuted(lists[:, 2::2], axis=1)
    return torch.from_numpy(np.concatenate([lists, dealt]))


def list_use(run: Trajectory) -> tuple[Trajectory, Trajectory]:
    """What a run on `list_texts` learns from its lists, as two trajectories whose in-context scores
    are: the gain at labels of the second half from knowing which word goes with which label (loss
    as written less loss where labels are dealt anew); and the score on the lists dealt anew."""
    half = run.losses.shape[1] // 2
    written, dealt = (run.losses[:, texts] for texts in (slice(half), slice(half, None)))
    middle = written.shape[2] // 2
    labels = slice(middle + 1 - middle % 2, None, 2)  # a label's loss stands at an odd place
    use = torch.zeros_like(written)
    use[..., run.places[1]] = (written - dealt)[..., labels].mean(-1, keepdim=True)
    return replace(run, losses=use), replace(run, losses=dealt)
