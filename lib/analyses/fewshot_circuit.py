"""The few-shot circuit examined: how it is learnt, which heads carry it, and how they are wired.

Idea. `trained` finds (or trains) the runs of a recipe. Fresh sequences, the same for all that is
compared, are shown to runs of it under clamps; many ablations of one model are that model on many
places of the run axis, each with clamps of its own:

    t = trained("fewshot", 3, p)
    shown = t.sequences(p)
    single = outcome(t, ["all"] * 8, shown, without_one())     # .right [run, sequence]

All results keep the axis of sequences, the independent units of every interval; the seeds of
training are the units of a verdict. Singh et al. 2024, section 3 and appendix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.data.fewshot_features import Sequences, Task
from lib.measures import learning
from lib.models import opening, run_training, training
from lib.models.run_recipes import HEADS, RunsRecipe
from lib.models.runs import PLACES_OF_LABELS, Runs
from lib.tracing import clamping

Said = Sequence[Mapping[str, Any]]  # clamps in words, one for each run
KINDS = ("training", "other_pairs", "other_classes", "other_exemplars")
EVALUATED = 1 << 20  # a stream of sequences that no training has


@dataclass(frozen=True)
class Trained:
    """The finished runs of a recipe and a seed."""

    recipe: RunsRecipe
    seed: int
    place: Path
    task: Task

    def open(self, names: Sequence[str], step: int | None = None) -> Runs:
        """Runs by name, at a snapshot (the last when None)."""
        return run_training.open_runs(self.place, self.recipe, names, step)

    @property
    def last(self) -> Path:
        """The last snapshot's directory."""
        return training.snapshots(self.place)[-1][1]

    def steps(self, name: str) -> list[int]:
        """Steps at which a run was kept."""
        kept = (step for step, _ in training.snapshots(self.place))
        return [step for step in kept if name in self.recipe.kept(step)]

    def curve(self, name: str) -> learning.Curve:
        """The loss of a run's training, smoothed."""
        log = training.read_log(self.place)
        return learning.smoothed(torch.tensor(log[name].to_numpy()))

    def sequences(self, p, kind: str = "training") -> Sequences:
        """Fresh sequences, with a run axis of 1: as in training, or of other pairs of labels,
        classes or exemplars."""
        rng = np.random.default_rng([self.seed, p.seed, EVALUATED])
        return getattr(self.task, kind)(rng, (1, p.fewshot_sequences))


def trained(name: str, seed: int, p) -> Trained:
    """The runs of a recipe at the profile's scale, trained first if they are not there yet."""
    recipe, place = opening.few_shot_runs(name, seed, p)
    return Trained(recipe, seed, place, run_training.task_of(recipe, seed))


# --- what comes out, under clamps ---


@dataclass(frozen=True)
class Outcome:
    """Loss in nats and whether the right label is the most likely, of each run and sequence."""

    losses: Float[Tensor, "run sequence"]
    right: Bool[Tensor, "run sequence"]
    seen: dict[str, Tensor] = field(repr=False)
    answer: Tensor = field(repr=False)

    @property
    def accuracy(self) -> Float[Tensor, "run"]:
        return self.right.double().mean(1)

    def strengths(self) -> Float[Tensor, "run head sequence"]:
        """Induction strength: attention from the query to the right label less that to the
        other."""
        return strengths(self.seen["second.pattern"], self.answer)


@torch.no_grad()
def outcome(
    t: Trained,
    names: Sequence[str],
    shown: Sequences,
    said: Said | None = None,
    read: Sequence[str] = (),
    step: int | None = None,
    held: Sequence[clamping.Clamp] = (),
) -> Outcome:
    """What runs make of sequences, each under its clamps: those of its training, and `said`."""
    trained_with = {variant.name: variant.clamps for variant in t.recipe.variants}
    more = said or [{}] * len(names)
    both = [{**trained_with[name], **own} for name, own in zip(names, more, strict=True)]
    return examine(t.open(names, step), shown, both, read, held)


@torch.no_grad()
def examine(
    model: Runs,
    shown: Sequences,
    said: Said,
    read: Sequence[str] = (),
    held: Sequence[clamping.Clamp] = (),
) -> Outcome:
    """What models on the run axis make of the same sequences under clamps."""
    every = shown[[0] * model.runs]
    logits, seen = clamping.run(model, every, [*clamping.of(said, HEADS), *held], read)
    target = every.target()
    losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    return Outcome(losses, logits.argmax(1) == target, seen, every.answer)


def strengths(
    pattern: Float[Tensor, "run head 1 5 sequence"], answer: Tensor
) -> Float[Tensor, "run head sequence"]:
    """Attention from the query to the right label less that to the other."""
    first, second = (pattern[:, :, -1, place] for place in PLACES_OF_LABELS)
    return (first - second) * (1 - 2 * answer[:, None])


