"""A chapter whose exercises are solved: each solution's code stands in its answer cell."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat

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
    """The notebook with all solutions put in, and how many answers they give; a prediction is
    none.

    Error: AssertionError where an answer cell is followed by no solution with code.
    """
    notebook, count, open_cell = nbformat.read(chapter, 4), 0, None
    for cell in notebook.cells:
        if names := unanswered(cell):
            assert open_cell is None, f"{chapter.stem}: no solution for {open_cell.source}"
            open_cell, count = cell, count + len(names)
        elif cell.cell_type == "markdown" and "{solution}" in cell.source and open_cell:
            label, code = CODE.findall(cell.source)[0]
            open_cell.source += f"\n# solution of {label}\n{code}"
            open_cell = None
    assert open_cell is None, f"{chapter.stem}: no solution for {open_cell.source}"
    code = [ast.parse(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    return notebook, count - sum(len(_predicted(check)) for tree in code for check in checks(tree))


def checks(tree: ast.AST) -> list[ast.Call]:
    """The calls of `exercises.check`."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    return [call for call in calls if ast.unparse(call.func) == "exercises.check"]


def _predicted(check: ast.Call) -> list[ast.expr]:
    return [keyword.value for keyword in check.keywords if keyword.arg == "predicted"]


def said(executed: nbformat.NotebookNode) -> list[str]:
    """What the check cells of an executed notebook said, in order."""
    outputs = [o for cell in executed.cells for o in cell.get("outputs", [])]
    checks = [o for o in outputs if "exercise" in o.get("metadata", {})]
    return ["".join(o.data["text/markdown"]) for o in checks]


def read_elsewhere(chapter: Path) -> set[str]:
    """Unanswered names that code between them and their solution, or after it, reads outside of a
    check: it would stop a chapter whose exercises are not answered."""
    open_names, found = set(), set()
    for cell in nbformat.read(chapter, 4).cells:
        if cell.cell_type != "code":
            continue
        tree = ast.parse(cell.source)
        asked = checks(tree)
        checked = {id(name) for call in asked for name in (call.args[0], *_predicted(call))}
        names = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in checked]
        found |= open_names & {n.id for n in names if isinstance(n.ctx, ast.Load)}
        open_names -= {n.id for n in names if isinstance(n.ctx, ast.Store)}
        open_names |= set(unanswered(cell))
    return found
