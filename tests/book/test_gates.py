"""Nothing errored, incomplete, stale or missing is published, and each is named."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest

from lib import files, profiles
from pipeline import dependencies, gates

PROFILE = profiles.validate({"profile": "tiny", "seed": 3}, "test")


def cell(
    source: str, count: int | None = 1, *outputs: dict, tags: tuple[str, ...] = ()
) -> nbformat.NotebookNode:
    made = nbformat.v4.new_code_cell(
        source, execution_count=count, outputs=[nbformat.from_dict(o) for o in outputs]
    )
    made.metadata["tags"] = list(tags)
    return made


@pytest.fixture
def chapter(tmp_path) -> Path:
    """A source and its faithful execution."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "executed").mkdir()
    source = nbformat.v4.new_notebook(
        cells=[cell("seed = 0", None, tags=("parameters",)), cell("1 + 1", None)]
    )
    nbformat.write(source, tmp_path / "chapters" / "01_x.ipynb")
    executed(tmp_path, cell("seed = 0", 1, tags=("parameters",)), cell("1 + 1", 2))
    return tmp_path


ENDED = "2026-01-01T00:00:00+00:00"


def executed(folder: Path, *cells: nbformat.NotebookNode, **changes) -> None:
    """An executed chapter, with the results that it left; its last cell shows when it ended."""
    recorded = {
        "source": dependencies.code(folder / "chapters" / "01_x.ipynb"),
        "parameters": {"seed": 3, "profile": "tiny", "runs_dir": "runs", "threads": 1},
    }
    closing = cell(
        "book.close()", 9, {"output_type": "stream", "name": "stdout", "text": f"finished {ENDED}"}
    )
    made = nbformat.v4.new_notebook(cells=[*cells, closing], metadata={"book": recorded | changes})
    nbformat.write(made, folder / "executed" / "01_x.ipynb")
    left(folder, recorded["parameters"] | changes.get("parameters", {}))


def left(folder: Path, parameters: dict, finished: str = ENDED) -> None:
    """What a run of the chapter leaves beside the executed notebook."""
    files.write_json(
        folder / "results" / "01_x" / "provenance.json",
        {"parameters": parameters, "finished": finished},
    )


def problems(folder: Path, *names: str) -> str:
    with pytest.raises(gates.GateError) as caught:
        gates.check(list(names or ["01_x"]), folder / "chapters", folder / "executed", PROFILE)
    return str(caught.value)


def test_a_faithful_execution_passes(chapter):
    gates.check(["01_x"], chapter / "chapters", chapter / "executed", PROFILE)


def test_an_errored_cell(chapter):
    executed(
        chapter,
        cell(
            "1 / 0",
            1,
            {
                "output_type": "error",
                "ename": "ZeroDivisionError",
                "evalue": "by zero",
                "traceback": [],
            },
        ),
    )
    assert problems(chapter) == "01_x: errored: cell 0: ZeroDivisionError: by zero"


def test_a_failure_that_papermill_recorded(chapter):
    path = chapter / "executed" / "01_x.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.metadata["papermill"] = {"exception": True}
    nbformat.write(notebook, path)
    assert "01_x: errored" in problems(chapter)


def test_a_cell_that_did_not_run(chapter):
    executed(chapter, cell("1 + 1", 1), cell("2 + 2", None), cell("  ", None))
    assert problems(chapter) == "01_x: incomplete: cell 1 did not run"


def test_a_source_that_changed_since(chapter):
    path = chapter / "chapters" / "01_x.ipynb"
    path.write_text(path.read_text().replace("1 + 1", "1 + 2"))
    assert "01_x: stale: its code, or what it imports of lib, has changed" in problems(chapter)


def test_other_parameters(chapter):
    executed(
        chapter,
        cell("seed = 0"),
        parameters={"seed": 4, "profile": "tiny", "runs_dir": "runs", "threads": 1},
    )
    assert problems(chapter) == "01_x: stale: executed with other values of seed"


