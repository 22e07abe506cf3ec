"""Which models one job trains, and which job starts first.

A process takes seconds to start, so short runs of one recipe share one; none of these jobs takes
longer than the longest single run. The longest start first, so that no core waits at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lib.models.recipes import RECIPES, Recipe


class Job(NamedTuple):
    """One process: a recipe trained with some seeds, one after the other."""

    recipe: str
    seeds: tuple[int, ...]
    cost: int


def jobs(names: Iterable[str], seeds: Sequence[int]) -> list[Job]:
    """Every recipe in `names` with every seed, the costliest job first. Error: SystemExit for an
    unknown recipe."""
    if unknown := sorted(set(names) - RECIPES.keys()):
        raise SystemExit(
            f"No recipe {unknown[0]!r}; lib/models/recipes.py has {', '.join(RECIPES)}."
        )
    costs = {name: cost(RECIPES[name]) for name in sorted(set(names))}
    longest = max(costs.values(), default=0)
    made = [
        Job(name, part, one * len(part))
        for name, one in costs.items()
        for part in _parts(seeds, longest // one)
    ]
    return sorted(made, key=lambda job: -job.cost)


def cost(recipe: Recipe) -> int:
    """What a run takes, in layers times steps; the unembedding counts as a layer."""
    return recipe.steps * (recipe.architecture.layers + 1)


def _parts(seeds: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(seeds[start : start + size]) for start in range(0, len(seeds), size)]
