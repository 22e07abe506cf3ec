"""What may be published: every chapter of the table of contents, executed whole, from its present
code and parameters, beside the very results that this execution left.

Jupyter Book itself publishes tracebacks, empty cells and yesterday's numbers without a word, so the
build asks here first.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib import files, profiles
from lib.report import provenance
from pipeline import dependencies

# A path of the machine that executed the chapter says nothing to a reader and something about its
# owner.
OWN = "|".join(
    re.escape(f"{place}/") for place in (files.ROOT, Path.home(), sys.prefix) if len(str(place)) > 1
)
# A warning of a notebook's own cell names the file that its kernel made of it.
MACHINE_PATH = re.compile(
    rf"(?:{OWN}|[/\\\\]ipykernel_|/home/|/Users/|/root/|[A-Z]:\\\\Users\\\\)[\w.-]+"
)


class GateError(Exception):
    """One line per chapter and problem."""


def check(chapters: list[str], sources: Path, executed: Path, profile: Any) -> None:
    """Raise GateError that names every chapter that cannot be published, and why."""
    problems = [
        f"{name}: {problem}"
        for name in chapters
        for problem in _problems(sources / f"{name}.ipynb", executed / f"{name}.ipynb", profile)
    ]
    if problems:
        raise GateError("\n".join(problems))


def chapters_of(toc: Path) -> list[str]:
    """Names of the chapters in `_toc.yml`, in order."""
    files = re.findall(r"file:\s*chapters/(\S+)", toc.read_text())
    return [Path(file).stem for file in files]


def unlisted(toc: Path, sources: Path) -> list[str]:
    """Chapters that exist but stand in no part of the table of contents."""
    listed = chapters_of(toc)
    return [path.stem for path in sorted(sources.glob("[0-9]*.ipynb")) if path.stem not in listed]


def foreign(executed: Path) -> str:
    """How the results of an executed chapter differ from what its execution left; empty where they
    do not.

    A chapter that somebody runs beside the build, with papermill or in a browser, writes into the
    same folder.
    """
    record = executed.parent.parent / "results" / executed.stem / "provenance.json"
    if not record.is_file():
        return "are gone, or a run that writes them has not ended"
    notebook, left = dependencies.read(executed), json.loads(record.read_text())
    defaults = profiles.Profile().model_dump()
    here = provenance.public(
        defaults | dict(notebook.metadata.get("book", {}).get("parameters", {}))
    )
    there = defaults | left.get("parameters", {})
    if changed := [name for name in here if here[name] != there.get(name)]:
        return f"come from a run with other values of {', '.join(changed)}"
    # The execution shows, in its last cell, when it ended.
    shown = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    return "" if left.get("finished", "never") in shown else "come from another run"


def _problems(source: Path, executed: Path, profile: Any) -> Iterator[str]:
    if not source.is_file():
        yield f"missing: {source} stands in book/_toc.yml but does not exist"
    elif not executed.is_file():
        failed = executed.with_name(f"{executed.stem}.failed.ipynb")
        yield (
            f"errored: see {failed}"
            if failed.is_file()
            else "missing: not executed under this profile"
        )
    else:
        notebook = dependencies.read(executed)
        yield from _errors(notebook, provenance.places(profile))
        yield from _stale(notebook.metadata.get("book", {}), source, profile)
        if why := foreign(executed):
            yield f"stale: its results {why}; delete {executed} and build again"


def _errors(notebook: Any, shown: dict[str, str]) -> Iterator[str]:
    """Cells that failed, did not run, or show a path of the machine that the profile does not name:
    of those that it names pages show what `shown` puts in their place."""
    if notebook.metadata.get("papermill", {}).get("exception"):
        yield "errored: papermill recorded an exception"
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        if cell.execution_count is None:
            yield f"incomplete: cell {index} did not run"
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"errored: cell {index}: {output.ename}: {output.evalue}"
        if found := MACHINE_PATH.search(json.dumps(provenance.without(cell.outputs, shown))):
            yield (
                f"cell {index} shows a path of this machine: {found.group()} "
                "(a warning or a print of the code that ran; take it out, and build again)"
            )


def _stale(recorded: Any, source: Path, profile: Any) -> Iterator[str]:
    if recorded.get("source") != dependencies.code(source):
        yield "stale: its code, or what it imports of lib, has changed since it was executed"
    elif (now := dependencies.values(source, profile)) != (
        then := dict(recorded.get("parameters", {}))
    ):
        changed = [name for name in now if name not in then or now[name] != then[name]]
        yield f"stale: executed with other values of {', '.join(changed)}"
