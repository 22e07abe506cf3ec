"""Who made the book, where it lives, from what this site was made, and how to cite it.

The facts are those of `CITATION.cff`, of `book/_config.yml` and of the chapters' provenance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from lib import files
from lib.report import say


def section(results: Path, chapters: list[str], config: Path) -> str:
    """The lines of the home page about the book itself."""
    book = yaml.safe_load((files.ROOT / "CITATION.cff").read_text())
    authors = ", ".join(_name(author) for author in book["authors"])
    records = [json.loads((results / name / "provenance.json").read_text()) for name in chapters]
    made = max(record["finished"] for record in records)[:10]
    place = f" <{address}>." if (address := repository(config)) else ""
    lines = [
        f"{authors}. {book['license']} licence.{f' Repository:{place}' if place else ''}",
        _made(records),
        f"To cite: {authors}, *{book['title']}*, version {book['version']}, {made[:4]}.{place} "
        "Please cite the papers that it reproduces too; they are in [](bibliography.md).",
    ]
    return "".join(f"- {line}\n" for line in lines)


def _made(records: list[dict[str, Any]]) -> str:
    """Dates, commits and cost of the run that a site shows."""
    days = say.listed(sorted({record["finished"][:10] for record in records}))
    minutes = sum(record["wall_seconds"] for record in records) / 60
    commits = sorted({str(record["commit"])[:10] for record in records if record["commit"]})
    of = "commit" if len(commits) == 1 else "commits"
    source = f", from {of} {say.listed(commits)}" if commits else ""
    return (
        f"The chapters of this site were executed on {days}{source}; together they ran for "
        f"{max(1, round(minutes))} minutes of one core, after the models had been trained."
    )


def repository(config: Path) -> str:
    """The address of the repository, from `_config.yml`; empty where none is given."""
    return (yaml.safe_load(config.read_text()).get("repository") or {}).get("url") or ""


def _name(author: dict[str, str]) -> str:
    names = [author[part] for part in ("given-names", "family-names") if part in author]
    return author.get("name") or " ".join(names)
