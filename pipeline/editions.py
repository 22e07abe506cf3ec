"""Who a site is for. The default has folded solutions; that of students has none, nor anything that
an answer can be read from; that of instructors has them open, and a page for teachers.

An edition is made of chapters that are executed already, beside the default site.
"""

from __future__ import annotations

import ast
import html
import re
from pathlib import Path
from typing import Any

import nbformat

from pipeline import dependencies, numbers
from pipeline.markup import table

STUDENT, INSTRUCTOR = "student", "instructor"
EDITIONS = ("", STUDENT, INSTRUCTOR)
SOLUTION = re.compile(r"^(`{3,})\{solution\}.*?^\1[ ]*$\n*", re.M | re.S)
EXERCISE = re.compile(r"^```\{exercise\}\n:label: ([\w-]+)\n\(([^)]*)\)", re.M)
CHECK = "exercises.check"
TEACHERS = "teaching"  # the page of book/ that instructors alone get


def named(edition: str) -> str:
    """The edition. Error: ValueError for a name that is none."""
    if edition not in EDITIONS:
        raise ValueError(f"EDITION={edition}: there are student and instructor, or none.")
    return edition


def folder(name: str, edition: str) -> str:
    """What a folder of a run is called in an edition."""
    return f"{name}-{edition}" if edition else name


def edited(notebook: Any, edition: str) -> Any:
    """An executed chapter as an edition shows it. Checks become fields to answer in, and for
    students hold sealed answers alone."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _prose(cell.source, edition)
        elif asked := _asked(cell):
            right = [_right(o) for o in cell.outputs if "exercise" in o.get("metadata", {})]
            if edition == STUDENT:
                cell.source = _sealed(asked, right)
            cell.outputs = [_field(*one) for one in zip(asked, right, strict=True)]
    notebook.cells = [c for c in notebook.cells if c.cell_type != "markdown" or c.source.strip()]
    return notebook


def _prose(text: str, edition: str) -> str:
    if edition == STUDENT:
        return SOLUTION.sub("", text).rstrip()
    opened = re.compile(r"^(`{3,}\{solution\}.*\n):class: dropdown\n", re.M)
    return opened.sub(r"\1", text) if edition == INSTRUCTOR else text


def _asked(cell: Any) -> list[str]:
    """The names that a check cell checks, in order."""
    if cell.cell_type != "code" or CHECK not in cell.source:
        return []
    calls = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call)]
    calls = sorted(calls, key=lambda call: call.lineno)
    return [ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func) == CHECK]


def _right(output: Any) -> dict[str, Any]:
    """The fields of an `exercises.Sealed`, as the output of a check keeps them."""
    kept = output.metadata["exercise"]
    return {**kept, "shape": None if kept["shape"] is None else tuple(kept["shape"])}


def _sealed(names: list[str], right: list[dict[str, Any]]) -> str:
    """The code of a check that no answer can be read from."""
    lines = [
        f"{CHECK}({name}, exercises.Sealed({one['shape']}, {one['tolerance']}, {one['digests']!r}))"
        for name, one in zip(names, right, strict=True)
    ]
    return "\n".join(lines) + ";"


def _field(name: str, right: dict[str, Any]) -> Any:
    """Where a reader of the page answers: a field for a number or a word; the site's script shows
    it and compares."""
    if right["shape"]:
        said = f"`{name}` is checked in a running notebook: get this chapter with the button above."
        return nbformat.v4.new_output("display_data", {"text/markdown": said})
    kind = "word" if right["shape"] is None else "number"
    beside = f'data-kind="{kind}" data-step="{right["tolerance"]:g}"'
    beside += f' data-digest="{right["digests"]}"'
    label = f"<label>Your <code>{html.escape(name)}</code> <input autocomplete='off'></label>"
    made = f'<form class="bk-try" {beside} hidden>{label} <button>Check</button>'
    made += ' <output aria-live="polite"></output></form>'
    return nbformat.v4.new_output("display_data", {"text/html": made})


def teaching(names: list[str], sources: Path, run: Path) -> str:
    """A table for teachers: chapters, minutes to read and to run, exercises and their minutes."""
    from pipeline import home  # reads pandas and torch, for which no build needs to wait

    rows = []
    for name in names:
        notebook = dependencies.read(sources / f"{name}.ipynb")
        text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        asked = [f"{label}: {html.escape(said)}" for label, said in EXERCISE.findall(text)]
        chapter = f'<a href="chapters/{name}.html">{numbers.number(name)}</a>'
        times = home.minutes(notebook, run / "results" / name)
        rows.append([chapter, times, "<br>".join(asked) or "–"])
    return table(("Chapter", "Minutes", "Exercises"), rows, "bk-teaching") + "\n"
