"""`python -m pipeline.train PROFILE_FILE RECIPE SEED MARKER`: train one model of the book, or
finish it.

The marker names the run's directory; it changes only when the run does, so chapters run again only
then.
"""

from __future__ import annotations

import sys

from lib import files, profiles
from lib.models import training
from pipeline import process


def main(profile_file: str, name: str, seed: str, marker: str) -> None:
    """Train recipe `name` with `seed` at the profile's scale; `training.ensure` resumes whatever is
    there."""
    process.end_with_driver()
    profile = profiles.load(profile_file)
    if name not in training.RECIPES:
        raise SystemExit(
            f"No recipe {name!r}; lib/models/recipes.py has {', '.join(training.RECIPES)}."
        )
    recipe = training.scaled(training.RECIPES[name], profile.training_scale)
    run = training.ensure(recipe, int(seed), files.runs(profile) / "models")
    files.write_whole(marker, f"{run.name}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
