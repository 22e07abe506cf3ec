"""`python -m pipeline.build PROFILE [--edition=NAME] [targets and options of snakemake]`: the
Makefile's way into the Snakefile. Paths count from the repository, wherever it is called."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from lib import files, profiles
from pipeline import dependencies, editions, gates, precheck, process

HERE = ("local", "dryrun", "touch")  # executors that snakemake brings


def arguments(profile: str, more: list[str], edition: str = "") -> list[str]:
    """The snakemake command line: all cores but one reader's model at a time, our lock instead of
    its own, and what was cut short is done again.

    The lines of a rule are no reason to run it again, for all that matters stands in names and
    parameters. They would hide reasons, too: what depends on a rule that runs again is not asked
    for its own, and models are `ancient`, so a chapter that had changed would not be executed.
    """
    config = f"profile={profile} edition={edition}" if edition else f"profile={profile}"
    fixed = f"--config {config} --quiet rules host reason --scheduler greedy"
    fixed += " --rerun-triggers mtime params input"
    fixed += " --resources model=1 gpu=1 --nolock --rerun-incomplete --cores all"
    # Explicit options come last and win: `make book OPTIONS="--cores 1"`.
    return ["-m", "snakemake", *fixed.split(), *more]


def found(profile: profiles.Profile) -> None:
    """Look for what the profile names beside the book's own models. Errors: OSError, ValueError
    with the cure."""
    precheck.found(profile)


def executor(options: Sequence[str]) -> None:
    """Whether snakemake can send jobs where the options say. Error: ValueError with the package
    that it needs."""
    named = [b for a, b in pairwise(options) if a in ("--executor", "-e")]
    named += [o.partition("=")[2] for o in options if o.startswith("--executor=")]
    for name in named:
        module = f"snakemake_executor_plugin_{name.replace('-', '_')}"
        if name not in HERE and importlib.util.find_spec(module) is None:
            package = module.replace("_", "-")
            raise ValueError(
                f"--executor {name} needs the package {package}: "
                f".venv/bin/python -m pip install -c constraints.txt {package}"
            )


def redo_overwritten(executed: list[Path]) -> None:
    """Remove executed chapters whose results another run has overwritten since, so that they are
    executed again."""
    for chapter in executed:
        if chapter.is_file() and (why := gates.foreign(chapter)):
            print(f"{chapter.stem} is executed again: its results {why}.", flush=True)
            chapter.unlink()


def main(profile: str = "", *more: str) -> None:
    """Check the profile, take its lock and become snakemake."""
    os.chdir(files.ROOT)
    if not profile:
        raise SystemExit("Name a profile: make book PROFILE=embedded")
    edition, options = "", list(more)
    if options and options[0].startswith("--edition="):
        edition = options.pop(0).partition("=")[2]
    file = Path("params") / f"{profile}.yaml"
    try:
        loaded = profiles.load(file)
        editions.named(edition)
    except (profiles.ProfileError, FileNotFoundError, ValueError) as error:
        raise SystemExit(f"{error}") from None
    if loaded.profile != profile:
        raise SystemExit(
            f"{file}: `profile` is {loaded.profile!r}, but the file is named {profile!r}: "
            "make them the same."
        )
    toc = Path("book/_toc.yml")
    if stray := gates.unlisted(toc, Path("chapters")):
        raise SystemExit(
            f"Not in book/_toc.yml: {', '.join(stray)}. "
            "Add them to a part, so that they have a place in the book."
        )
    try:
        executor(options)
        found(loaded)
    except (OSError, ValueError) as error:
        raise SystemExit(f"{file}: {error}") from None
    for chapter in sorted(Path("chapters").glob("[0-9]*.ipynb")):
        if (needs := dependencies.lacking(chapter, loaded)) is not None:
            why = f": {file} sets no {' or '.join(needs)}." if needs else "."
            print(f"{chapter.stem} examines the book's own models only{why}", flush=True)
    process.hold(files.runs(loaded) / ".lock")
    executed = files.runs(loaded) / "chapters"
    redo_overwritten([executed / f"{name}.ipynb" for name in gates.chapters_of(toc)])
    process.name_driver()
    os.execv(sys.executable, [sys.executable, *arguments(profile, options, edition)])


if __name__ == "__main__":
    main(*sys.argv[1:])
