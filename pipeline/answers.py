"""What a profile can ask its model: a row for each thing that the chapters examine, and what a
profile must name for it.

Chapters say it in their metadata, `{"book": {"with_model": {"what is examined": ["parameter"]}}}`:
each list names parameters of which one must be set; an empty one needs the model alone.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib.profiles import Profile
from pipeline import dependencies, home, numbers
from pipeline.markup import table

HEADING = "## Your model"


def page(notebooks: Iterable[Path], profile: Profile) -> str:
    """The table, for the profile that the site is made with."""
    rows = [row for path in notebooks for row in _rows(path, profile)]
    here = f"Profile {profile.profile}"
    return table(("Chapter", "Examines in your model", "Needs", here), rows, "bk-answers")


def stated(notebook: Any, profile: Profile) -> Any:
    """A chapter's notebook with, under its heading `Your model`, what it asks of one and whether
    the profile lets it."""
    asks = notebook.metadata.get("book", {}).get("with_model", {})
    here = f"this site's profile `{profile.profile}`"
    said = f"What can be asked of a model here, and whether {here} lets it be asked:"
    if not _named(profile):
        said = f"What can be asked of a model here ({here} names none):"
    lines = [
        f"- {what} (needs {' or '.join(f'`{name}`' for name in any_of or ['model'])})"
        + (f": {_here(any_of, profile)}" if _named(profile) else "")
        for what, any_of in asks.items()
    ]
    told = "\n".join([HEADING, "", said, "", *lines])
    for cell in notebook.cells if asks else []:
        if cell.cell_type == "markdown":
            cell.source = re.sub(rf"^{HEADING}$", lambda _: told, cell.source, flags=re.M)
    return notebook


def _rows(path: Path, profile: Profile) -> list[list[str]]:
    notebook = dependencies.read(path)
    asks = notebook.metadata.get("book", {}).get("with_model", {})
    title = html.escape(home.opening(notebook)[0])
    name = f'<a href="chapters/{path.stem}.html">{numbers.number(path.stem)}. {title}</a>'
    if not asks:
        return [[name, "nothing: it examines the book's own models only", "–", "–"]]
    return [
        [name, html.escape(what), _needs(any_of), _here(any_of, profile)]
        for what, any_of in asks.items()
    ]


def _needs(any_of: list[str]) -> str:
    named = " or ".join(f"<code>{name}</code>" for name in any_of)
    return f"<code>model</code> and {named}" if any_of else "<code>model</code>"


def _named(profile: Profile) -> bool:
    return bool(profile.model or profile.checkpoints)


def _here(any_of: list[str], profile: Profile) -> str:
    if not _named(profile):
        return "no: it names no model"
    lacks = any_of and not any(getattr(profile, name) for name in any_of)
    return f"no: it sets no {' or '.join(any_of)}" if lacks else "yes"
