"""Every chapter: its form, and one run by plain papermill under the smoke profile."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from lib import profiles
from pipeline import dependencies
from tests.chapters import solutions, your_model

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("[0-9]*.ipynb"))
each = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)


def cells(chapter: Path, kind: str = "code") -> list[nbformat.NotebookNode]:
    return [c for c in nbformat.read(chapter, 4).cells if c.cell_type == kind]


def papermill(chapter: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command of the documentation, from the root of the repository."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(chapter),
        str(output),
        "-f",
        "params/smoke.yaml",
        *options,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=560
    )


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """Where models and results of these runs go: never the repository's own `runs/`."""
    base = tmp_path_factory.getbasetemp()
    shared = (
        base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    )  # one training for all workers
    return shared / "runs"


@each
def test_outputs_are_stripped(chapter):
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells(chapter))
    assert "widgets" not in nbformat.read(chapter, 4).metadata


def is_parameters(cell: nbformat.NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


@each
def test_parameters_are_those_of_the_profiles_with_values_that_are_allowed(chapter):
    source = next(cell.source for cell in cells(chapter) if is_parameters(cell))
    values: dict = {}
    exec(
        compile(source, chapter.name, "exec"), {}, values
    )  # plain assignments: the test below says so
    assert set(dependencies.parameters(chapter)) <= set(profiles.Profile.model_fields)
    # One default for each parameter: a chapter run by itself answers the same question as the book.
    assert values == {
        name: getattr(profiles.validate(values, chapter.name), name) for name in values
    }
    assert values == {name: getattr(profiles.Profile(), name) for name in values}


def functions_of_lib() -> dict[tuple[str, str], ast.FunctionDef]:
    """(module, name) -> every function of lib that takes the parameters `p`."""
    found = {}
    for file in (ROOT / "lib").rglob("*.py"):
        functions = (
            n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.FunctionDef)
        )
        found |= {
            (file.stem, f.name): f
            for f in functions
            if "p" in [a.arg for a in [*f.args.args, *f.args.kwonlyargs]]
        }
    return found


def read_from_p(
    code: ast.AST,
    home: str,
    known: dict[tuple[str, str], ast.FunctionDef],
    seen: set[tuple[str, str]],
) -> set[str]:
    """Parameters that a piece of code reads as `p.name`, itself or in functions of lib that it
    hands `p` to."""
    found: set[str] = set()
    for node in ast.walk(code):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "p"
        ):
            found.add(node.attr)
        if not isinstance(node, ast.Call) or not any(
            isinstance(a, ast.Name) and a.id == "p"
            for a in [*node.args, *(k.value for k in node.keywords)]
        ):
            continue
        f = node.func
        called = (
            (f.value.id, f.attr)
            if isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name)
            else (home, getattr(f, "id", ""))
        )
        if called in known and called not in seen:
            found |= read_from_p(known[called], called[0], known, seen | {called})
    return found & set(profiles.Profile.model_fields)


@each
def test_every_parameter_that_a_chapter_reads_reaches_it(chapter):
    """The build hands over what is declared, `ALWAYS`, and to a chapter with a model all that
    `Model` holds; papermill obeys any name."""
    aliases = {
        a.asname: a.name
        for n in ast.walk(dependencies.tree(chapter))
        if isinstance(n, ast.ImportFrom)
        for a in n.names
        if a.asname
    }
    known = functions_of_lib()
    known |= {
        (alias, name): f
        for alias, module in aliases.items()
        for (home, name), f in known.items()
        if home == module
    }
    given = set(dependencies.values(chapter, profiles.Profile()))
    missing = read_from_p(dependencies.tree(chapter), "", known, set()) - given
    assert not missing, (
        f"declare {', '.join(sorted(missing))} in the parameters cell of {chapter.name}"
    )


@each
def test_each_parameter_is_a_plain_assignment_with_a_comment(chapter):
    source = next(cell.source for cell in cells(chapter) if is_parameters(cell))
    for line in ast.parse(source).body:
        assert (
            isinstance(line, ast.Assign | ast.AnnAssign) and ast.literal_eval(line.value) is not ...
        )
        assert (
            "#" in source.splitlines()[line.lineno - 1]
            or "#" in source.splitlines()[line.end_lineno - 1]
        )


@each
def test_parameters_are_checked_first_and_provenance_comes_last(chapter):
    code = [cell.source for cell in cells(chapter)]
    assert "profiles.from_notebook(globals())" in code[1] and f'Report("{chapter.stem}"' in code[1]
    assert code[-1].strip().endswith("book.close()")


@each
def test_nothing_is_installed_and_nothing_imported_wholesale(chapter):
    for cell in cells(chapter):
        assert not re.search(r"^\s*[!%]|import \*", cell.source, re.M)


