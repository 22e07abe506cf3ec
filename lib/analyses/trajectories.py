"""A model through training: losses and head scores at every snapshot.

Idea. `follow` loads the snapshots of a run one after the other into one opened model, and reads at
each of them the losses on fixed texts and the scores of all heads on fixed repeats of random
tokens. What comes out, a `Trajectory`, holds one value per snapshot *and text*, so that every
number about training has an interval over texts:

    two = follow("two_layer", 0, p, texts_of("two_layer", p))
    two.window                                  # (start, end) of the phase change, in steps
    trajectory_parts.Parts(rng, p.resamples).formed("gain", two)

The estimators stand in `lib.measures.onsets`; beside this module, `trajectory_parts` has what
claims ask of trajectories, `trajectory_nulls` those in which there is nothing to find,
`pairs_and_lists` texts of special kinds, and `trajectory_tables` frames of many runs.

Caveat. An interval over texts says how well *this* model is known; how much models differ is what
the seeds are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.analyses import phase_reading, readings
from lib.data import documents
from lib.measures import onsets, scores
from lib.models import opening, store
from lib.models import series as checkpoint_series
from lib.models.recipes import RECIPES
from lib.tracing import capture


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
    last: Path | None = None  # directory of the last snapshot
    copying: Float[Tensor, "snapshot sequence layer head"] | None = None  # of a reader's model
    read: checkpoint_series.Series | None = None  # the checkpoints of a reader's model

    @cached_property
    def scores(self) -> Float[Tensor, "text snapshot"]:
        """In-context score of each text in nats: loss near the end less loss near the start of the
        context."""
        return scores.in_context_score(self.losses, *self.places).T

    @property
    def places(self) -> tuple[slice, slice]:
        """The early and the late places of a text."""
        return scores.windows(self.losses.shape[2] + 1)

    @cached_property
    def loss(self) -> Float[Tensor, "text snapshot"]:
        """Mean loss of each text."""
        return self.losses.mean(2).T

    @cached_property
    def heads(self) -> Float[Tensor, "sequence head snapshot"]:
        """Prefix-matching scores, heads of all layers in one axis."""
        return self.prefix.flatten(2).permute(1, 2, 0)

    @cached_property
    def matching(self) -> tuple[int, int]:
        """Layer and head that match most at the end of training."""
        most = int(self.heads[..., -1].mean(0).argmax())
        return divmod(most, self.prefix.shape[3])

    @cached_property
    def best(self) -> Float[Tensor, "sequence snapshot"]:
        """Prefix matching of the head that matches most at the end of training."""
        return self.prefix[:, :, *self.matching].T

    @cached_property
    def carrier(self) -> Float[Tensor, "sequence snapshot"]:
        """Previous-token score of the head that looks at the token before most at the end."""
        looks = self.previous.flatten(2).permute(1, 2, 0)
        return looks[:, looks[..., -1].mean(0).argmax()]

    @cached_property
    def window(self) -> tuple[float, float]:
        """The doubling of training in which most of the in-context score forms."""
        return onsets.window(self.steps, self.scores.mean(0))

    @property
    def held(self) -> float:
        """Share of the final in-context score that forms within the window."""
        return float(onsets.share_within(self.steps, self.scores.mean(0), *self.window))

    @property
    def middle(self) -> float:
        """Middle of the window, in doublings."""
        return (self.window[0] * self.window[1]) ** 0.5

    @cached_property
    def onset(self) -> float:
        """Step at which the in-context score has made half of its way."""
        return float(onsets.crossing(self.steps, self.scores.mean(0)))

    @cached_property
    def slopes(self) -> Float[Tensor, "text snapshot"]:
        """Slope of each text's loss over ln(index), past a tenth of the context, in nats per
        e-fold."""
        return onsets.slope_in_log(self.losses, round(0.1 * self.losses.shape[2])).T

    @property
    def flags(self) -> dict[str, list[int]]:
        """What a figure marks on the axis of steps: duplicated and missing checkpoints."""
        return self.read.flags if self.read else {}

    @property
    def scale(self) -> Literal["linear", "symlog"]:
        """Of the axis of steps."""
        return self.read.scale if self.read else "linear"

    @property
    def remarks(self) -> str:
        """What a caption says of a reader's checkpoints."""
        return self.read.remarks if self.read else "Snapshots of the book's own model stand in."

    def frame(self, **labels: object) -> pd.DataFrame:
        """One row per snapshot: score, losses, prefix matching of the best head then, and
        labels."""
        columns = {
            "step": self.steps,
            "in-context score": self.scores.mean(0),
            "loss": self.loss.mean(0),
            "loss at late tokens": self.losses[..., self.places[1]].mean((1, 2)),
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

    def along(self, moments: Mapping[str, float]) -> pd.DataFrame:
        """One row per place in the text and named moment of training: the mean loss there."""
        by_index = self.losses.mean(1).T  # [position, snapshot]
        index = range(1, len(by_index) + 1)
        frames = []
        for name, step in moments.items():
            loss = onsets.at(self.steps, by_index, step)
            moment = f"{name} (step {step:.0f})"
            frames.append(pd.DataFrame({"index": index, "loss": loss, "moment": moment}))
        return pd.concat(frames, ignore_index=True)

    def speed(self) -> pd.DataFrame:
        """One row per pair of snapshots after the warm-up: fall of the loss per e-fold of training,
        and the step in multiples of the onset."""
        later = self.steps >= max(1, self.warmup)
        at, mean = self.steps[later], self.loss.mean(0)[later]
        steps, slope = (at[1:] * at[:-1]).sqrt(), mean.diff() / at.log().diff()
        columns = {"step": steps, "step / onset": steps / self.onset, "dLoss / dln(tokens)": slope}
        return pd.DataFrame(columns)


# --- reading ---


def texts_of(name: str, p) -> Int[Tensor, "text token"]:
    """`p.trajectory_texts` fresh texts of the kind that a recipe trains on; the same for every
    model of that kind."""
    rng = np.random.default_rng([p.seed, 1])
    return torch.from_numpy(RECIPES[name].make_corpus().batch(rng, p.trajectory_texts))


def follow(name: str, seed: int, p, texts: Int[Tensor, "text token"]) -> Trajectory:
    """Read one of the book's own models at every snapshot, training it first if it is not there
    yet."""
    kept = opening.organism_snapshots(name, seed, p)
    opened = opening.open_model(kept[0])
    repeats = phase_reading.repeats(opened, (opened.context - 1) // phase_reading.REPEATS, p)
    found = opening.snapshots_in_turn(opened, kept.values())
    rows = [phase_reading.snapshot(model, texts, repeats) for _, model in found]
    found = _trajectory(name, seed, kept, rows)
    return replace(found, warmup=store.recipe_of(name, p).warmup, last=kept[max(kept)])


def follow_seeds(name: str, p, texts: Int[Tensor, "text token"] | None = None) -> list[Trajectory]:
    """The book's own models of a recipe, one a seed, on texts of the kind that it trains on or on
    these."""
    seen = texts_of(name, p) if texts is None else texts
    return [follow(name, seed, p, seen) for seed in p.seeds]


def follow_all(names: Mapping[str, str], p) -> dict[str, list[Trajectory]]:
    """`follow_seeds` of several recipes, by kind of model."""
    return {kind: follow_seeds(name, p) for kind, name in names.items()}


def series(p) -> Trajectory:
    """The checkpoint series that a profile names, on its documents or on repeats of random tokens:
    what is kept of it, and what has to be read still.

    Errors: as `documents.read` and `lib.models.series.measured`.
    """
    if p.documents_file:
        documents.read(Path(p.data_dir) / p.documents_file)
    read = checkpoint_series.measured(p, readings.PHASE)
    rows = zip(*(read.found[name] for name in ("losses", "prefix", "previous")), strict=True)
    course = _trajectory(p.model or "series", None, read.steps.tolist(), rows)
    return replace(course, copying=read.found.get("copying"), read=read)


def looks(
    run: Trajectory, p, tokens: Int[Tensor, "1 place"]
) -> Float[Tensor, "snapshot query key"]:
    """Where the head that matches most at the end of training looks on one text, at every snapshot
    of one of the book's own models."""
    layer, head = run.matching
    kept = opening.organism_snapshots(run.name, run.seed, p)
    opened = opening.open_model(kept[0])
    found = opening.snapshots_in_turn(opened, kept.values())
    return torch.stack([capture.patterns(m, tokens, [layer])[0, 0, head] for _, m in found])


def _trajectory(name: str, seed: int | None, steps, rows) -> Trajectory:
    """From what `snapshot` gives at each step."""
    losses, prefix, previous = (torch.stack(column) for column in zip(*rows, strict=True))
    at = torch.tensor(list(steps), dtype=torch.float32)
    return Trajectory(name, seed, at, losses, prefix, previous)
