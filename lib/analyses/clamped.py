"""The circuit learnt with parts of it held fixed (Singh et al. 2024, section 4).

Idea. Every run has a name that says what is clamped, whatever recipe trains it. A run that differs
from another by its clamps alone started from the same weights and saw the same sequences.

    found = Clamped.of(seed, p)
    found["layer 1"]                        # a smoothed loss of training
    parts = Parts(seed)
    parts.plateau("fixed", found["layer 1"])

Evaluations of the clamps after the fact are `after_the_fact`, of grafted layers `grafted`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lib import files
from lib.analyses import fewshot_circuit
from lib.analyses.fewshot_circuit import Trained
from lib.measures import learning, plateaus, product, statistics
from lib.measures.statistics import Estimate, Interval
from lib.models import run_training, training
from lib.models.run_recipes import LIVE, RunsRecipe, Variant

# What a reader knows a run by -> its recipe and its name there.
SEQUENCES = 32  # a step of training, in every recipe
RUNS = {
    "none": ("fewshot", f"head {LIVE}"),
    "another head": ("fewshot", f"head {LIVE + 1}"),
    "previous token": ("fewshot_previous", "previous token"),
    "previous token, all heads": ("fewshot_previous", "previous token, all heads"),
    **{
        name: ("fewshot_clamped", name)
        for name in ("layer 1", "layer 1, zeroed", "copy", "layer 1 and copy")
    },
    "match": ("fewshot_clamped", "match 1"),
}
STRENGTHS = (1.0, 0.75, 0.6, 0.5, 0.4, 0.25, 0.0)
# A run of which one subcircuit is free -> the clamps that ask for it after the fact.
AFTER = {
    "B": ("layer 1 and copy", {"layer_one": {}, "copy": {"head": LIVE}}),
    "C": ("match", {"match": {"head": LIVE, "strength": 1.0}}),
}


@dataclass(frozen=True)
class Clamped:
    """The runs of a seed, by name."""

    seed: int
    recipes: dict[str, Trained]

    @classmethod
    def of(cls, seed: int, p) -> Clamped:
        """All of them, trained first if they are not there yet."""
        names = sorted({recipe for recipe, _ in RUNS.values()})
        return cls(seed, {name: fewshot_circuit.trained(name, seed, p) for name in names})

    def __getitem__(self, name: str) -> learning.Curve:
        """The smoothed loss of a run: a name of `RUNS`, or of `fewshot_clamped`."""
        recipe, run = RUNS.get(name, ("fewshot_clamped", name))
        return curve_of(self.recipes[recipe], run)


def own(
    variants: Sequence[Variant], p, steps: int, seed: int = 100, **task: Any
) -> dict[str, learning.Curve]:
    """Smoothed losses of a reader's own runs, by name: trained side by side, on a seed that no
    verdict uses, and kept. `task` may name `classes`, `labels` and `lr`. Errors: as `RunsRecipe`
    and `run_training.ensure`."""
    made = RunsRecipe(
        name="own", variants=tuple(variants), steps=steps, snapshots=(0, steps), **task
    )
    log = training.read_log(run_training.ensure(made, seed, files.store(p), progress=False))
    return {name: plateaus.smoothed(torch.tensor(log[name].to_numpy())) for name in made.names}


def curve_of(t: Trained, name: str) -> learning.Curve:
    """The loss of a run's training, mean over twenty steps."""
    log = training.read_log(t.place)
    return plateaus.smoothed(torch.tensor(log[name].to_numpy()))


# --- estimates ---


