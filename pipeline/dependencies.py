"""What a chapter depends on, read from its source without running it.

The Snakefile declares exactly this, so that what re-executes a chapter is what changes its results:
the code of its cells and of the modules of lib that it imports, layout, comments and docstrings
aside; the profile's values of the parameters that it declares; the rules of the claims that it
judges; its captions; the models that it needs; and the pinned versions. Markdown is not in it: the
site takes present prose beside executed outputs.
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
from lib.models import store

# Where results go and on how many threads: every chapter is given these.
ALWAYS = ("profile", "runs_dir", "threads")
# What these hold reaches a chapter as values of parameters and as names of trained models.
TRACKED_BY_VALUE = frozenset(
    {"lib.parameters", "lib.profiles", "lib.models.recipes", "lib.models.run_recipes"}
)
SHOWN = ("hide-", "remove-")  # tags of cells that say only how the page shows them


def read(notebook: Path) -> nbformat.NotebookNode:
    """A notebook in the current format."""
    return nbformat.read(notebook, as_version=4)


def write(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook whole."""
    files.write_whole(path, nbformat.writes(notebook))


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """A notebook's own cells of code, in order, without the parameters that papermill put in."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in code if "injected-parameters" not in cell.metadata.get("tags", [])]


def glued(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """The numbers that the run made available to the prose, by name."""
    outputs = [o for cell in code_cells(notebook) for o in cell.outputs]
    found = {}
    for output in outputs:
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        if name:
            literal = output["data"]["application/papermill.record/text/plain"]
            found[name] = ast.literal_eval(literal)
    return found


def tree(notebook: Path) -> ast.Module:
    """The code of a notebook as one syntax tree. Errors: SyntaxError that names the cell."""
    body: list[ast.stmt] = []
    for index, cell in enumerate(read(notebook).cells):
        if cell.cell_type == "code":
            body += ast.parse(cell.source, f"{notebook.name}, cell {index}").body
    return ast.Module(body, [])


def modules(notebook: Path, lib: Path = sources.LIB) -> list[str]:
    """Dotted names of the modules of lib that a notebook imports, directly or through others."""
    return sources.closure(sources.imported(tree(notebook), lib), lib, TRACKED_BY_VALUE)


def code(notebook: Path, lib: Path = sources.LIB) -> str:
    """Sixteen hex digits over the code of a notebook's cells and of the modules of lib that it
    imports."""
    said = [*map(_said, code_cells(read(notebook))), sources.digest(modules(notebook, lib), lib)]
    return hashlib.sha256("\0".join(said).encode()).hexdigest()[:16]


def _said(cell: nbformat.NotebookNode) -> str:
    """What of a cell decides its output: its syntax tree, the tags that change how it runs, and a
    closing semicolon, which hides the last value."""
    tags = [tag for tag in cell.metadata.get("tags", []) if not tag.startswith(SHOWN)]
    hides = cell.source.rstrip().endswith(";")
    cell_tree = ast.Interactive(ast.parse(cell.source).body)
    return repr((sources.bare(cell_tree), sorted(tags), hides))


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
    cannot ask anything (see `lacking`) it hears nothing, so that one profile serves the whole book.
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
            f"{notebook}: its parameters cell declares {', '.join(missing)}, "
            "unknown to lib/parameters.py."
        )
    return {name: known[name] for name in names}


def recipes(notebook: Path) -> list[str]:
    """Names of the training recipes that the notebook needs, from its metadata `{"book":
    {"recipes": […]}}`."""
    return list(read(notebook).metadata.get("book", {}).get("recipes", []))


def models(notebook: Path, profile: profiles.Profile) -> list[Path]:
    """Directories of the trained models that the notebook needs: every recipe with every seed."""
    made = [store.recipe_of(name, profile) for name in recipes(notebook)]
    return [place for one in made for place in store.places(one, profile.seeds, profile)]


def measures(notebook: Path, profile: profiles.Profile) -> list[str]:
    """Names of what the notebook reads of each of the profile's checkpoints, from its metadata
    `{"book": {"series": […]}}`; none where it cannot ask them."""
    if not profile.checkpoints or lacking(notebook, profile) is not None:
        return []
    return list(read(notebook).metadata.get("book", {}).get("series", []))


def lacking(notebook: Path, profile: profiles.Profile) -> list[str] | None:
    """What keeps the chapter from asking the profile's model: the parameters of which it needs one.
    None: nothing does.

    They stand in its metadata, `{"book": {"model_needs": […]}}`. An empty list means that no model
    of a reader's can be asked there, as in a chapter that does not declare `model`; without the
    entry, `model` is enough.
    """
    if not profile.model:
        return None
    needs = (
        read(notebook).metadata.get("book", {}).get("model_needs")
        if "model" in parameters(notebook)
        else []
    )
    return None if needs is None or any(getattr(profile, name) for name in needs) else list(needs)


def asks(notebook: Path, profile: profiles.Profile) -> bool:
    """Whether a chapter can ask a reader's model something under a profile."""
    return "model" in parameters(notebook) and lacking(notebook, profile) is None


def opens(notebook: Path, profile: profiles.Profile) -> bool:
    """Whether a chapter opens a reader's model on the machine that runs it."""
    named = (profile.model or profile.checkpoints) and not profile.remote
    return bool(named and asks(notebook, profile))


def slots(profile: profiles.Profile) -> dict[str, int]:
    """What a job that opens the profile's model takes of a machine, as Snakemake's resources."""
    return {"model": 1} | ({} if profile.device == "cpu" else {"gpu": 1})


def feeds(chapters: Path, profile: profiles.Profile) -> list[str]:
    """The kinds of prompts that the chapters of a folder feed the profile's model: of each that
    can ask it anything, those in its metadata, `{"book": {"feeds": […]}}`."""
    if not profile.model:
        return []
    kinds: list[str] = []  # in the order of the book: the first complaint is about its beginning
    for notebook in sorted(chapters.glob("[0-9]*.ipynb")):
        if asks(notebook, profile):
            kinds += read(notebook).metadata.get("book", {}).get("feeds", [])
    return list(dict.fromkeys(kinds))


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


def captions(notebook: Path, folder: Path) -> Any:
    """The captions of the notebook's figures and tables; None where it has no such file."""
    file = folder / f"{notebook.stem}.yml"
    return yaml.safe_load(file.read_text()) if file.is_file() else None


def site_sources(root: Path) -> list[str]:
    """Files, relative to the root, that the site is made of besides executed chapters."""
    kept = [path for folder in ("book", "pipeline") for path in sorted((root / folder).rglob("*"))]
    kept += sorted((root / "chapters").glob("[0-9]*.ipynb"))  # their prose is taken from here
    kept += [
        *(root / "lib" / f"{name}.py" for name in ("parameters", "profiles")),
        *sorted((root / "lib" / "report").glob("*.py")),
    ]
    kept += [files.BENCHMARKS, root / "CITATION.cff"]
    found = [path for path in kept if path.is_file() and "__pycache__" not in path.parts]
    return [str(path.relative_to(root)) for path in found]


def others(runs: Path, but: str) -> list[Path]:
    """The records of all other profiles, on which the pages over profiles depend."""
    kinds = ("claims", "of_model", "provenance")
    found = (path for kind in kinds for path in runs.glob(f"*/results/*/{kind}.json"))
    return sorted(path for path in found if path.parents[2].name != but)


def digest(files: list[Path]) -> str:
    """One hash over the contents of files: times of change may lie, after a checkout or a copy."""
    each = (hashlib.sha256(file.read_bytes()).digest() for file in files)
    return hashlib.sha256(b"".join(each)).hexdigest()


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
