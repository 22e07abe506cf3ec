"""One organism put to the causal tests: its families of heads, what is lost without them, and the
nulls.

Idea. A `Study` reads a model once: which heads are in which family, and a `Trial` of it. Then
groups of sets of heads, by name, are removed together (`remove`), and `Removed` holds the shares
lost, level by level, with the same resamples for all groups, so that differences have intervals.

    study = Study.of("world", seed, p, world, corpus)
    gone = study.remove(study.groups(rng, p), "mean")
    gone.mean("pattern", "semantic") - gone.mean("pattern", "semantic: same layers")     # [draw]

Nulls. The same heads removed from the model *untrained*, and asked with *shuffled labels*; there
is nothing to lose, and what is lost is counted in shares of what the trained model has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lib.analyses import (
    ablation_effects,
    causes,
    function_vectors,
    head_families,
    relation_frames,
)
from lib.analyses.ablation_effects import Sets
from lib.analyses.causes import LEVELS, Trial
from lib.analyses.head_families import (
    FAMILIES,
    INDUCTION,
    PRINTED,
    SEMANTIC,
    VECTORS,
    Families,
)
from lib.analyses.importance import Importance
from lib.data import answers, fewshot
from lib.data.lexicon import RELATIONS
from lib.data.triplets import SYNTAX, Encoded
from lib.measures import statistics
from lib.models import opening, store

NULL_SETS = 4  # random sets that are enough where there is nothing to lose
LAYERS, ENTROPY, APART = ": same layers", ": like entropy", ": apart"
# Whose best are left out.
OTHER = {SEMANTIC: INDUCTION, PRINTED: "previous", INDUCTION: VECTORS, VECTORS: INDUCTION}
NULLS = UNTRAINED, SHUFFLED = "untrained", "shuffled labels"
LEVEL = 1 - 0.05 / len(FAMILIES)  # of intervals: one in twenty over all families together


@dataclass(frozen=True)
class Removed:
    """Shares lost by level [draw, set], and which sets a group's name stands for."""

    shares: Mapping[str, Float[Tensor, "draw set"]]
    places: Mapping[str, slice]
    units: Mapping[str, int]

    def of(self, level: str, group: str) -> Float[Tensor, "draw set"]:
        """Shares lost without each set of a group."""
        return self.shares[level][:, self.places[group]]

    def mean(self, level: str, group: str) -> Float[Tensor, "draw"]:
        """Mean over the sets of a group; not a number where there are none."""
        return self.of(level, group).mean(1)

    def table(self) -> pd.DataFrame:
        """One row a level and group: `removed`, `level`, `share lost`, `low`, `high`, `sets`; the
        ends are those over prompts, or the range over the sets of a group."""
        rows = []
        for level, group in ((level, group) for level in LEVELS for group in self.places):
            drawn = self.of(level, group)
            if drawn.shape[1]:
                ends = statistics.interval(drawn.mean(1), LEVEL)[1:]
                if drawn.shape[1] > 1:
                    ends = drawn[0].min(), drawn[0].max()
                low, high = map(float, ends)
                row = {"level": level, "removed": group, "share lost": float(drawn[0].mean())}
                rows.append(row | {"low": low, "high": high, "sets": drawn.shape[1]})
        return pd.DataFrame(rows)


