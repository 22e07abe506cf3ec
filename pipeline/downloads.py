"""The notebooks that a site offers: they say what they need, and read well without the site.

What only the site can show is put into plain Markdown: numbers of the run, citations, exercises.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
from pybtex.database import parse_file

from pipeline import citations, dependencies, numbers

COMPUTES = "computes"  # in a check cell's metadata: its code before the page sealed its answers
GLUED = re.compile(r"\{glue:text\}`([^`]+)`")
CITED = re.compile(r"\{cite(:[tp])?\}`([^`]+)`")
OTHER = re.compile(r"\{[a-z:]+\}`([^`]+)`")
# A fence of a directive: ticks, name, title, options, body.
FENCE = re.compile(r"^(`{3,})\{(\w+)\}(.*)\n((?::\w+:.*\n)*)\n?((?s:.*?))^\1[ ]*$", re.M)


def readable(folder: Path, library: Path, repository: str = "") -> None:
    """Rewrite the notebooks of a folder; `library` is the BibTeX file that they cite."""
    labels = {
        key: (citations.authors(entry), entry.fields.get("year", ""))
        for key, entry in parse_file(str(library)).entries.items()
    }
    for path in sorted(folder.glob("*.ipynb")):
        notebook = dependencies.read(path)
        values = dependencies.glued(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "code":  # fields to answer in need the site's script
                cell.outputs = [o for o in cell.outputs if "bk-try" not in str(o.get("data"))]
                cell.source = cell.metadata.pop(COMPUTES, cell.source)
            if cell.cell_type == "markdown":
                cell.source = plain(cell.source, values, labels)
        notebook.cells.insert(0, note(path.stem, repository))
        dependencies.write(notebook, path)


def note(name: str, repository: str) -> Any:
    """The first cell: what the notebook needs."""
    where = f" ({repository})" if repository else ""
    said = (
        f"> **Before you run this.** It is chapter {numbers.number(name)} of a book, as it was "
        f"executed for the book's site; the numbers in its text are those of that run.\n"
        f"> Its code imports `lib` from the book's repository{where}: clone it, call "
        "`make install`, put this file into `chapters/`, and choose the Python of `.venv` as its "
        "kernel.\n"
        "> Models that are missing are trained first, which takes minutes."
    )
    return nbformat.v4.new_markdown_cell(said, id="before-you-run")


def plain(text: str, values: dict[str, str], labels: dict[str, tuple[str, str]]) -> str:
    """Markdown without the site's own markup."""

    def cited(found: re.Match[str]) -> str:
        each = [labels.get(key.strip(), (key, "")) for key in found[2].split(",")]
        if found[1] == ":t":
            return " and ".join(f"{who} ({year})" for who, year in each)
        return "(" + "; ".join(f"{who}, {year}" for who, year in each) + ")"

    text = GLUED.sub(lambda found: values.get(found[1], found[1]), text)
    text = OTHER.sub(lambda found: found[1], CITED.sub(cited, text))
    return FENCE.sub(_fence, text)


def _fence(found: re.Match[str]) -> str:
    """A directive, and those within it, as paragraphs under a name; what was folded stays so."""
    name, title, body = found[2], found[3].strip(), FENCE.sub(_fence, found[5].strip())
    if name in ("solution", "dropdown"):
        said = title if name == "dropdown" else "Solution"
        return f"<details><summary>{said}</summary>\n\n{body}\n\n</details>"
    return f"**{title if name == 'admonition' else name.capitalize()}.** {body}"
