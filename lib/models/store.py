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
from lib.models.run_recipes import CODE, RUNS, RunsRecipe

DONE = "finished.json"  # written last: time taken, versions, checksums of the snapshots
RUN = re.compile(r"(?P<recipe>[a-z0-9_]+)-seed(?P<seed>\d+)-[0-9a-f]{10}")
# What few-shot training imports that no weight of it depends on: where files lie, how recipes look,
# and the organisms, whose training shares the keeping of runs.
ASIDE = frozenset(
    f"lib.{name}"
    for name in ("files", "profiles", "sources", "models.store", "models.organisms")
    + ("models.recipes", "models.run_recipes")
)

Either = Recipe | RunsRecipe


def directory(recipe: Either, seed: int, models_dir: str | Path) -> Path:
    """The run's directory, whether or not it exists yet."""
    return Path(models_dir) / f"{recipe.name}-seed{seed}-{fingerprint(recipe)}"


def fingerprint(recipe: Either) -> str:
    """Ten hex digits of the recipe, the code that its weights depend on, and the versions of torch
    and numpy."""
    parts = [
        recipe.model_dump_json(),
        *(metadata.version(name) for name in ("torch", "numpy")),
        sources.digest(sorted(set(_code(recipe)))),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def _code(recipe: Either) -> list[str]:
    """Modules of lib that the weights depend on."""
    if isinstance(recipe, RunsRecipe):
        return sources.closure(CODE, without=ASIDE)
    corpus = CORPORA[recipe.corpus].module
    return ["lib.models.training", *sources.closure(["lib.models.organisms", corpus])]


def recipe_of(name: str, profile: profiles.Profile) -> Either:
    """A recipe at the profile's scale of training. Error: ValueError that lists the recipes."""
    known = {**RECIPES, **RUNS}
    if name not in known:
        raise ValueError(f"No recipe {name!r}. Recipes: {', '.join(sorted(known))}.")
    return scaled(known[name], profile.training_scale)


def places(recipe: Either, seeds: Iterable[int], profile: profiles.Profile) -> list[Path]:
    """Directories of the models of a recipe, one a seed."""
    return [directory(recipe, seed, files.store(profile)) for seed in seeds]