@dataclass(frozen=True)
class Parts:
    """Estimates of a seed; `n` are the steps behind each mean of a loss, each with sequences of its
    own."""

    seed: int

    def of(self, part: str, found: Interval) -> Estimate:
        return Estimate.of(part, self.seed, found, plateaus.WINDOW)

    def plateau(self, part: str, curve: learning.Curve) -> Estimate:
        """Share of the learning time on the plateau."""
        return self.of(part, plateaus.share(curve))

    def learnt_plateau(self, part: str, curve: learning.Curve) -> Estimate:
        """The same, and no number for a run that never learns: it may not have come there yet."""
        learnt = torch.isfinite(learning.first_below(curve, learning.LEARNT).value)
        unknown = Interval(*torch.full((3,), torch.nan))
        return self.of(part, plateaus.share(curve) if learnt else unknown)

    def later(self, part: str, one: learning.Curve, other: learning.Curve) -> Estimate:
        """Doublings of training by which one run learns later than another."""
        return self.of(part, plateaus.later(one, other))


def beside(
    measure: Callable[[learning.Curve], Estimate],
    subject: learning.Curve,
    nulls: Mapping[str, learning.Curve],
) -> list[Estimate]:
    """One measure of a claim's own subject, and of each null by name."""
    return [measure(subject), *(measure(null).on(name) for name, null in nulls.items())]


# --- the toy product ---

TOY = {"none": 0, "one of three": 1, "two of three": 2}


def toys(rng: np.random.Generator, draws: int) -> dict[str, Float[Tensor, "draw step"]]:
    """Losses of the toy by how much of the product is clamped."""
    return {name: product.descend(rng, held, draws) for name, held in TOY.items()}


def toy_share(losses: Float[Tensor, "draw step"]) -> Float[Tensor, "draw"]:
    """Share of the learning time within a tenth of the first loss, as for the circuit."""
    return product.until(losses, 1 - learning.NEAR) / product.until(losses, 0.4)


def toy_mean(
    part: str, seed: int, values: Float[Tensor, "draw"], rng: np.random.Generator, resamples: int
) -> Estimate:
    """Mean over draws of the toy with its interval."""
    found = statistics.bootstrap_mean(values, rng, resamples)
    return Estimate.of(part, seed, found, len(values))


# --- clamps after the fact ---


@dataclass(frozen=True)
class Progress:
    """Losses of the run without a clamp at its snapshots, as trained and with all but one
    subcircuit clamped."""

    steps: Float[Tensor, "snapshot"]
    losses: dict[str, Float[Tensor, "sequence snapshot"]]


def after_the_fact(found: Clamped, p) -> Progress:
    """Clamp at each snapshot all but one subcircuit of a run that was trained without a clamp."""
    t, name = found.recipes["fewshot"], f"head {LIVE}"
    shown, asked = t.sequences(p), {"whole": {}} | {k: said for k, (_, said) in AFTER.items()}
    kept = t.steps(name)
    steps = [*kept[::2], *kept[-1:]] if len(kept) % 2 == 0 else kept[::2]
    every = [
        fewshot_circuit.outcome(t, [name] * len(asked), shown, list(asked.values()), step=step)
        for step in steps
    ]
    losses = torch.stack([one.losses for one in every], -1).double()
    at = torch.tensor(steps, dtype=torch.double)
    return Progress(at, dict(zip(asked, losses, strict=True)))


# --- frames ---


def frame(runs: Sequence[Clamped], names: Sequence[str], last: int, every: int = 5) -> pd.DataFrame:
    """Smoothed losses: columns sequences, loss, clamp, seed."""
    parts = []
    for found in runs:
        for name in names:
            curve = found[name]
            kept = curve.steps <= last
            columns = {"step": curve.steps[kept][::every], "loss": curve.mean[kept][::every]}
            parts.append(pd.DataFrame(columns).assign(clamp=name, seed=found.seed))
    made = pd.concat(parts, ignore_index=True)
    return made.assign(sequences=made.pop("step") * SEQUENCES, loss=made.loss.round(4))


def times(runs: Sequence[Clamped], names: Sequence[str]) -> pd.DataFrame:
    """Sequences until each run has learnt, and its plateau, with intervals."""
    rows = []
    for found in runs:
        for name in names:
            value, low, high = (float(x) * SEQUENCES for x in plateaus.learnt(found[name]))
            share = float(plateaus.share(found[name]).value)
            told = {"sequences": value, "low": low, "high": high, "plateau": share}
            rows.append({"clamp": name, "seed": found.seed, **told})
    return pd.DataFrame(rows)


