"""A chapter whose exercises are solved: each solution's code stands in its answer cell."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat

# A check, and how many of its first arguments are answers: predictions have two.
CHECKS = {"exercises.check": 1, "predictions.check": 2}
BOLD = re.compile(r"^\*\*.*?\*\*")
CODE = re.compile(r"^````\{solution\} ([\w-]+)\n.*?^```python\n(.*?)^```$", re.M | re.S)


def unanswered(cell: nbformat.NotebookNode) -> list[str]:
    """The names that a reader is to give a value: `name = ...`, or several of them."""
    if cell.cell_type != "code":
        return []
    blank = [
        n
        for n in ast.parse(cell.source).body
        if isinstance(n, ast.Assign)
        and all(isinstance(v, ast.Constant) and v.value is ... for v in _each(n.value))
    ]
    return [name.id for n in blank for name in _each(n.targets[0])]


def _each(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def solved(chapter: Path) -> tuple[nbformat.NotebookNode, int]:
    """The notebook with all solutions put in, and how many checks there are of them.

    Error: AssertionError where an answer cell is followed by no solution with code, or a name is
    not checked.
    """
    notebook, open_cell = nbformat.read(chapter, 4), None
    code = [ast.parse(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    found = [call for tree in code for call in checks(tree)]
    asked = {name for cell in notebook.cells for name in unanswered(cell)}
    assert asked == {a.id for call in found for a in answers(call)}, f"{chapter.stem}: {asked}"
    for cell in notebook.cells:
        if unanswered(cell):
            assert open_cell is None, f"{chapter.stem}: no solution for {open_cell.source}"
            open_cell = cell
        elif cell.cell_type == "markdown" and "{solution}" in cell.source and open_cell:
            label, code = CODE.findall(cell.source)[0]
            open_cell.source += f"\n# solution of {label}\n{code}"
            open_cell = None
    assert open_cell is None, f"{chapter.stem}: no solution for {open_cell.source}"
    return notebook, len(found)


def checks(tree: ast.AST) -> list[ast.Call]:
    """The calls of a cell's code that check answers."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    return [call for call in calls if ast.unparse(call.func) in CHECKS]


def answers(call: ast.Call) -> list[ast.expr]:
    """What of a check's arguments a reader has answered."""
    return call.args[: CHECKS[ast.unparse(call.func)]]


def said(executed: nbformat.NotebookNode) -> list[str]:
    """What the check cells of an executed notebook said, in order: what is in bold, or all."""
    outputs = [o for cell in executed.cells for o in cell.get("outputs", [])]
    told = [
        "".join(o.data["text/markdown"]) for o in outputs if "exercise" in o.get("metadata", {})
    ]
    return [bold[0] if (bold := BOLD.match(text)) else text for text in told]


def read_elsewhere(chapter: Path) -> set[str]:
    """Unanswered names that code between them and their solution, or after it, reads outside of a
    check: it would stop a chapter whose exercises are not answered."""
    open_names, found = set(), set()
    for cell in nbformat.read(chapter, 4).cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        checked = {id(answer) for call in checks(tree) for answer in answers(call)}
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in checked]
        found |= open_names & {n.id for n in names if isinstance(n.ctx, ast.Load)}
        open_names -= {n.id for n in names if isinstance(n.ctx, ast.Store)}
        open_names |= set(unanswered(cell))
    return found
