"""Which models one job trains, and which job starts first.

A process takes seconds to start, so short runs of one recipe share one; none of these jobs takes
longer than the longest single run. The longest start first, so that no core waits at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lib import profiles
from lib.models import store
from lib.models.run_recipes import RunsRecipe


class Job(NamedTuple):
    """One process: a recipe trained with some seeds, one after the other."""

    recipe: str
    seeds: tuple[int, ...]
    places: list[Path]
    cost: int


def jobs(profile: profiles.Profile, names: Iterable[str]) -> list[Job]:
    """Every recipe in `names` with every seed of the profile, the costliest job first.

    Error: ValueError for an unknown recipe.
    """
    recipes = [store.recipe_of(name, profile) for name in sorted(set(names))]
    longest = max(map(cost, recipes), default=0)
    made = []
    for recipe in recipes:
        for seeds in _parts(profile.seeds, longest // cost(recipe)):
            places = store.places(recipe, seeds, profile)
            made.append(Job(recipe.name, seeds, places, cost(recipe) * len(seeds)))
    return sorted(made, key=lambda job: -job.cost)


def cost(recipe: store.Either) -> int:
    """What a run takes, in layers times steps; the unembedding counts as a layer."""
    if isinstance(recipe, RunsRecipe):
        return recipe.cost
    return recipe.steps * (recipe.architecture.layers + 1)


def _parts(seeds: Sequence[int], size: int) -> list[tuple[int, ...]]:
    return [tuple(seeds[start : start + size]) for start in range(0, len(seeds), size)]