def shapes(runs: Sequence[Clamped], names: Sequence[str], points: int = 60) -> pd.DataFrame:
    """Losses over half as long again as learning takes, beside the exponential that is learnt at
    the same step: columns sequences, loss, exponential, clamp, seed."""
    parts = []
    for found in runs:
        for name in names:
            curve, smooth = found[name], plateaus.exponential(found[name])
            last = min(1.5 * float(plateaus.learnt(curve).value), curve.start + len(curve.mean))
            index = torch.linspace(0, last - curve.start - 1, points).round().long()
            columns = {
                "sequences": curve.steps[index] * SEQUENCES,
                "loss": curve.mean[index],
                "exponential": smooth.mean[index],
            }
            parts.append(pd.DataFrame(columns).assign(clamp=name, seed=found.seed))
    return pd.concat(parts, ignore_index=True).round(3)


def smallest(intervals: Sequence[Interval]) -> Interval:
    """The one of the smallest value."""
    return min(intervals, key=lambda one: float(one.value))


# --- match strength ---


def generalised(found: Clamped, name: str, p, kind: str) -> Float[Tensor, "sequence"]:
    """1 for each right answer of a run with a clamped match, on a kind of sequences."""
    t = found.recipes["fewshot_clamped"]
    return fewshot_circuit.outcome(t, [name], t.sequences(p, kind)).right[0].double()


def time_after(progress: Progress, part: str, rng: np.random.Generator, resamples: int) -> Interval:
    """Steps until a curve of after the fact is learnt, not a number where it never is; sequences
    are resampled."""

    def until(curves: Float[Tensor, "draw snapshot"]) -> Float[Tensor, "draw"]:
        below = curves < learning.LEARNT
        right = below.double().argmax(-1).clamp(min=1)[..., None]
        before, after = curves.gather(-1, right - 1), curves.gather(-1, right)
        share = (before - learning.LEARNT) / (before - after)
        steps = progress.steps
        found = (steps[right - 1] + share * (steps[right] - steps[right - 1]))[..., 0]
        return torch.where(below.any(-1), found, torch.nan)

    return statistics.bootstrapped(until, progress.losses[part], rng, resamples)


def size(one: Interval) -> Interval:
    """Its values without their sign; an interval that holds zero begins there."""
    ends = one.low.abs(), one.high.abs()
    crosses = one.low.sign() != one.high.sign()
    low = torch.where(crosses, torch.zeros_like(one.low), torch.minimum(*ends))
    return Interval(one.value.abs(), low, torch.maximum(*ends))


def progress_frame(found: Clamped, progress: Progress) -> pd.DataFrame:
    """Losses of the whole and of each subcircuit, after the fact and trained alone: columns
    sequences, loss, how, what."""
    last = int(progress.steps[-1])
    alone = {what: run for what, (run, _) in AFTER.items()} | {"whole": "none"}
    parts = []
    for what, losses in progress.losses.items():
        columns = {"sequences": progress.steps * SEQUENCES, "loss": losses.mean(0)}
        read = "read off the whole run"
        parts.append(pd.DataFrame(columns).assign(how=read, what=what))
        trained = frame([found], [alone[what]], last, every=20)[["sequences", "loss"]]
        parts.append(trained.assign(how="as trained", what=what))
    return pd.concat(parts, ignore_index=True).round(3)


def match_frame(runs: Sequence[Clamped], p) -> pd.DataFrame:
    """Right answers by strength of the clamped match, on pairs of labels that training has shown
    and on others."""
    kinds = {"training": "training pairs of labels", "other_pairs": "held-out pairs"}
    rows = []
    for found in runs:
        for strength in STRENGTHS:
            for kind, said in kinds.items():
                right = float(generalised(found, f"match {strength:g}", p, kind).mean())
                told = {"sequences": said, "right answers": right, "seed": found.seed}
                rows.append({"strength": strength, **told})
    return pd.DataFrame(rows)
