"""Families of heads on the axis of training: when they rise, and by how much they lead or lag.

Idea. A family are the heads whose score rises most, chosen on one half of the units (topics, verbs,
documents, sequences) and followed on the other half, both ways: so no head owes its curve to the
luck that chose it. Beside it stand as many heads drawn from the same layers, and the plain loss.

    heads = of(course.indexes["facts, source"], 3, rng, resamples)
    heads.onset(course.steps)                        # [draw]
    heads.onset(course.steps, heads.drawn_from(course.layer, rng))

Intervals resample topics of documents and prompts apart, for they are drawn apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.analyses.emergence import CHANCE, Course
from lib.measures import emergence, statistics
from lib.measures.emergence import Ratio

Sets = tuple[Tensor, Tensor]  # one for each half, Bool [*cell, head]
PATTERN = "pattern discovery"
RESAMPLES = 400  # of the units behind each curve: all heads of all relations are resampled together


@dataclass(frozen=True, eq=False)
class Family:
    """The heads that were chosen on each half, and the curves of all heads on the other half.

    Cells are relations, or nothing for scores that have none. `rises`: how far every head rises, on
    the half that chooses.
    """

    rises: tuple[Tensor, Tensor]  # Float [*cell, head]
    sets: Sets
    curves: tuple[Tensor, Tensor]  # Float [draw, *cell, head, snapshot]
    units: int

    def curve(self, sets: Sets | None = None) -> Float[Tensor, "draw snapshot"]:
        """Mean over the heads of the family, or of other sets, over cells and both halves."""
        parts = []
        for chosen, drawn in zip(sets or self.sets, self.curves, strict=True):
            weight = chosen.to(drawn) / chosen.sum()
            parts.append((drawn * weight[..., None]).flatten(1, -2).sum(1))
        return torch.stack(parts).mean(0)

    def onset(
        self, steps: Float[Tensor, " snapshot"], sets: Sets | None = None
    ) -> Float[Tensor, " draw"]:
        """Onset of that curve, of all units and of resamples."""
        return emergence.onset(steps, self.curve(sets))

    def drawn_from(
        self, layer: Int[Tensor, " head"], rng: np.random.Generator, sets: Sets | None = None
    ) -> Sets:
        """As many heads of the same layers in each cell, drawn among those not in the sets."""
        return tuple(_matched(chosen, layer, rng) for chosen in sets or self.sets)

    def rising(self, by: float) -> Sets:
        """All that rise by so much, on the half that chooses."""
        return tuple(rise >= by for rise in self.rises)

    def leads(
        self, steps: Float[Tensor, " snapshot"], event: Float[Tensor, " draw"], sets: Sets
    ) -> Float[Tensor, "draw member"]:
        """By how many doublings each member's own curve comes before an event."""
        parts = []
        for chosen, drawn in zip(sets, self.curves, strict=True):
            parts.append(emergence.lead(emergence.onset(steps, drawn[:, chosen]), event[:, None]))
        return torch.cat(parts, 1)


def _matched(
    chosen: Bool[Tensor, "*cell head"], layer: Int[Tensor, " head"], rng: np.random.Generator
) -> Bool[Tensor, "*cell head"]:
    rows = chosen.reshape(-1, chosen.shape[-1])
    return torch.stack([emergence.matched(row, layer, rng) for row in rows]).view_as(chosen)


def of(ratio: Ratio, k: int, rng: np.random.Generator, resamples: int) -> Family:
    """The k heads of each cell that rise most, by halves of the units."""
    parts = emergence.halves(ratio)
    rises = tuple(emergence.rise(part.value) for part in parts)
    chosen = tuple(emergence.highest(found, k) for found in rises)
    curves = tuple(part.draws(rng, resamples) for part in reversed(parts))
    return Family(rises, chosen, curves, len(ratio.above))


@dataclass(frozen=True, eq=False)
class Timing:
    """Onsets of one run, over resamples: of its levels, and of its families of heads."""

    course: Course
    k: int
    rng: np.random.Generator
    resamples: int = RESAMPLES

    @cached_property
    def levels(self) -> dict[str, Float[Tensor, " draw"]]:
        """Onset of each level, and of the plain loss."""
        return {name: emergence.onset(self.course.steps, x) for name, x in self.ability.items()}

    @cached_property
    def ability(self) -> dict[str, Float[Tensor, "draw snapshot"]]:
        """The curves of the levels: a pattern counts from what guessing gives on."""
        found = {}
        for name, samples in self.course.levels.items():
            drawn = statistics.draws(lambda mean: mean, samples, self.rng, self.resamples)
            found[name] = emergence.above_chance(drawn, CHANCE) if name == PATTERN else drawn
        return found

    @cached_property
    def families(self) -> dict[str, Family]:
        """By name: relation heads of each reading, copying heads, induction heads."""
        course = self.course
        prefix = {"prefix matching": Ratio(course.prefix, torch.ones_like(course.prefix))}
        copying = {f"copying, {name}": ratio for name, ratio in course.copying.items()}
        every: Mapping[str, Ratio] = {**course.indexes, **copying, **prefix}
        return {name: self.family(ratio) for name, ratio in every.items()}

    @cached_property
    def onsets(self) -> dict[str, Float[Tensor, " draw"]]:
        """Onset of each family."""
        return {name: f.onset(self.course.steps) for name, f in self.families.items()}

    def family(self, ratio: Ratio) -> Family:
        """The highest heads by another score of this run."""
        return of(ratio, self.k, self.rng, self.resamples)

    def lead(self, family: str, level: str, share: float = 0.5) -> float:
        """Doublings by which a family's onset comes before a level's, with the onset at another
        share of the way."""
        curves = self.families[family].curve()[0], self.ability[level][0]
        began = [emergence.onset(self.course.steps, curve, share) for curve in curves]
        return float(emergence.lead(*began))

    def at_pattern(self, factor: float | int = 1) -> float:
        """Step of pattern discovery's onset, times a factor."""
        return float(self.levels[PATTERN][0]) * factor


def timings(courses: Iterable[Course], k: int, rng: np.random.Generator) -> list[Timing]:
    """Of several runs, with families of k heads."""
    return [Timing(course, k, rng) for course in courses]
