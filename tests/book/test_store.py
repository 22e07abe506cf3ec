"""Trained models are kept once for all profiles, trained anew when what they depend on changes, and
removed when no profile needs them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from tests.book import project
from tests.book.test_pipeline import edit, second_chapter, targets

SMALL = "seeds: [0]\ntraining_scale: 0.001\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A chapter that needs one model, executed under the profile `tiny`; `mine` is ready to be
    built."""
    folder = project.make(tmp_path_factory.mktemp("store"))
    (folder / "lib" / "extra.py").write_text("VALUE = 1\n")
    second_chapter(folder)
    chapter = folder / "chapters" / "02_other.ipynb"
    made = nbformat.read(chapter, 4)
    made.metadata["book"] = {"recipes": ["one_layer"]}
    nbformat.write(made, chapter)
    (folder / "params" / "tiny.yaml").write_text(project.PROFILE + SMALL)
    mine = project.PROFILE.replace("profile: tiny", "profile: mine")
    (folder / "params" / "mine.yaml").write_text(mine + SMALL)
    project.run(folder, "pipeline.build", "tiny", targets()[1])
    return folder


def models(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "runs" / "models").glob("*"))


def jobs(folder: Path, profile: str = "tiny") -> set[str]:
    """Recipes and chapters that a build of the second chapter would train and execute."""
    target = targets()[1].replace("tiny", profile)
    said = project.run(folder, "pipeline.build", profile, target, "--dry-run", "--quiet", "host")
    return set(re.findall(r"(?:rule train|wildcards: name=)_?(\w+)", said.stdout))


def test_the_second_build_does_nothing_and_another_profile_trains_nothing(built):
    assert re.fullmatch(r"one_layer-seed0-[0-9a-f]{10}", " ".join(models(built)))
    assert jobs(built) == set()
    assert jobs(built, "mine") == {"02_other"}


CHANGES = {
    "a docstring of the training": (
        "lib/models/training.py",
        '"""One step on',
        '"""A step on',
        False,
    ),
    "a comment of a recipe": ("lib/models/recipes.py", "_ALL = (", "_ALL = (  # all", False),
    "another recipe": ("lib/models/recipes.py", '"two_layer_mlp", 2', '"two_layer_mlp", 3', False),
    "the recipe": ("lib/models/recipes.py", '"one_layer", 1', '"one_layer", 1, batch=16', True),
    "the training": ("lib/models/training.py", "0.55 + 0.45", "0.5 + 0.5", True),
    "its length": ("params/tiny.yaml", "0.001", "0.02", True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_trained_anew(built, change):
    name, old, new, trained = CHANGES[change]
    path = built / name
    before = path.read_bytes()
    try:
        edit(path, old, new)
        assert jobs(built) == ({"one_layer_0", "02_other"} if trained else set())
    finally:
        path.write_bytes(before)


def test_a_line_of_the_training_is_no_reason_and_hides_no_changed_chapter(built):
    places = {"Snakefile": "-m pipeline.train", "chapters/02_other.ipynb": "seed = 0"}
    before = {name: (built / name).read_bytes() for name in places}
    try:
        edit(built / "Snakefile", places["Snakefile"], " -m pipeline.train")
        assert jobs(built) == set()
        edit(built / "chapters" / "02_other.ipynb", "seed = 0", "seed = 7")
        assert jobs(built) == {"02_other"}
    finally:
        for name, said in before.items():
            (built / name).write_bytes(said)


def test_a_lost_mark_costs_no_training_and_executes_no_chapter(built):
    run = built / "runs" / "models" / models(built)[0]
    before = (run / "finished.json").stat().st_mtime_ns
    (run / "trained").unlink()
    project.run(built, "pipeline.build", "tiny", targets()[1])
    assert (run / "finished.json").stat().st_mtime_ns == before
    assert jobs(built) == set()


def test_cleaning_keeps_what_other_profiles_need(built, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns(".snakemake"))
    store, kept = folder / "runs" / "models", models(folder)
    (store / "one_layer-seed0-0123456789").mkdir()  # of code that has changed since
    (store / "notes").mkdir()  # somebody's own
    shutil.copytree(folder / "runs" / "tiny", folder / "runs" / "mine", dirs_exist_ok=True)
    said = project.run(folder, "pipeline.clean", "tiny").stdout
    assert "Removed profile tiny and 1 trained models; 1 stay, which mine may need." in said
    assert models(folder) == ["notes", *kept] and not (folder / "runs" / "tiny").exists()
    project.run(folder, "pipeline.clean", "mine")
    assert models(folder) == ["notes"] and not (folder / "runs" / "mine").exists()


@pytest.mark.parametrize("name", ["", "..", "models", "never-built", "tiny/../mine"])
def test_cleaning_what_is_no_built_profile_removes_nothing(built, name):
    before = sorted(built.rglob("runs/**"))
    result = project.run(built, "pipeline.clean", name, check=False)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert sorted(built.rglob("runs/**")) == before
