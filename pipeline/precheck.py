"""What would stop a chapter is found before anything is trained for it, and what a reader's model
takes is said before its weights are fetched.

The chapters look at the same things again, for they run without a build, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib import files, profiles
from pipeline import cost, dependencies


def found(profile: profiles.Profile) -> None:
    """Look for all that a profile names beside the book's own models, and print what the model
    takes.

    Errors: FileNotFoundError, ValueError with the cure.
    """
    if profile.documents_file:
        from lib.data import documents

        documents.read(Path(profile.data_dir) / profile.documents_file)
    if profile.agenda_file or profile.treebank_file or profile.spacy_model:
        from lib.data import corpora

        corpora.check(profile)
    if profile.model or profile.checkpoints:
        first = described(profile)
        if profile.model:
            fed(profile, first)
        print(said(profile, first), flush=True)


def described(profile: profiles.Profile) -> Any:
    """The first model that the profile names, as far as it is known without its weights, after all
    of them were looked at. Errors: as `found`."""
    from lib.models import opening  # takes seconds to import, which most builds need not wait for

    return next(iter(opening.check_parameters(profile).values()))


def fed(profile: profiles.Profile, model: Any) -> None:
    """Whether the model can be fed what its chapters feed it. Error: ValueError."""
    from lib.analyses import reader_model

    kinds = dependencies.feeds(files.ROOT / "chapters", profile)
    reader_model.check(model, profile, kinds)


def cost_of(profile: profiles.Profile) -> str:
    """What the profile's model takes, in lines. Errors: as `found`."""
    return said(profile, described(profile))


def said(profile: profiles.Profile, model: Any) -> str:
    """The cost, and the commit that a name on the hub stands for today."""
    asked = cost.asked(profile, files.ROOT / "chapters")
    told = cost.estimate(cost.Sizes.of(model.config), profile, asked).told(model.name)
    commit, revision = getattr(model.config, "_commit_hash", None), model.revision
    if commit and commit != revision:
        told += f"\n  Its revision {revision or 'main'} is commit {commit} today: name that one."
    return told
