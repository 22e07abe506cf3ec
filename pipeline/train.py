"""`python -m pipeline.train PROFILE_FILE RECIPE SEED MARKER [SEED MARKER ...]`: train models of the
book, or finish them.

A marker names the run's directory; it changes only when the run does, so chapters run again only
then.
"""

from __future__ import annotations

import sys

from lib import files, profiles
from lib.models import training
from pipeline import process


def main(profile_file: str, name: str, *pairs: str) -> None:
    """Train recipe `name` with each seed at the profile's scale; `training.ensure` resumes whatever
    is there."""
    process.end_with_driver()
    profile = profiles.load(profile_file)
    recipe = training.scaled(training.RECIPES[name], profile.training_scale)
    for seed, marker in zip(pairs[::2], pairs[1::2], strict=True):
        run = training.ensure(recipe, int(seed), files.runs(profile) / "models")
        files.write_whole(marker, f"{run.name}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