# --- single heads and sets of them ---


def without_one() -> Said:
    """Each head of layer 2 silent in turn."""
    return [{"silence": {"layer": 1, "heads": [head]}} for head in range(HEADS)]


def with_only(groups: Sequence[Sequence[int]]) -> Said:
    """Only these heads of layer 2 not silent, one group after another."""
    return [{"only": {"heads": list(group)}} for group in groups]


def by_strength(strength: Float[Tensor, "head sequence"]) -> list[int]:
    """Heads, the strongest first."""
    return strength.mean(1).argsort(descending=True).tolist()


def adding_back(order: Sequence[int]) -> Said:
    """The first head of an order alone, then the first two, and so on."""
    return with_only([order[:size] for size in range(1, len(order) + 1)])


# --- through training ---


@dataclass(frozen=True)
class Followed:
    """A run at its snapshots: loss and strengths of fresh sequences, and the loss without the path
    from layer 1 to the output."""

    steps: Float[Tensor, "snapshot"]
    losses: Float[Tensor, "sequence snapshot"]
    strengths: Float[Tensor, "sequence head snapshot"]
    without_path: Float[Tensor, "sequence snapshot"]


def follow(t: Trained, name: str, shown: Sequences) -> Followed:
    """Read a run at every snapshot."""
    losses, strong, without = [], [], []
    for step in t.steps(name):
        said = [{}, {"no_direct_path": {}}]
        came = outcome(t, [name] * 2, shown, said, ["second.pattern"], step)
        losses.append(came.losses[0])
        without.append(came.losses[1])
        strong.append(came.strengths()[0])
    steps = torch.tensor(t.steps(name), dtype=torch.double)
    lines = (torch.stack(line, -1).double() for line in (losses, strong, without))
    loss, strength, path = lines
    return Followed(steps, loss, strength.transpose(0, 1), path)


# --- wiring ---


def previous_token(t: Trained, shown: Sequences) -> Float[Tensor, "head"]:
    """How much each head of layer 1 looks from the labels at the exemplar before them."""
    came = outcome(t, ["all"], shown, read=["first.pattern"])
    pattern = came.seen["first.pattern"][0]
    looks = [pattern[:, place, place - 1] for place in PLACES_OF_LABELS]
    return torch.stack(looks).mean((0, 2))


def weakened(
    t: Trained, shown: Sequences, step: int | None = None
) -> Float[Tensor, "from to sequence"]:
    """What each head of layer 2 loses of its strength when one head of layer 1 is silent."""
    said = [{}, *({"silence": {"layer": 0, "heads": [head]}} for head in range(HEADS))]
    came = outcome(t, ["all"] * len(said), shown, said, ["second.pattern"], step)
    strength = came.strengths()
    return strength[:1] - strength[1:]


def preserved(
    t: Trained, shown: Sequences, groups: Sequence[Sequence[int]], step: int | None = None
) -> dict[str, Bool[Tensor, "group sequence"]]:
    """Right answers without groups of heads of layer 1: `free`, or with layer 2's `pattern` or its
    `values` as they are with all heads."""
    names, read = ["all"] * len(groups), ["second.pattern", "second.values"]
    clean = outcome(t, names, shown, read=read, step=step).seen
    said = [{"silence": {"layer": 0, "heads": list(group)}} for group in groups]
    found = {"free": outcome(t, names, shown, said, step=step).right}
    for place in read:
        held = [clamping.Hold(place, clean[place])]
        found[place.split(".")[1]] = outcome(t, names, shown, said, step=step, held=held).right
    return found


# --- frames ---


def curves(runs: Sequence[Trained], names: Sequence[str], every: int = 10) -> pd.DataFrame:
    """Smoothed losses of training: columns thousand sequences, loss, run, seed."""
    parts = []
    for t in runs:
        for name in names:
            curve = t.curve(name)
            seen = curve.steps * t.recipe.batch / 1000
            columns = {"thousand sequences": seen[::every], "loss": curve.mean[::every]}
            parts.append(pd.DataFrame(columns).assign(run=name, seed=t.seed))
    return pd.concat(parts, ignore_index=True)


def learning_times(runs: Sequence[Trained]) -> pd.DataFrame:
    """Thousands of sequences until a run has learnt: columns run, thousand sequences, low, high,
    seed."""
    rows = []
    for t in runs:
        for name in t.recipe.names:
            time = learning.first_below(t.curve(name), learning.LEARNT)
            value, low, high = (float(x) * t.recipe.batch / 1000 for x in time)
            row = {"run": name, "thousand sequences": value, "low": low, "high": high}
            rows.append(row | {"seed": t.seed})
    return pd.DataFrame(rows)