@each
def test_glued_numbers_are_made_by_the_chapter(chapter):
    used = {
        name
        for cell in cells(chapter, "markdown")
        for name in re.findall(r"\{glue:\w*\}`([^`<]+)`", cell.source)
    }
    keywords = {
        k.arg
        for n in ast.walk(dependencies.tree(chapter))
        if isinstance(n, ast.Call)
        for k in n.keywords
    }
    rules = dependencies.rules(chapter, ROOT / "book" / "claims")
    verdicts = {f"said_{rule['id']}" for rule in rules}  # each claim hands over its word
    assert {name for name in used if re.match("said_[A-Z]", name)} <= verdicts
    spread = re.search(r"book\.number\(\*\*", "\n".join(cell.source for cell in cells(chapter)))
    assert spread or used <= keywords | verdicts, used - keywords - verdicts


@each
def test_claims_of_a_chapter_name_it_in_the_claims_file(chapter):
    rows = dependencies.entries(ROOT / "book" / "claims")
    named = {row["id"] for row in rows if row["chapter"] == chapter.stem}
    assert {rule["id"] for rule in dependencies.rules(chapter, ROOT / "book" / "claims")} == named


@each
def test_what_is_not_answered_stops_nothing(chapter):
    assert not solutions.read_elsewhere(chapter)


@pytest.mark.alone
@each
def test_plain_papermill_runs_it(chapter, tmp_path, runs):
    """With a reader's model where the chapter asks one: without one, every build executes it. And
    with its exercises solved, of which the checks say that they are right."""
    output, worked = tmp_path / "out.ipynb", tmp_path / "solved.ipynb"
    notebook, answers = solutions.solved(chapter)
    nbformat.write(notebook, worked)
    asks = your_model.CHECKS.get(chapter.stem)
    yours = your_model.options(tmp_path) if asks else []
    result = papermill(worked, output, "-p", "seed", "1", "-p", "runs_dir", str(runs), *yours)
    assert result.returncode == 0, result.stderr[-3000:]
    executed = nbformat.read(output, 4)
    assert all(
        c.execution_count for c in executed.cells if c.cell_type == "code" and c.source.strip()
    )
    assert "IProgress" not in str(executed.cells)  # nothing warns: lib is imported first
    assert solutions.said(executed) == ["**Right.**"] * answers
    results = runs / "smoke" / "results" / chapter.stem
    judged = {row["id"] for row in json.loads((results / "claims.json").read_text())}
    assert judged == {rule["id"] for rule in dependencies.rules(chapter, ROOT / "book" / "claims")}
    markup = "".join(
        o.data["text/html"]
        for c in executed.cells
        for o in c.get("outputs", [])
        if "text/html" in o.get("data", {})
    )
    linked = set(re.findall(rf'href="\.\./results/{chapter.stem}/([\w-]+\.csv)"', markup))
    assert linked and linked <= {p.name for p in results.glob("*.csv")}
    assert not unexplained(results), "say in book/columns.yml what they mean, and their units"
    record = json.loads((results / "provenance.json").read_text())
    assert (
        record["parameters"]["seed"] == 1
        and "-p seed 1" in record["repeat"]
        and str(runs) not in json.dumps(record)
    )
    if asks:
        asks(results)


def unexplained(results: Path) -> list[str]:
    """Files and their columns of which nobody has said what they mean."""
    known = pd.read_csv(results / "columns.csv", keep_default_na=False)
    assert set(known.file) == {file.name for file in results.glob("*.csv")} - {"columns.csv"}
    return [f"{row.file}: {row.column}" for row in known[known.means == ""].itertuples()]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("sead", "1"), "Did you mean `seed`?"),
        (("seed", "1.5"), "`seed`"),
        (("examples", "0"), "`examples`"),
        (("model", "./no/such/model"), "No directory ./no/such/model"),
    ],
    ids=["misspelt", "wrong type", "out of range", "missing model"],
)
@pytest.mark.skipif(not CHAPTERS, reason="no chapter yet")
def test_a_wrong_parameter_stops_before_any_work(option, said, tmp_path, runs):
    result = papermill(
        CHAPTERS[0],
        tmp_path / "out.ipynb",
        "-p",
        *option,
        "-p",
        "profile",
        "stopped",
        "-p",
        "runs_dir",
        str(runs),
    )
    assert result.returncode != 0 and said in result.stderr
    executed = [
        c
        for c in nbformat.read(tmp_path / "out.ipynb", 4).cells
        if c.cell_type == "code" and c.execution_count
    ]
    assert (
        len(executed) <= 3 and not (runs / "stopped").exists()
    )  # defaults, what was injected, and the check


def test_every_profile_file_is_valid_and_named_after_itself():
    files = sorted((ROOT / "params").glob("*.yaml"))
    assert {"embedded", "smoke", "full"} <= {file.stem for file in files}
    for file in files:
        assert profiles.load(file).profile == file.stem
        assert set(yaml.safe_load(file.read_text())) <= set(profiles.Profile.model_fields)