@pytest.mark.parametrize(
    ("parameters", "finished", "said"),
    [
        (
            {"seed": 3, "profile": "tiny", "model": "gpt2"},
            ENDED,
            "come from a run with other values of model",
        ),
        ({"seed": 4, "profile": "tiny"}, ENDED, "come from a run with other values of seed"),
        ({"seed": 3, "profile": "tiny"}, "2026-01-02T00:00:00+00:00", "come from another run"),
    ],
)
def test_results_of_another_run(chapter, parameters, finished, said):
    left(chapter, parameters, finished)
    assert (
        problems(chapter)
        == f"01_x: stale: its results {said}; delete {chapter / 'executed' / '01_x.ipynb'} and "
        "build again"
    )


def test_results_of_a_run_that_has_not_ended(chapter):
    (chapter / "results" / "01_x" / "provenance.json").unlink()
    assert "a run that writes them has not ended" in problems(chapter)


def test_parameters_that_a_run_did_not_name_have_their_defaults(chapter):
    left(
        chapter,
        {"seed": 3, "profile": "tiny", "runs_dir": "runs", "examples": profiles.Profile().examples},
    )
    gates.check(["01_x"], chapter / "chapters", chapter / "executed", PROFILE)


def test_a_run_that_recorded_nothing(chapter):
    executed(chapter, cell("seed = 0"), source=None)
    assert "stale" in problems(chapter)


def test_a_chapter_that_was_not_executed_or_failed(chapter):
    (chapter / "executed" / "01_x.ipynb").rename(chapter / "executed" / "01_x.failed.ipynb")
    assert "01_x: errored: see" in problems(chapter)
    (chapter / "executed" / "01_x.failed.ipynb").unlink()
    assert problems(chapter) == "01_x: missing: not executed under this profile"


def test_a_chapter_that_does_not_exist_and_all_problems_at_once(chapter):
    executed(chapter, cell("seed = 0", None))
    text = problems(chapter, "01_x", "02_y")
    assert "01_x: incomplete" in text and "02_y: missing" in text


@pytest.mark.parametrize(
    "path",
    [
        "/home/ada/book",
        "/tmp/ipykernel_876/155.py",
        "/Users/ada/book",
        "/root/book",
        "C:\\Users\\ada",
        f"{sys.prefix}/lib",
    ],
)
def test_a_path_of_the_machine_in_an_output(chapter, path):
    executed(
        chapter,
        cell("print(p)", 1, {"output_type": "stream", "name": "stdout", "text": f"see {path}"}),
    )
    assert "shows a path of this machine" in problems(chapter)


def test_a_folder_that_the_profile_names_does_not_stop_the_site(chapter):
    """Pages show its last name; what else of the machine an output shows is refused as ever."""
    home = f"{Path.home()}/models/mine"
    profile = profiles.validate({"profile": "tiny", "seed": 3, "model": home}, "test")

    def outcome(text: str) -> None:
        shown = {"output_type": "stream", "name": "stdout", "text": text}
        executed(chapter, cell("print(p.model)", 1, shown))
        gates.check(["01_x"], chapter / "chapters", chapter / "executed", profile)

    outcome(f"No head of {home} passes")
    with pytest.raises(gates.GateError, match="shows a path of this machine"):
        outcome(f"{home} lies in {Path.home()}/other")


def test_the_table_of_contents_lists_every_chapter(chapter):
    toc = chapter / "_toc.yml"
    toc.write_text(
        "root: intro\nparts:\n  - chapters:\n      - file: chapters/01_x\n      - file: claims\n"
    )
    assert gates.chapters_of(toc) == ["01_x"] and gates.unlisted(toc, chapter / "chapters") == []
    (chapter / "chapters" / "02_y.ipynb").write_text("{}")
    assert gates.unlisted(toc, chapter / "chapters") == ["02_y"]
