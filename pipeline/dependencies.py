"""What a chapter depends on, read from its source without running it.

The Snakefile declares exactly these as inputs and parameters, so that a change re-runs what it can
change and nothing
else: the notebook, the lib modules that it imports (and those that they import), the profile's
values of the
parameters that it declares, the rules of the claims that it judges, the models that it needs, and
the pinned versions.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import yaml

from lib import files, profiles, sources

ALWAYS = (
    "profile",
    "runs_dir",
    "threads",
)  # where results go and on how many threads: every chapter is given these


def read(notebook: Path) -> nbformat.NotebookNode:
    """A notebook in the current format."""
    return nbformat.read(notebook, as_version=4)


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook whole."""
    files.write_whole(path, nbformat.writes(notebook))


def tree(notebook: Path) -> ast.Module:
    """The code of a notebook as one syntax tree. Errors: SyntaxError that names the cell."""
    body: list[ast.stmt] = []
    for index, cell in enumerate(read(notebook).cells):
        if cell.cell_type == "code":
            body += ast.parse(cell.source, f"{notebook.name}, cell {index}").body
    return ast.Module(body, [])


def modules(code: Path, lib: Path) -> list[Path]:
    """Files of `lib` that a notebook or module imports, directly or through others; with the module
    itself."""
    source = ast.parse(code.read_text(), str(code)) if code.suffix == ".py" else tree(code)
    found = sources.closure(sources.imported(source, lib.resolve()), lib.resolve())
    files = {lib / sources.file(name, lib.resolve()).relative_to(lib.resolve()) for name in found}
    return sorted(files | ({code} if code.suffix == ".py" else set()))


def parameters(notebook: Path) -> list[str]:
    """Names assigned in the cell tagged `parameters`. Errors: ValueError when there is not exactly
    one such cell."""
    cells = [c for c in read(notebook).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(
            f"{notebook}: one cell must have the tag `parameters`; found {len(cells)}."
        )
    return [name.id for line in ast.parse(cells[0].source).body for name in _targets(line)]


def values(notebook: Path, profile: profiles.Profile) -> dict[str, Any]:
    """The profile's values of the parameters that the notebook declares, and of `ALWAYS`.

    A notebook that declares `model` is given all that says how to open it. Of a model that it
    cannot ask anything (see
    `lacking`) it hears nothing, so that one profile serves the whole book.
    """
    declared = parameters(notebook)
    names = dict.fromkeys(
        [*declared, *ALWAYS, *(profiles.Model.model_fields if "model" in declared else ())]
    )
    known = profile.model_dump() | (
        {} if lacking(notebook, profile) is None else profiles.Model().model_dump()
    )
    if missing := [name for name in names if name not in known]:
        raise ValueError(
            f"{notebook}: its parameters cell declares {', '.join(missing)}, unknown to lib/profiles.py."
        )
    return {name: known[name] for name in names}


def recipes(notebook: Path) -> list[str]:
    """Names of the training recipes that the notebook needs, from its metadata `{"book":
    {"recipes": […]}}`."""
    return list(read(notebook).metadata.get("book", {}).get("recipes", []))


def lacking(notebook: Path, profile: profiles.Profile) -> list[str] | None:
    """What keeps the chapter from asking the profile's model: the parameters of which it needs one.
    None: nothing does.

    They stand in its metadata, `{"book": {"model_needs": […]}}`. An empty list means that no model
    of a reader's can be
    asked there, as in a chapter that does not declare `model`; without the entry, `model` is
    enough.
    """
    if not profile.model:
        return None
    needs = (
        read(notebook).metadata.get("book", {}).get("model_needs")
        if "model" in parameters(notebook)
        else []
    )
    return None if needs is None or any(getattr(profile, name) for name in needs) else list(needs)


def rules(notebook: Path, claims: Path) -> list[Any]:
    """Entries of the claims whose id stands in the notebook's code as a literal."""
    nodes = ast.walk(tree(notebook))
    text = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return [entry for entry in entries(claims) if entry["id"] in text]


def entries(claims: Path) -> list[dict[str, Any]]:
    """The rows of the claims files of a folder, in order; none where there is no folder."""
    return [
        row
        for file in sorted(claims.glob("*.yml"))
        for row in yaml.safe_load(file.read_text()) or []
    ]


def site_sources(root: Path) -> list[str]:
    """Files, relative to the root, that the site is made of besides executed chapters."""
    kept = [
        p
        for folder in ("book", "pipeline")
        for p in sorted((root / folder).rglob("*"))
        if p.is_file()
    ]
    extra = [
        root / "lib" / "profiles.py",
        *(
            root / "lib" / "report" / f"{name}.py"
            for name in ("captions", "cards", "chapter", "charts", "claims", "markup")
        ),
    ]
    found = [
        p
        for p in [*kept, *extra, root / "runs" / "benchmarks.json"]
        if p.is_file() and "__pycache__" not in p.parts
    ]
    return [str(p.relative_to(root)) for p in found]


def digest(files: list[Path]) -> str:
    """One hash over the contents of files: times of change may lie, after a checkout or a copy."""
    return hashlib.sha256(
        b"".join(hashlib.sha256(Path(f).read_bytes()).digest() for f in files)
    ).hexdigest()


def _targets(line: ast.stmt) -> Iterator[ast.Name]:
    """Plain names that a statement assigns."""
    targets = (
        line.targets
        if isinstance(line, ast.Assign)
        else [line.target]
        if isinstance(line, ast.AnnAssign)
        else []
    )
    return (t for t in targets if isinstance(t, ast.Name))
