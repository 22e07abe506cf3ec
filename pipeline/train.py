"""`python -m pipeline.train PROFILE_FILE MARK [MARK ...]`: train the book's models that the marks
stand for, or finish them."""

from __future__ import annotations

import sys
from pathlib import Path

from lib import files, profiles
from lib.models import store, training
from pipeline import process

# For the Snakefile, which removes a job's output before it runs it again: not the run's own record.
MARK = "trained"


def main(profile_file: str, *marks: str) -> None:
    """Train each model at the profile's scale, and mark its directory; `training.ensure` resumes
    whatever is there."""
    process.end_with_driver()
    profile = profiles.load(profile_file)
    for mark in marks:
        name, seed = store.RUN.fullmatch(Path(mark).parent.name).groups()
        recipe = store.recipe_of(name, profile)
        run = training.ensure(recipe, int(seed), files.store(profile))
        files.write_whole(run / MARK, "")


if __name__ == "__main__":
    main(*sys.argv[1:])
