"""A model through training: losses and head scores at every snapshot.

Idea. `follow` loads the snapshots of a run one after the other into one opened model, and reads at
each of them the losses on fixed texts and the scores of all heads on fixed repeats of random
tokens. What comes out, a `Trajectory`, holds one value per snapshot *and text*, so that every
number about training has an interval over texts:

    two = follow("two_layer", 0, p, texts_of("two_layer", p))
    two.window                                  # (start, end) of the phase change, in steps
    trajectory_parts.Parts(rng, p).formed("gain", two)

`flattening` and `delayed` make trajectories in which there is nothing to find, for the same code.
The estimators stand in `lib.measures.onsets`, and what claims ask of trajectories in
`lib.analyses.trajectory_parts`.

Caveat. An interval over texts says how well *this* model is known; how much models differ is what
the seeds are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import log
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor

from lib.analyses import ablation_effects, detection
from lib.data import pairs
from lib.measures import onsets, scores
from lib.models import opening, training
from lib.tracing import capture

REPEATS = 4  # of the random block, as in the paper; the block is as long as the context allows


@dataclass(frozen=True)
class Trajectory:
    """One run: per-token losses, and prefix-matching and previous-token scores of every head, at
    every snapshot. Its learning rate rises for the first `warmup` steps."""

    name: str
    seed: int | None
    steps: Float[Tensor, "snapshot"]
    losses: Float[Tensor, "snapshot text position"]
    prefix: Float[Tensor, "snapshot sequence layer head"]
    previous: Float[Tensor, "snapshot sequence layer head"]
    warmup: int = 0

    @cached_property
    def scores(self) -> Float[Tensor, "text snapshot"]:
        """In-context score of each text in nats: loss near the end less loss near the start of the
        context."""
        return scores.in_context_score(self.losses, *self.places).T

    @property
    def places(self) -> tuple[slice, slice]:
        """The early and the late places of a text."""
        return ablation_effects.windows(self.losses.shape[2] + 1)

    @cached_property
    def loss(self) -> Float[Tensor, "text snapshot"]:
        """Mean loss of each text."""
        return self.losses.mean(2).T

    @cached_property
    def heads(self) -> Float[Tensor, "sequence head snapshot"]:
        """Prefix-matching scores, heads of all layers in one axis."""
        return self.prefix.flatten(2).permute(1, 2, 0)

    @cached_property
    def best(self) -> Float[Tensor, "sequence snapshot"]:
        """Prefix matching of the head that matches most at the end of training."""
        return self.heads[:, self.heads[..., -1].mean(0).argmax()]

    @cached_property
    def carrier(self) -> Float[Tensor, "sequence snapshot"]:
        """Previous-token score of the head that looks at the token before most at the end."""
        looks = self.previous.flatten(2).permute(1, 2, 0)
        return looks[:, looks[..., -1].mean(0).argmax()]

    @cached_property
    def window(self) -> tuple[float, float]:
        """The doubling of training in which most of the in-context score forms."""
        return onsets.window(self.steps, self.scores.mean(0))

    @cached_property
    def onset(self) -> float:
        """Step at which the in-context score has made half of its way."""
        return float(onsets.crossing(self.steps, self.scores.mean(0)))

    @cached_property
    def slopes(self) -> Float[Tensor, "text snapshot"]:
        """Slope of each text's loss over ln(index), past a tenth of the context, in nats per
        e-fold."""
        return onsets.slope_in_log(self.losses, round(0.1 * self.losses.shape[2])).T

    def frame(self, **labels: object) -> pd.DataFrame:
        """One row per snapshot: score, loss, prefix matching of the best head then, and labels."""
        columns = {
            "step": self.steps,
            "in-context score": self.scores.mean(0),
            "loss": self.loss.mean(0),
            "prefix matching": self.heads.mean(0).amax(0),
        }
        values = {name: column.numpy() for name, column in columns.items()}
        return pd.DataFrame(values | {"model": self.name, "seed": str(self.seed)} | labels)

    def head_frame(self) -> pd.DataFrame:
        """One row per snapshot and head: prefix-matching and previous-token score."""
        places = [self.steps.int().tolist(), *map(range, self.prefix.shape[2:])]
        index = pd.MultiIndex.from_product(places, names=["step", "layer", "head"])
        columns = {"prefix matching": self.prefix, "previous token": self.previous}
        means = {name: column.mean(1).flatten().numpy() for name, column in columns.items()}
        return pd.DataFrame(means, index).reset_index()

    def progress(self) -> pd.DataFrame:
        """One row per snapshot and quantity: how far it has come, 0 at the first snapshot and 1 at
        the last."""
        frames = []
        for name, samples in self.quantities().items():
            mean = samples.mean(0)
            way = (mean - mean[0]) / (mean[-1] - mean[0])
            frames.append(pd.DataFrame({"step": self.steps, "progress": way, "quantity": name}))
        return pd.concat(frames, ignore_index=True)

    def quantities(self) -> dict[str, Float[Tensor, "sample snapshot"]]:
        """The curves whose onsets are compared, by name."""
        return {
            "in-context score": self.scores,
            "prefix matching": self.best,
            "previous token": self.carrier,
            "loss": self.loss,
        }

    def part(self, texts: slice) -> Trajectory:
        """The same run on some of its texts."""
        return replace(self, losses=self.losses[:, texts])


# --- reading ---


def texts_of(name: str, p) -> Int[Tensor, "text token"]:
    """`p.trajectory_texts` fresh texts of the kind that a recipe trains on; the same for every
    model of that kind."""
    rng = np.random.default_rng([p.seed, 1])
    return torch.from_numpy(training.RECIPES[name].make_corpus().batch(rng, p.trajectory_texts))


def follow(
    name: str, seed: int, p, texts: Int[Tensor, "text token"], every: int = 1
) -> Trajectory:
    """Read one of the book's own models at every snapshot, or one in `every` and the last, training
    it first if it is not there yet."""
    kept = opening.organism_snapshots(name, seed, p)
    chosen = [step for i, step in enumerate(kept) if i % every == 0 or step == max(kept)]
    opened = opening.open_model(kept[0])
    repeats = _repeats(opened, (opened.context - 1) // REPEATS, p)
    found = opening.snapshots_in_turn(opened, [kept[step] for step in chosen])
    rows = [snapshot(model, texts, repeats) for _, model in found]
    warmup = training.scaled(training.RECIPES[name], p.training_scale).warmup
    return _trajectory(name, seed, chosen, rows, warmup)


def series(p) -> Trajectory:
    """The checkpoint series that a profile names, on repeats of random tokens; its steps are
    counted from 1.

    `checkpoints` are directories or revisions of `model`.
    """
    rows = []
    for name, revision in opening.checkpoints(p):
        opened = opening.open_model(
            name, revision, p.device, p.dtype, p.remote, p.trust_remote_code
        )
        tokens = _repeats(opened, min(25, (opened.context - 1) // REPEATS), p)
        rows.append(snapshot(opened, tokens, tokens))
    return _trajectory(p.model or "series", None, range(1, len(rows) + 1), rows, 0)


def snapshot(
    opened, texts: Int[Tensor, "text token"], repeats: Int[Tensor, "sequence place"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [text, position]; prefix-matching and previous-token scores [sequence, layer,
    head]."""
    targets = {"prefix": scores.prefix_target(repeats), "previous": scores.previous_target(repeats)}
    weight = capture.near(opened, scores.weights(targets))
    found = capture.stream(
        opened, repeats, lambda layer, z, pattern: {"score": scores.attention_to(pattern, weight)}
    )["score"]
    prefix, previous = found.permute(1, 2, 0, 3)
    return capture.token_losses(opened, texts), prefix, previous


