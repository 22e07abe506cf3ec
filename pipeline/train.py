"""`python -m pipeline.train PROFILE_FILE RECIPE SEED [SEED ...]`: train models of the book, or finish
them."""

from __future__ import annotations

import sys

from lib import files, profiles
from lib.models import store, training
from pipeline import process

# For the Snakefile, which removes a job's output before it runs it again: not the run's own record.
MARK = "trained"


def main(profile_file: str, name: str, *seeds: str) -> None:
    """Train recipe `name` with each seed at the profile's scale; `training.ensure` resumes whatever
    is there."""
    process.end_with_driver()
    profile = profiles.load(profile_file)
    try:
        recipe = store.recipe_of(name, profile)
    except ValueError as error:
        raise SystemExit(f"{error}") from None
    for seed in map(int, seeds):
        run = training.ensure(recipe, seed, files.store(profile))
        files.write_whole(run / MARK, "")


if __name__ == "__main__":
    main(*sys.argv[1:])
