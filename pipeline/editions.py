"""Who a site is for. The default has folded solutions; that of students has none, nor anything that
an answer can be read from; that of instructors has them open, and a page for teachers.

An edition is made of chapters that are executed already, beside the default site.
"""

from __future__ import annotations

import ast
import html
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat

from pipeline import dependencies, numbers
from pipeline.downloads import COMPUTES
from pipeline.markup import table

if TYPE_CHECKING:  # torch, for which a build that only names an edition need not wait
    from lib.report.exercises import Sealed

STUDENT, INSTRUCTOR = "student", "instructor"
EDITIONS = ("", STUDENT, INSTRUCTOR)
SOLUTION = re.compile(r"^(`{3,})\{solution\}.*?^\1[ ]*$\n*", re.M | re.S)
EXERCISE = re.compile(r"^```\{exercise\}\n:label: ([\w-]+)\n\(([^)]*)\)", re.M)
MINUTES = re.compile(r"(\d+) minutes")
CHECK = "exercises.check"
PREDICTED = "predictions.check"  # its first name is a prediction, its second what was run
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
    """An executed chapter as an edition shows it. Checks become fields to answer in, and hold
    sealed answers alone; what computes them goes with the downloaded notebook (`COMPUTES`), which
    may be run with other parameters, but for students does not. Nor do numbers that solutions
    quote, which checks may make."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _prose(cell.source, edition)
        elif asked := _asked(cell):
            right = [_right(o) for o in cell.outputs if "exercise" in o.get("metadata", {})]
            if edition != STUDENT:
                cell.metadata[COMPUTES] = cell.source
            if edition != INSTRUCTOR:
                cell.source = _sealed(asked, right)
            fields = [_field(*one) for one in zip(asked, right, strict=True)]
            glued = [o for o in cell.outputs if "exercise" not in o.get("metadata", {})]
            cell.outputs = fields if edition == STUDENT else fields + glued
    notebook.cells = [c for c in notebook.cells if c.cell_type != "markdown" or c.source.strip()]
    return notebook


def _prose(text: str, edition: str) -> str:
    if edition == STUDENT:
        return SOLUTION.sub("", text).rstrip()
    opened = re.compile(r"^(`{3,}\{solution\}.*\n):class: dropdown\n", re.M)
    return opened.sub(r"\1", text) if edition == INSTRUCTOR else text


def _asked(cell: Any) -> list[ast.Call]:
    """The calls that check an answer in a cell, in order."""
    if cell.cell_type != "code" or not re.search(rf"{CHECK}|{PREDICTED}", cell.source):
        return []
    calls = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call)]
    calls = sorted(calls, key=lambda call: call.lineno)
    return [call for call in calls if ast.unparse(call.func) in (CHECK, PREDICTED)]


def _right(output: Any) -> Sealed:
    from lib.report.exercises import Sealed

    kept = output.metadata["exercise"]
    shape = kept["shape"]
    return Sealed(None if shape is None else tuple(shape), kept["tolerance"], kept["digests"])


def _sealed(calls: list[ast.Call], right: list[Sealed]) -> str:
    """The code of checks that no answer can be read from: a seal stands for their last argument."""
    lines = []
    for call, one in zip(calls, right, strict=True):
        given = [ast.unparse(part) for part in call.args[:-1]]
        given.append(f"exercises.Sealed({one.shape}, {one.tolerance}, {one.digests!r})")
        given += [ast.unparse(part) for part in call.keywords if part.arg != "tolerance"]
        lines.append(f"{ast.unparse(call.func)}({', '.join(given)})")
    return "\n".join(lines) + ";"


def _field(call: ast.Call, right: Sealed) -> Any:
    """Where a reader of the page answers: a field for a number, a word or a prediction; the site's
    script shows it and compares, and opens a seal to tell what became of a prediction."""
    name, run = ast.unparse(call.args[0]), ast.unparse(call.func) == PREDICTED
    if right.shape:
        said = (
            f"`{name}` is checked in a running notebook, which the site offers above each chapter."
        )
        return nbformat.v4.new_output("display_data", {"text/markdown": said})
    kind = "prediction" if run else "word" if right.shape is None else "number"
    given = {"kind": kind, "step": f"{right.tolerance:g}", "digest": right.digests}
    given |= _of_prediction(call) if run else {}
    beside = " ".join(f'data-{key}="{html.escape(value)}"' for key, value in given.items())
    label = f"<label>Your <code>{html.escape(name)}</code> <input autocomplete='off'></label>"
    made = f'<form class="bk-try" {beside} hidden>{label} '
    made += f"<button>{'Predict' if run else 'Check'}</button> "
    made += '<output aria-live="polite"></output></form>'
    return nbformat.v4.new_output(
        "display_data", {"text/html": made + (_then(call) if run else "")}
    )


def _of_prediction(call: ast.Call) -> dict[str, str]:
    """How near counts as right, and what a prediction too high, or too low, had expected."""
    from lib.report import predictions

    usual = inspect.signature(predictions.check).parameters
    said = {part.arg: part.value for part in call.keywords}
    return {
        name: str(ast.literal_eval(said[name]) if name in said else usual[name].default)
        for name in ("near", "high", "low")
    }


def _then(call: ast.Call) -> str:
    """What is left to do after a prediction."""
    outcome = html.escape(ast.unparse(call.args[1]))
    said = f"Write your prediction down, then run it: <code>{outcome}</code> is checked in a"
    return f"<p>{said} running notebook, which the site offers above each chapter.</p>"


def teaching(names: list[str], sources: Path, run: Path) -> str:
    """A table for teachers: chapters, minutes to read and to run, exercises and their minutes, and
    the sum of these."""
    from pipeline import home

    rows = []
    for name in names:
        notebook = dependencies.read(sources / f"{name}.ipynb")
        text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        found = EXERCISE.findall(text)
        asked = [f"{label}: {html.escape(said)}" for label, said in found]
        spent = sum(int(one[1]) for _, said in found if (one := MINUTES.search(said)))
        chapter = f'<a href="chapters/{name}.html">{numbers.number(name)}</a>'
        times = home.minutes(notebook, run / "results" / name)
        rows.append([chapter, times, "<br>".join(asked) or "–", f"{spent} min" if spent else "–"])
    heads = ("Chapter", "Minutes", "Exercises", "In all")
    return table(heads, rows, "bk-teaching") + "\n"
