"""What a piece of code depends on within lib, read from its source without running it.

A trained model is kept under a digest of the code that its weights depend on, and a chapter is
executed again when the code that it calls has changed. Both ask the same two questions: which
modules of lib are imported, directly or through others (`closure`), and what do they say, comments
and docstrings aside (`digest`).
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

LIB = Path(__file__).resolve().parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def closure(
    names: Iterable[str], lib: Path = LIB, without: frozenset[str] = frozenset()
) -> list[str]:
    """Dotted names of the modules of lib in `names` and of all that they import, sorted.

    `without`: modules that are left out, with what is imported through them alone.
    """
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found | without:
            found.add(name)
            waiting += _among(_read(file(name, lib))[0], lib)
    return sorted(found)


def imported(tree: ast.Module, lib: Path = LIB) -> set[str]:
    """Modules of lib that a syntax tree imports, anywhere in it, or names as a string such as
    "lib.data.worlds"."""
    return _among(_named(tree), lib)


def _among(named: Iterable[str], lib: Path) -> set[str]:
    return {name for dotted in named for name in _modules(dotted, lib)}


def file(name: str, lib: Path = LIB) -> Path:
    """The file of a module of lib. Error: FileNotFoundError for a name that is none."""
    place = lib.joinpath(*name.split(".")[1:])
    for path in (
        place.with_suffix(".py") if place != lib else lib / "__init__.py",
        place / "__init__.py",
    ):
        if path.is_file():
            return path
    raise FileNotFoundError(f"No module {name} in {lib}.")


def digest(names: Iterable[str], lib: Path = LIB) -> str:
    """Sixteen hex digits over the syntax trees of modules, without docstrings; comments and layout
    are not in them anyway."""
    said = (_read(file(name, lib))[1] for name in names)
    return hashlib.sha256("\0".join(said).encode()).hexdigest()[:16]


def _read(path: Path) -> tuple[frozenset[str], str]:
    """What a file names under lib, and what it says."""
    now = path.stat()
    return _parsed(path, now.st_mtime_ns, now.st_size)


@cache
def _parsed(path: Path, _time: int, _size: int) -> tuple[frozenset[str], str]:
    """Parsed once a version, for a build asks many times."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(_named(tree)), bare(tree)


def bare(tree: ast.Module | ast.Interactive) -> str:
    """A syntax tree as text, without the docstrings of modules, classes and functions; what is
    interactive has none of its own, for a text that stands there is shown."""
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and node.body and _is_docstring(node.body[0]):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _named(tree: ast.Module) -> Iterator[str]:
    """Every dotted name under lib that a tree imports, or writes as a string; relative imports
    count as lib's own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, ["lib" if node.level else "", node.module]))
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and re.fullmatch(r"lib(\.\w+)+", str(node.value)):
            yield node.value


def _modules(named: str, lib: Path) -> Iterator[str]:
    """`lib.models.training.ensure` as the modules that an import of it reads: the packages on the
    way, and the module."""
    parts = named.split(".")
    if parts[0] != "lib":
        return
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        try:
            file(name, lib)
        except FileNotFoundError:
            return
        yield name