@dataclass(frozen=True)
class Study:
    """A model, its families of heads, and the trials: its own, and those of the nulls."""

    seed: int
    heads: Families
    trial: Trial
    nulls: Mapping[str, Trial]
    p: object = field(repr=False)

    @classmethod
    def of(cls, name: str, seed: int, p, world, corpus, step: int | None = None) -> Study:
        """Read one of the book's own models at a snapshot (the last when None)."""
        rng = np.random.default_rng([p.seed, 10])  # the same prompts for every model and step
        opened = opening.open_organism(name, seed, p, step)
        asked = [
            fewshot.questions(world, rng, task, p.causal_shots, p.causal_prompts)
            for task in function_vectors.TASKS
        ]
        texts = torch.from_numpy(world.batch(rng, p.texts))
        mixed = [answers.shuffled(cell, rng) for cell in asked]
        trial = Trial(opened, asked, texts)
        newborn = opening.open_organism(name, seed, p, 0)
        nulls = {UNTRAINED: replace(trial, opened=newborn), SHUFFLED: replace(trial, asked=mixed)}
        heads = head_families.of_world(opened, world, corpus, rng, p)
        return cls(seed, heads, trial, nulls, p)

    @property
    def opened(self):
        """The model."""
        return self.trial.opened

    def families(self) -> dict[str, Sets]:
        """The best heads of each family, and of each without another's best."""
        k, groups = self.p.family_size, {}
        for family in FAMILIES:
            groups[family] = [self.heads.best(family, k)]
        for family, other in OTHER.items():
            groups[family + APART] = [self.heads.best(family, k, other)]
        return groups

    def groups(self, rng: np.random.Generator, draws: int) -> dict[str, Sets]:
        """These, the heads that semantic and induction heads share, and random sets beside each
        family."""
        groups = self.families()
        shared = self.heads.shared((SEMANTIC, INDUCTION), self.p.family_size)
        groups["shared"] = [shared] if shared else []
        for family in FAMILIES:
            groups |= self.matched(family, rng, draws)
        for family in (PRINTED, VECTORS):  # nobody asks what stands beside them by entropy
            groups.pop(family + ENTROPY)
        return groups

    def matched(self, family: str, rng: np.random.Generator, draws: int) -> dict[str, Sets]:
        """Random sets beside a family: of the same layers, and of like attention entropy."""
        heads = self.heads.best(family, self.p.family_size)
        same, _ = ablation_effects.controls(heads, self.opened, rng, draws)
        return {family + LAYERS: same, family + ENTROPY: self.heads.like(heads, rng, draws)}

    def remove(
        self, groups: Mapping[str, Sets], how: str = "mean", held: bool = False, null: str = ""
    ) -> Removed:
        """Take out each set of the groups, from the model itself or from a null."""
        trial = self.nulls[null] if null else self.trial
        sets = [heads for group in groups.values() for heads in group]
        outcome = trial.without(sets, how, held)
        ends = np.cumsum([0, *(len(group) for group in groups.values())])
        places = {name: slice(*ends[i : i + 2]) for i, name in enumerate(groups)}
        shares, units = {}, {}
        for number, level in enumerate((*LEVELS, causes.COUNTED)):
            rng = np.random.default_rng([self.p.seed, number])
            given = rng, self.p.resamples, self.trial
            shares[level] = causes.shares(trial, outcome, level, *given)
            units[level] = len(self.trial.whole(level))
        return Removed(shares, places, units)

    def nothing(self, groups: Mapping[str, Sets], null: str) -> Removed:
        """The same taken from a null, with fewer random sets."""
        return self.remove({name: sets[:NULL_SETS] for name, sets in groups.items()}, null=null)

    def importance(self) -> Importance:
        """Exact patching of every head, and attribution."""
        return Importance.of(self.opened, self.trial.asked)

    def doses(self, most: int, rng: np.random.Generator) -> pd.DataFrame:
        """Shares lost as the heads of a family, or random ones, are removed one after another:
        `heads removed`, `removed`, `level`, `share lost` (of random orders the mean)."""
        orders = {family: [self.heads.order(family)] for family in FAMILIES}
        every = self.heads.order(SEMANTIC)
        mixed = [rng.permutation(len(every)) for _ in range(NULL_SETS)]
        orders["random order"] = [list(map(every.__getitem__, order)) for order in mixed]
        groups = {}
        for (name, some), count in product(orders.items(), range(1, most + 1)):
            groups[name, count] = [order[:count] for order in some]
        gone = self.remove(groups)
        rows = []
        for level in LEVELS:
            for (name, count), where in gone.places.items():
                share = float(gone.shares[level][0, where].mean())
                row = {"heads removed": count, "removed": name, "level": level}
                rows.append(row | {"share lost": share, "seed": str(self.seed)})
        return pd.DataFrame(rows)


def documents(world, name: str, p) -> dict[str, Encoded]:
    """Texts of a world's facts and sentences on which relation indexes are taken."""
    rng = np.random.default_rng([p.seed, 11])
    tokenizer = opening.open_organism(name, p.seeds[0], p).tokenizer
    given = world, rng, p.universe_documents
    return {
        "graph": relation_frames.encode(*given, "graph", tokenizer, list(RELATIONS), p),
        "syntax": relation_frames.encode(*given, "sentences", tokenizer, list(SYNTAX), p),
    }


def check_second(p) -> None:
    """Find out before any work whether `second_recipe` can be asked. Error: ValueError for a recipe
    that there is not, or whose models read no world."""
    if p.second_recipe and store.recipe_of(p.second_recipe, p).corpus != "world":
        raise ValueError(
            f"second_recipe: {p.second_recipe} learns no relations. Name a recipe whose corpus is "
            "`world`, such as world_three_layer, or none."
        )


def beyond(gone: Removed, level: str, group: str, matched: str) -> Float[Tensor, "draw"]:
    """Share of a level lost without a group, less the mean over the sets that match it."""
    return gone.mean(level, group) - gone.mean(level, matched)


def ways(studies: Sequence[Study]) -> pd.DataFrame:
    """What is lost without each family by every way of removing it, patterns free or held."""
    rows = []
    for study in studies:
        for how, held in (*((how, False) for how in causes.WAYS), ("zero", True), ("mean", True)):
            groups = {family: study.families()[family] for family in FAMILIES}
            gone = study.remove(groups, how, held).table()
            way = how + (", patterns held" if held else "")
            rows.append(gone.assign(way=way, seed=str(study.seed)))
    return pd.concat(rows, ignore_index=True)