def _repeats(opened, length: int, p) -> Int[Tensor, "sequence place"]:
    """The fixed random tokens on which heads are measured; `length` of them in a block."""
    rng = np.random.default_rng([p.seed, 2])
    return detection.random_repeats(opened, rng, length, REPEATS, p.examples)


def _trajectory(name: str, seed: int | None, steps, rows, warmup: int) -> Trajectory:
    """From what `snapshot` gives at each step."""
    losses, prefix, previous = (torch.stack(column) for column in zip(*rows, strict=True))
    at = torch.tensor(list(steps), dtype=torch.float32)
    return Trajectory(name, seed, at, losses, prefix, previous, warmup)


def pair_losses(name: str, seed: int, p) -> dict[str, Float[Tensor, "text snapshot"]]:
    """For each kind of text in `lib.data.pairs`, the loss of its last token at every snapshot."""
    corpus = training.RECIPES[name].make_corpus()
    texts = pairs.texts(corpus, np.random.default_rng([p.seed, 3]), p.trajectory_texts)
    tokens = torch.from_numpy(np.concatenate(list(texts.values())))
    places = opening.organism_snapshots(name, seed, p).values()
    found = opening.snapshots_in_turn(opening.open_model(next(iter(places))), places)
    last = torch.stack([capture.token_losses(model, tokens)[:, -1] for _, model in found], 1)
    return dict(zip(texts, last.chunk(len(texts)), strict=True))


def alphas(name: str, seed: int, p) -> pd.DataFrame:
    """One row per snapshot, layer and head of a model with smeared keys: `own`, sigma(alpha), the
    weight of a key's own token."""
    rows = []
    for step, place in opening.organism_snapshots(name, seed, p).items():
        for layer, alpha in _alpha(place).items():
            for head, own in enumerate(torch.sigmoid(alpha).tolist()):
                rows.append({"step": step, "layer": layer, "head": head, "own": own})
    return pd.DataFrame(rows).assign(seed=str(seed))


def _alpha(place: Path) -> Mapping[int, Float[Tensor, "head"]]:
    """Layer -> alpha of its heads, from one snapshot; empty where no key is smeared."""
    with safe_open(place / "model.safetensors", "pt") as file:
        keys = sorted(key for key in file.keys() if key.endswith("smear"))  # noqa: SIM118
        return {int(key.split("layers.")[1].split(".")[0]): file.get_tensor(key) for key in keys}


# --- trajectories in which there is nothing to find ---


def flattening(trajectory: Trajectory) -> Trajectory:
    """The same run with in-context scores that flatten all the time: from the end of the warm-up on
    each text's score approaches its last value exponentially, with the onset of the run's own."""
    steps, start = trajectory.steps, trajectory.warmup
    # An onset within the warm-up leaves no time: then the curve is as steep as one step allows.
    tau = max((trajectory.onset - start) / log(2), 1.0)
    way = 1 - torch.exp(-(steps - start).clamp(min=0) / tau)
    losses = torch.zeros_like(trajectory.losses)
    late = trajectory.scores[:, -1] * (way / way[-1])[:, None]
    losses[..., trajectory.places[1]] = late[..., None]
    return replace(trajectory, losses=losses)


def delayed(trajectory: Trajectory, factor: float) -> Trajectory:
    """The same run with everything after its warm-up `factor` times later, as far as its training
    goes."""
    past = trajectory.steps / factor
    curves = [trajectory.losses, trajectory.prefix, trajectory.previous]
    moved = [
        torch.stack([onsets.at(trajectory.steps, curve.movedim(0, -1), s) for s in past.tolist()])
        for curve in curves
    ]
    return replace(trajectory, losses=moved[0], prefix=moved[1], previous=moved[2])
