"""Captions and descriptions of figures and tables: prose that stands apart from code.

`book/captions/<chapter>.yml` has an entry a figure; the numbers in it come from the run:

    score:
      caption: In {models} models the score falls at once.
      description: The lines fall from {start} to {end} nats.

A chapter passes them, `book.figure(chart, "score", models=3, start=..., end=...)`, and no others.
"""

from __future__ import annotations

import string
from pathlib import Path

import yaml

from lib.files import ROOT

FOLDER = ROOT / "book" / "captions"


def load(chapter: str, folder: Path | None = None) -> dict[str, dict[str, str]]:
    """Name -> caption and description, of a chapter; empty where there is no file.

    Error: ValueError for an entry without one of the two.
    """
    file = (folder or FOLDER) / f"{chapter}.yml"
    found = (yaml.safe_load(file.read_text()) or {}) if file.is_file() else {}
    for name, entry in found.items():
        if not isinstance(entry, dict) or set(entry) != {"caption", "description"}:
            raise ValueError(f"{file.name}, {name}: give a `caption` and a `description`.")
    return found


def told(entry: dict[str, str], name: str, fills: dict[str, str]) -> tuple[str, str]:
    """Caption and description with their numbers.

    Error: ValueError for a number that is missing, or that neither text asks for.
    """
    wanted = {field for text in entry.values() for field in fields(text)}
    if wanted != set(fills):
        missing, stray = sorted(wanted - set(fills)), sorted(set(fills) - wanted)
        raise ValueError(f"Caption of {name!r}: {missing} missing, {stray} not asked for.")
    return entry["caption"].strip().format(**fills), entry["description"].strip().format(**fills)


def fields(text: str) -> set[str]:
    """Names in braces."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}
