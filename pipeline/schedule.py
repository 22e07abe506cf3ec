"""Which models one job trains, and which job starts first.

A process takes seconds to start, so short runs of one recipe share one, as long as they take no
longer than the longest single run. The longest start first, so that no core waits at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lib import profiles
from lib.models import store
from lib.models.recipes import Recipe


class Job(NamedTuple):
    """One process: directories of runs of one recipe, trained one after the other."""

    name: str
    places: list[Path]
    cost: int


def jobs(names: Iterable[str], profile: profiles.Profile) -> list[Job]:
    """Every recipe in `names` with every seed, the costliest job first. Error: ValueError for an
    unknown recipe."""
    costs = {name: cost(store.recipe_of(name, profile)) for name in sorted(set(names))}
    longest = max(costs.values(), default=0)
    made = [
        Job(f"{name}_{start}", part, one * len(part))
        for name, one in costs.items()
        for start, part in _parts(store.places([name], profile), longest // one)
    ]
    return sorted(made, key=lambda job: -job.cost)


def cost(recipe: Recipe) -> int:
    """What a run takes, in layers times steps; the unembedding counts as a layer."""
    return recipe.steps * (recipe.architecture.layers + 1)


def _parts(places: list[Path], size: int) -> list[tuple[int, list[Path]]]:
    return [(start, places[start : start + size]) for start in range(0, len(places), size)]
