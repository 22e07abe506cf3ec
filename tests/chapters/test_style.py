"""Code that can be read aloud: the limits for cells of chapters and for modules of lib.

A visible cell is one that the page does not fold. Its lines are verbs of the method; what a teacher
would have to explain away stands folded, or in lib. `CONTRIBUTING.md` says why these limits.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("[0-9]*.ipynb"))
MODULES = sorted((ROOT / "lib").rglob("*.py"))
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
each_module = pytest.mark.parametrize(
    "module", MODULES, ids=lambda path: str(path.relative_to(ROOT / "lib"))
)

CELL_LINES, CELL_WIDTH, CELL_NODES, CALLS_DEEP = 15, 88, 100, 3
# p90; a line; in 100 lines. By this count of nodes the chapters had 12.9 a line before they were
# rewritten; the best notebooks of others have about half of that.
BOOK_WIDTH, BOOK_NODES, BOOK_COMPREHENSIONS = 80, 9, 4.5
LIB_WIDTH, FUNCTION_LINES, MODULE_LINES = 100, 30, 300
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FOLDS = {"hide-input", "hide-cell", "remove-input", "remove-cell", "parameters"}


class Cell:
    """A cell of code of a chapter, by the number that it has in the file."""

    def __init__(self, chapter: Path, index: int, cell: nbformat.NotebookNode):
        self.name = f"{chapter.name}, cell {index} ({cell.source.strip().splitlines()[0][:50]})"
        self.visible = not FOLDS & set(cell.metadata.get("tags", []))
        self.source = cell.source
        self.lines = [line for line in cell.source.splitlines() if line.strip()]
        self.tree = ast.parse(cell.source)


def cells(chapter: Path, visible: bool = False) -> list[Cell]:
    """Cells of code that are not empty; only those that the page shows, or all."""
    found = enumerate(nbformat.read(chapter, 4).cells)
    code = [(i, cell) for i, cell in found if cell.cell_type == "code" and cell.source.strip()]
    made = [Cell(chapter, index, cell) for index, cell in code]
    return [cell for cell in made if cell.visible or not visible]


def nodes(tree: ast.AST) -> int:
    """Parts of a syntax tree; whether a name is read or set is no part of its own."""
    return sum(not isinstance(n, ast.expr_context | ast.Module) for n in ast.walk(tree))


def own(statement: ast.stmt) -> Iterator[ast.AST]:
    """All of a statement but the statements inside it."""
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, ast.stmt):
            yield child
            yield from own(child)


def statements(tree: ast.AST) -> list[ast.stmt]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]


def comprehensions(found: Iterator[ast.AST]) -> int:
    return sum(isinstance(node, COMPREHENSIONS) for node in found)


def depth(node: ast.AST) -> int:
    """How deep calls stand in arguments of calls; `a.b().c()` is read in a row, and is one deep."""
    if not isinstance(node, ast.Call):
        return max(map(depth, ast.iter_child_nodes(node)), default=0)
    return max(depth(node.func), 1 + max(map(depth, [*node.args, *node.keywords]), default=0))


def nested(tree: ast.AST) -> list[int]:
    """Lines of comprehensions that have another one inside them."""
    outer = [node for node in ast.walk(tree) if isinstance(node, COMPREHENSIONS)]
    return [node.lineno for node in outer if comprehensions(ast.walk(node)) > 1]


def fail_with(problems: list[str]) -> None:
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@each_chapter
def test_a_visible_cell_can_be_read_aloud(chapter):
    problems = []
    for cell in cells(chapter, visible=True):
        size, packed = len(cell.lines), max(map(depth, cell.tree.body))
        if size > CELL_LINES:
            problems.append(f"{cell.name}: {size} lines, at most {CELL_LINES}")
        if nodes(cell.tree) > CELL_NODES:
            problems.append(f"{cell.name}: {nodes(cell.tree)} syntax nodes, at most {CELL_NODES}")
        if packed > CALLS_DEEP:
            problems.append(f"{cell.name}: calls {packed} deep, at most {CALLS_DEEP}")
        many = [s.lineno for s in statements(cell.tree) if comprehensions(own(s)) > 1]
        problems += [f"{cell.name}, line {n}: one comprehension a statement" for n in many]
    fail_with(problems)


@each_chapter
def test_a_line_of_a_cell_fits_the_page(chapter):
    wide = [
        f"{cell.name}: {len(line)} characters, at most {CELL_WIDTH}: {line.strip()[:40]}"
        for cell in cells(chapter)
        for line in cell.lines
        if len(line) > CELL_WIDTH
    ]
    fail_with(wide)


@each_chapter
def test_captions_stand_apart_from_code(chapter):
    """In book/captions/<chapter>.yml, where they are read and edited as prose."""
    found = []
    for cell in cells(chapter):
        calls = [node for node in ast.walk(cell.tree) if isinstance(node, ast.Call)]
        names = {keyword.arg for call in calls for keyword in call.keywords}
        if written := names & {"caption", "description"}:
            found.append(f"{cell.name}: {', '.join(sorted(written))} in code")
    fail_with(found)


def test_the_book_is_as_light_as_the_best():
    shown = [cell for chapter in CHAPTERS for cell in cells(chapter, visible=True)]
    widths = sorted(len(line) for cell in shown for line in cell.lines)
    lines = max(1, len(widths))
    width = widths[int(0.9 * len(widths))]
    per_line = sum(nodes(cell.tree) for cell in shown) / lines
    packed = 100 * sum(comprehensions(ast.walk(cell.tree)) for cell in shown) / lines
    said = (
        f"width p90 {width}, nodes a line {per_line:.1f}, comprehensions in 100 lines {packed:.1f}"
    )
    light = width <= BOOK_WIDTH and per_line <= BOOK_NODES and packed <= BOOK_COMPREHENSIONS
    fail_with([] if light else [said])


@each_module
def test_a_module_reads_in_one_sitting(module):
    source = module.read_text()
    tree = ast.parse(source)
    problems = [f"line {n}: a comprehension in a comprehension" for n in nested(tree)]
    for number, line in enumerate(source.splitlines(), 1):
        if len(line) > LIB_WIDTH:
            problems.append(f"line {number}: {len(line)} characters, at most {LIB_WIDTH}")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body[0] for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    said = sum(map(length, filter(is_text, bodies)))
    code = sum(bool(line.strip()) for line in source.splitlines()) - said
    if code > MODULE_LINES:
        problems.append(f"{code} lines of code, at most {MODULE_LINES}")
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        body = function.body[is_text(function.body[0]) :] or function.body
        size = body[-1].end_lineno - body[0].lineno + 1  # signature and docstring aside
        if size > FUNCTION_LINES:
            problems.append(f"{function.name}: {size} lines, at most {FUNCTION_LINES}")
    fail_with([f"{module.relative_to(ROOT)}, {problem}" for problem in problems])


def length(node: ast.stmt) -> int:
    return node.end_lineno - node.lineno + 1


def is_text(statement: ast.stmt) -> bool:
    """A docstring."""
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant and isinstance(statement.value.value, str)


@pytest.mark.parametrize("command", ["format --check --quiet", "check --output-format concise"])
def test_the_formatter_and_the_linter_have_nothing_to_say(command):
    """`make lint` does the same; `ruff format` and `ruff check --fix` mend most of it."""
    folders = ["lib", "pipeline", "tests", "chapters"]
    call = [sys.executable, "-m", "ruff", *command.split(), *folders]
    result = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    fail_with((result.stdout + result.stderr).splitlines() if result.returncode else [])


def test_what_the_limits_count():
    assert depth(ast.parse("f(g(h(x)))")) == 3
    assert depth(ast.parse("a.b(x).c(y)")) == 1
    assert nodes(ast.parse("a = f(b)")) == 5
    loop = ast.parse("for a in [x for x in y]:\n    [b for b in c]").body[0]
    assert comprehensions(own(loop)) == 1
    assert nested(ast.parse("[[a for a in b] for b in c]")) == [1]
