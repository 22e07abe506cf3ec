"""`python -m pipeline.train PROFILE_FILE MARK [MARK ...]`: train models of the book, or finish
them.

A mark is a file in a model's directory. It is the Snakefile's, which removes a job's outputs before
it runs the job again; the model's own record stays where it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lib import files, profiles
from lib.models import run_training, store, training
from lib.models.run_recipes import RunsRecipe
from pipeline import process


def main(profile_file: str, *marks: str) -> None:
    """Train each model at the profile's scale; `training.ensure` resumes whatever is there.

    Errors: SystemExit for a directory that belongs to other code or another scale.
    """
    process.end_with_driver()
    profile = profiles.load(profile_file)
    for mark in map(Path, marks):
        said = store.RUN.fullmatch(mark.parent.name)
        recipe = store.recipe_of(said["recipe"], profile)
        module = run_training if isinstance(recipe, RunsRecipe) else training
        run = module.ensure(recipe, int(said["seed"]), files.store(profile))
        if run.name != mark.parent.name:
            raise SystemExit(f"The code of {run.name} has changed since the build began: again.")
        files.write_whole(run / mark.name, "")


if __name__ == "__main__":
    main(*sys.argv[1:])
