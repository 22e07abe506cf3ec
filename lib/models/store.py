"""Where trained models are kept: one folder for all profiles, and in it a directory a run.

A directory's name carries a fingerprint of the recipe and of the code that its weights depend on.
So a profile finds what another one has trained, and what is stale is never read. Nothing here
imports torch, for a build asks these names before it starts anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from lib import files, profiles, sources
from lib.models.recipes import CORPORA, RECIPES, Recipe, scaled

DONE = "finished.json"  # written last: time taken, versions, checksums of the snapshots
RUN = re.compile(r"(?P<recipe>[a-z0-9_]+)-seed(?P<seed>\d+)-[0-9a-f]{10}")


def directory(recipe: Recipe, seed: int, models_dir: str | Path) -> Path:
    """The run's directory, whether or not it exists yet."""
    return Path(models_dir) / f"{recipe.name}-seed{seed}-{fingerprint(recipe)}"


def fingerprint(recipe: Recipe) -> str:
    """Ten hex digits of the recipe, the code that its weights depend on, and the versions of torch
    and numpy."""
    code = [
        "lib.models.training",
        *sources.closure(["lib.models.organisms", CORPORA[recipe.corpus].module]),
    ]
    parts = [
        recipe.model_dump_json(),
        *(metadata.version(name) for name in ("torch", "numpy")),
        sources.digest(sorted(set(code))),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def recipe_of(name: str, profile: profiles.Profile) -> Recipe:
    """A recipe at the profile's scale of training. Error: ValueError that lists the recipes."""
    if name not in RECIPES:
        raise ValueError(f"No recipe {name!r}. Recipes: {', '.join(sorted(RECIPES))}.")
    return scaled(RECIPES[name], profile.training_scale)


def places(recipe: Recipe, seeds: Iterable[int], profile: profiles.Profile) -> list[Path]:
    """Directories of the models of a recipe, one a seed."""
    return [directory(recipe, seed, files.store(profile)) for seed in seeds]
