"""CONTRIBUTING's table of imports holds, and nothing goes in a circle."""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(p.stem for p in (ROOT / "lib").glob("*.py") if p.stem != "__init__")
WHOLE_FILES = "provenance"  # its `write_whole` is for whoever writes; measures write nothing


def rows() -> list[tuple[str, str, str]]:
    """(family, its modules, what it may import) as CONTRIBUTING.md has them."""
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## Modules of lib")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")]
    return [(re.match(r"\w+", family).group(), modules, may) for family, modules, may in cells[2:]]


def families() -> dict[str, str]:
    """Module -> family."""
    return {module: family for family, modules, _ in rows() for module in re.findall(r"`(\w+)`", modules)}


def allowed(family: str) -> set[str]:
    """Modules that a family may import: those named, those of families named, and its own."""
    may = next(may for name, _, may in rows() if name == family)
    words = set(re.findall(r"\w+", may.split(":")[0]))
    named = set(re.findall(r"`(\w+)`", may)) | {m for m, f in families().items() if f in words | {family}}
    return named if family == "measure" else named | {WHOLE_FILES}


def imports(path: Path) -> set[str]:
    """Our own modules that a file names in import statements, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ("." * node.level) + (node.module or "")
            found |= {f"{base}.{a.name}" for a in node.names} | {base}
    return found


def ours(module: str) -> set[str]:
    names = imports(ROOT / "lib" / f"{module}.py")
    return {n.split(".")[1] for n in names if n.startswith("lib.") and n.split(".")[1] in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_module_stands_in_the_table(module):
    assert module in families(), f"lib/{module}.py is in no family of CONTRIBUTING.md"


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_table(module):
    family = families().get(module)
    if family is None:
        pytest.fail(f"lib/{module}.py is in no family of CONTRIBUTING.md")
    wrong = ours(module) - allowed(family)
    assert not wrong, f"lib/{module}.py ({family}) imports {wrong}"


def test_no_circle():
    graphlib.TopologicalSorter({m: ours(m) for m in MODULES}).prepare()  # raises CycleError and names the circle


@pytest.mark.parametrize("module", MODULES)
def test_lib_imports_nothing_above_it(module):
    above = {n for n in imports(ROOT / "lib" / f"{module}.py") if n.split(".")[0] in {"pipeline", "tests", "chapters", "book"}}
    assert not above and not any(n.startswith("..") for n in imports(ROOT / "lib" / f"{module}.py"))


@pytest.mark.parametrize("module", MODULES)
def test_only_access_and_models_know_nnsight(module):
    knows = any(n.split(".")[0] == "nnsight" for n in imports(ROOT / "lib" / f"{module}.py"))
    assert not knows or families().get(module) == "access" or module == "models"


@pytest.mark.parametrize("module", [m for m in MODULES if families().get(m) == "measure"])
def test_measures_read_no_file(module):
    names = {n.id for n in ast.walk(ast.parse((ROOT / "lib" / f"{module}.py").read_text())) if isinstance(n, ast.Name)}
    assert not names & {"open", "Path"}
