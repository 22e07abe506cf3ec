"""What a chapter depends on is read from its source, no more and no less."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from lib import profiles
from pipeline import dependencies

LIB = {
    "__init__": "",
    "a": "from lib import b\n",
    "b": "def late():\n    from lib.c import x\n",
    "c": "x = 1\n",
    "d": "import lib.c\n",
    "e": 'CORPUS = "lib.d"\n',
    "f": "",
}


@pytest.fixture
def lib(tmp_path) -> Path:
    (tmp_path / "lib").mkdir()
    for name, text in LIB.items():
        (tmp_path / "lib" / f"{name}.py").write_text(text)
    return tmp_path / "lib"


def notebook(folder: Path, *cells: str, parameters: str = "seed = 0", **metadata) -> Path:
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in (parameters, *cells)], metadata=metadata
    )
    made.cells[0].metadata["tags"] = ["parameters"]
    path = folder / "01_x.ipynb"
    nbformat.write(made, path)
    return path


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from lib import a", "a b c"),
        ("import lib.b as q", "b c"),
        ("from lib.d import c", "c d"),
        ("from lib import c, f", "c f"),
        ("from lib import e", "c d e"),
        ("import numpy", ""),
        ("def g():\n    from lib import f", "f"),
    ],
)
def test_imports_are_followed(tmp_path, lib, code, found):
    modules = dependencies.modules(notebook(tmp_path, code), lib)
    assert [name for name in modules if name != "lib"] == [f"lib.{name}" for name in found.split()]


CODE = 'def f(x):\n    """Twice."""\n    return 2 * x\n\nf(1)'


@pytest.mark.parametrize(
    ("after", "same"),
    [
        (CODE.replace("Twice", "Two times"), True),
        (CODE.replace("\n\n", "\n# a comment\n"), True),
        (CODE.replace("2 * x", "(2 * x)"), True),
        (CODE.replace("2 * x", "x * 2"), False),
        (f"{CODE};", False),  # hides what the cell shows
        (f"'shown'\n{CODE}", False),
    ],
)
def test_the_code_of_a_notebook_is_what_its_cells_do(tmp_path, lib, after, same):
    before = dependencies.code(notebook(tmp_path, CODE), lib)
    assert (dependencies.code(notebook(tmp_path, after), lib) == before) is same


def test_prose_and_folds_are_not_code_and_what_is_imported_is(tmp_path, lib):
    path = notebook(tmp_path, "from lib import c")
    before, made = dependencies.code(path, lib), nbformat.read(path, 4)
    made.cells.insert(1, nbformat.v4.new_markdown_cell("prose"))
    made.cells[2].metadata["tags"] = ["hide-input"]
    nbformat.write(made, path)
    assert dependencies.code(path, lib) == before
    (lib / "c.py").write_text('"""A docstring."""\n\nx = 1\n')
    assert dependencies.code(path, lib) == before
    (lib / "c.py").write_text("x = 2\n")
    assert dependencies.code(path, lib) != before


def test_parameters_and_recipes_are_followed_by_value(tmp_path):
    path = notebook(tmp_path, "from lib import profiles\nfrom lib.models import opening")
    found = dependencies.modules(path)
    assert "lib.models.training" in found
    assert not dependencies.TRACKED_BY_VALUE & set(found)


def test_models_are_named_after_what_their_weights_depend_on(tmp_path):
    path = notebook(tmp_path, book={"recipes": ["two_layer"]})
    profile = profiles.validate({"seeds": [0, 7], "profile": "mine"}, "test")
    places = dependencies.models(path, profile)
    assert [place.name[:-10] for place in places] == ["two_layer-seed0-", "two_layer-seed7-"]
    other = profile.model_copy(update={"profile": "other"})
    assert dependencies.models(path, other) == places
    longer = profile.model_copy(update={"training_scale": 2.0})
    assert not set(dependencies.models(path, longer)) & set(places)


def test_declared_parameters_get_the_values_of_the_profile(tmp_path):
    chapter = notebook(tmp_path, parameters="seed: int = 0  # a seed\nexamples = 3\n")
    profile = profiles.validate(
        {"profile": "here", "seed": 5, "examples": 9, "resamples": 100}, "test"
    )
    assert dependencies.values(chapter, profile) == {
        "seed": 5,
        "examples": 9,
        "profile": "here",
        "runs_dir": "runs",
        "threads": 1,
    }


def test_a_chapter_that_declares_a_model_is_told_how_to_open_it(tmp_path):
    profile = profiles.validate(
        {"model": "mine", "dtype": "bfloat16", "trust_remote_code": True, "threads": 4}, "test"
    )
    given = dependencies.values(notebook(tmp_path, parameters='model = ""'), profile)
    assert set(given) == {"profile", "runs_dir", "threads", *profiles.Model.model_fields}
    assert given["dtype"] == "bfloat16" and given["trust_remote_code"] and given["threads"] == 4


SERIES = {"checkpoints": ["a", "b", "c"]}


@pytest.mark.parametrize(
    ("book", "given", "lacking"),
    [
        ({}, {}, None),  # the model is enough
        ({"model_needs": ["checkpoints"]}, {}, ["checkpoints"]),
        ({"model_needs": ["checkpoints"]}, SERIES, None),
        ({"model_needs": ["checkpoints", "agenda_file"]}, SERIES, None),  # one of them is enough
        ({"model_needs": []}, SERIES, []),  # no model can be asked here
    ],
)
def test_a_model_that_a_chapter_cannot_ask_anything_is_left_out(tmp_path, book, given, lacking):
    chapter = notebook(tmp_path, parameters='model = ""', book=book)
    profile = profiles.validate({"model": "mine", "revision": "abc"} | given, "test")
    assert dependencies.lacking(chapter, profile) == lacking
    known = dependencies.values(chapter, profile)
    assert {name: known[name] for name in profiles.Model.model_fields} == (
        profile if lacking is None else profiles.Model()
    ).model_dump(include=set(profiles.Model.model_fields))
    assert (
        dependencies.lacking(chapter, profiles.validate(given, "test")) is None
    )  # no model, nothing to leave out


def test_a_chapter_that_declares_no_model_can_ask_none(tmp_path):
    assert (
        dependencies.lacking(notebook(tmp_path), profiles.validate({"model": "mine"}, "test")) == []
    )


def test_an_unknown_declared_parameter_is_named(tmp_path):
    with pytest.raises(ValueError, match="sead"):
        dependencies.values(
            notebook(tmp_path, parameters="sead = 0"), profiles.validate({}, "test")
        )


def test_there_must_be_one_parameters_cell(tmp_path):
    path = notebook(tmp_path)
    path.write_text(path.read_text().replace('"parameters"', '"other"'))
    with pytest.raises(ValueError, match="parameters"):
        dependencies.parameters(path)


def test_recipes_come_from_the_metadata(tmp_path):
    assert dependencies.recipes(notebook(tmp_path, book={"recipes": ["a", "b"]})) == ["a", "b"]
    assert dependencies.recipes(notebook(tmp_path)) == []


def test_rules_are_those_of_the_claims_that_the_code_names(tmp_path):
    claims = tmp_path / "claims"
    claims.mkdir()
    (claims / "01_x.yml").write_text(json.dumps([{"id": "O1", "x": 1}, {"id": "O10", "x": 2}]))
    assert dependencies.rules(notebook(tmp_path, 'book.claim("O10", [])'), claims) == [
        {"id": "O10", "x": 2}
    ]


def test_the_digest_follows_contents_and_not_times(tmp_path):
    file = tmp_path / "f"
    file.write_text("a")
    before = dependencies.digest([file])
    file.touch()
    assert dependencies.digest([file]) == before
    file.write_text("b")
    assert dependencies.digest([file]) != before
