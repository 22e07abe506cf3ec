"""Chapters by number: in their titles, and as links wherever prose names one."""

from __future__ import annotations

import re
from typing import Any

NAMED = re.compile(r"(?<![\[`\w])([Cc]hapter) (\d+)\b(?![`\]])")


def number(name: str) -> int:
    """The number of a chapter, which its file's name begins with."""
    return int(name.partition("_")[0])


def numbered(notebook: Any, name: str, chapters: list[str]) -> Any:
    """The notebook of chapter `name` with its number before its title, and a link where its prose
    names another of `chapters`."""
    links = {number(other): other for other in chapters if other != name}

    def linked(found: re.Match[str]) -> str:
        other = links.get(int(found[2]))
        return f"[{found[0]}]({other}.ipynb)" if other else found[0]

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = NAMED.sub(linked, cell.source)
    first = notebook.cells[0]
    first.source = first.source.replace("# ", f"# {number(name)}. ", 1)
    return notebook
