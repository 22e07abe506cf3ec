"""Pages over profiles: a column a model, what runs took, what a profile can ask; and costs that are
known before anything is fetched."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from lib import files, profiles
from lib.measures.statistics import Estimate
from lib.report import claims
from pipeline import answers, cost, cost_page, dependencies, scoreboard
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
RULE = {
    "measure": "how much there is",
    "side": "above",
    "tolerance": 0.5,
    "reason": "half of what the paper has",
    "nulls": ["untrained"],
}
SAID = {"paper": "olsson2022", "statement": "It is so.", "reported": "Much.", "chapter": "01_a"}
CLAIMS = {
    "O1": claims.Claim(id="O1", parts={"all": RULE}, **SAID),
    "O2": claims.Claim(
        id="O2",
        parts={"all": RULE, "more": RULE},
        any_model={"more": {"nulls": ["shuffled"]}},
        **SAID,
    ),
}


def values(part: str, value: float, seeds=(3, 4, 5), null: str = "") -> list[Estimate]:
    return [Estimate(part, s, value, value - 0.1, value + 0.1, 8, null) for s in seeds]


def own(claim: claims.Claim, value: float) -> dict:
    every = [e for part in claim.parts for e in values(part, value)]
    nulls = [e for part in claim.parts for e in values(part, 0.1, (3,), "untrained")]
    return claims.judge(claim, every + nulls)


def finish(
    runs: Path, name: str, value: float, model: str = "", scale: float = 1.0, **taken
) -> None:
    """What a finished profile of one chapter leaves."""
    place = runs / name / "results" / "01_a"
    files.write_json(place / "claims.json", [own(claim, value) for claim in CLAIMS.values()])
    given = {"seeds": [3, 4, 5], "training_scale": scale, "model": model, "revision": None}
    files.write_json(
        place / "provenance.json", {"parameters": given, "wall_seconds": 90.0, **taken}
    )
    if model:
        mine = values("more", 0.2, (0,)) + values("more", 0.01, (0,), "shuffled")
        row = claims.judge(CLAIMS["O2"].of_any_model(), mine, seeds_needed=1)
        files.write_json(place / "of_model.json", [row | {"model": model}])


def rows(page: str, style: str) -> list[list[str]]:
    found = BeautifulSoup(page, "html.parser").select(f".{style} tr")
    return [[c.get_text(" ", strip=True) for c in row.select("th, td")] for row in found]


def board(runs: Path, first: str = "embedded") -> str:
    return scoreboard.page(CLAIMS, scoreboard.columns(runs, ["01_a"], first))


def test_a_finished_profile_is_a_column_and_an_unfinished_one_is_none(tmp_path):
    finish(tmp_path, "embedded", 0.9)
    (tmp_path / "models").mkdir()
    (tmp_path / "begun" / "results" / "01_a").mkdir(parents=True)
    finish(tmp_path, "smoke", 0.9, scale=0.04)
    assert rows(board(tmp_path), "bk-scoreboard")[0] == ["Claim", "embedded the book's own models"]
    finish(tmp_path, "alpha", 0.2, model="x/y")
    head = rows(board(tmp_path), "bk-scoreboard")[0]
    assert head == ["Claim", "embedded the book's own models", "alpha x/y"]
    assert rows(board(tmp_path, "smoke"), "bk-scoreboard")[0][1].startswith("smoke")


def test_a_cell_has_verdict_number_and_null_of_the_model_and_of_the_books_own(tmp_path):
    finish(tmp_path, "embedded", 0.9)
    finish(tmp_path, "alpha", 0.2, model="x/y")
    (_, asked, _, only) = rows(board(tmp_path), "bk-scoreboard")
    assert asked[0].startswith("O2") and only[0].startswith("O1")
    assert asked[1] == "reproduced 0.9 [0.8, 1] untrained: 0.1"
    model, books = asked[2].split(" the book's own models ")
    assert model == "x/y not reproduced 0.2 [0.1, 0.3] shuffled: 0.01"
    assert books == only[2].split(" the book's own models ")[-1].removeprefix(
        "the book's own models "
    )
    counts = rows(board(tmp_path), "bk-profiles")
    assert counts[2][:4] == ["alpha", "x/y", "1 not reproduced", "2 not reproduced"]


def test_the_same_cells_come_as_csv(tmp_path):
    finish(tmp_path, "alpha", 0.2, model="x/y")
    text = scoreboard.data(scoreboard.columns(tmp_path, ["01_a"], "alpha"))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [(line["claim"], line["model"]) for line in lines] == [
        ("O1", ""),
        ("O2", ""),
        ("O2", "x/y"),
    ]
    assert lines[2]["null"] == "shuffled" and float(lines[2]["null_measured"]) == 0.01


def test_the_page_depends_on_the_records_of_all_other_profiles(tmp_path):
    finish(tmp_path, "embedded", 0.9)
    finish(tmp_path, "alpha", 0.2, model="x/y")
    names = {(p.parents[2].name, p.name) for p in dependencies.others(tmp_path, "embedded")}
    assert names == {("alpha", f"{kind}.json") for kind in ("claims", "of_model", "provenance")}


def test_a_model_is_asked_by_the_same_rules_beside_its_own_nulls():
    asked = CLAIMS["O2"].of_any_model()
    assert list(asked.parts) == ["more"] and asked.parts["more"].nulls == ("shuffled",)
    assert asked.parts["more"].tolerance == CLAIMS["O2"].parts["more"].tolerance
    with pytest.raises(ValueError, match="O1 is asked of the book's own models alone"):
        CLAIMS["O1"].of_any_model()
    with pytest.raises(ValueError, match="any_model names less, which are no parts"):
        claims.Claim(id="O3", parts={"all": RULE}, any_model={"less": {"nulls": ["x"]}}, **SAID)


def test_what_runs_took_stands_with_the_machine(tmp_path):
    machine = {"processor": "A fine one", "cores": "2"}
    finish(tmp_path, "embedded", 0.9, peak_memory_mib=1536, machine=machine)
    finish(tmp_path, "old", 0.9)
    trained = tmp_path / "models" / "two_layer-seed3-0123456789"
    files.write_json(trained / "finished.json", {"seconds": 120.0})
    page = cost_page.page(tmp_path, ["01_a"], "embedded", [trained])
    assert "Ran on: processor A fine one, cores 2." in page and "not recorded" in page
    found = rows(page, "bk-costs")
    assert ["1", "1.5", "1.5 GiB"] in [row[:3] for row in found]
    assert ["two_layer", "1", "2.0"] in [row[:3] for row in found]
    assert page.index("## Profile embedded") < page.index("## Profile old")


# --- costs, from sizes alone ---

PUBLISHED = {  # parameters as the publishers count them
    "openai-community/gpt2": 124_439_808,
    "EleutherAI/pythia-160m": 162_322_944,
    "EleutherAI/pythia-1.4b": 1_414_647_808,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "internlm/internlm2-1_8b": 1_889_110_016,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_counted_from_the_sizes(name):
    assert cost_page.KNOWN[name].parameters == pytest.approx(PUBLISHED[name], rel=0.002)


@pytest.mark.parametrize("family", [family for family in tiny.FAMILIES if family != "organism"])
def test_sizes_are_read_from_every_familys_config(family):
    """Up to norms and biases, a tenth at most of models so small."""
    total = sum(weight.numel() for weight in tiny.model(family).parameters())
    assert cost.Sizes.of(tiny.FAMILIES[family]()).parameters == pytest.approx(total, rel=0.12)


def test_a_cost_grows_with_what_a_profile_asks(tmp_path):
    sizes = cost_page.KNOWN["meta-llama/Llama-3.1-8B"]
    given = {"model": "meta-llama/Llama-3.1-8B", "dtype": "bfloat16", "device": "cpu"}

    def of(**more) -> cost.Cost:
        return cost.estimate(sizes, profiles.validate(given | more, "test"), ["01_a", "04_b"])

    base = of()
    assert base.download == 2 * sizes.parameters  # published in half precision
    assert of(checkpoints=["a", "b", "c"]).download == 4 * base.download
    assert of(model=str(tmp_path)).download == of(remote=True).download == 0
    assert 24 * 2**30 < base.memory < 34 * 2**30 < of(dtype="float32").memory
    assert sum(of(examples=100).seconds.values()) > 3 * sum(base.seconds.values())
    assert sum(of(device="cuda").seconds.values()) < sum(base.seconds.values()) / 100
    assert "8.0 billion parameters, 32 layers of 32 heads" in base.told("it")


# --- what a profile can ask ---


def test_the_table_says_what_a_profile_can_ask_and_what_it_lacks():
    notebooks = sorted((ROOT / "chapters").glob("[0-9]*.ipynb"))
    given = profiles.validate({"profile": "mine", "model": "x/y", "treebank_file": "t"}, "test")
    found = rows(answers.page(notebooks, given), "bk-answers")
    assert found[0][-1] == "Profile mine"
    said = {(row[0].split(".")[0], row[2]): row[3] for row in found[1:]}
    assert said["1", "model"] == "yes" and said["6", "model and agenda_file"].startswith("no: ")
    assert said["2", "model and checkpoints"] == "no: it sets no checkpoints"
    assert said["6", "model and treebank_file or spacy_model"] == "yes" and said["13", "–"] == "–"


def test_a_chapter_states_what_it_asks_under_its_heading():
    notebook = dependencies.read(ROOT / "chapters" / "04_ablation.ipynb")
    given = profiles.validate({"profile": "mine", "model": "x/y"}, "test")
    answers.stated(notebook, given)
    text = "\n".join(cell.source for cell in notebook.cells)
    asked = "What can be asked of a model here, and whether this site's profile `mine`"
    assert text.count(f"## Your model\n\n{asked}") == 1
    assert "needed for (needs `model`): yes" in text
    assert "undoes training (needs `checkpoints`): no: it sets no checkpoints" in text


@pytest.mark.parametrize(
    "path", sorted((ROOT / "chapters").glob("[0-9]*.ipynb")), ids=lambda path: path.stem
)
def test_every_chapter_that_can_ask_a_model_says_what(path):
    book = json.loads(path.read_text())["metadata"]["book"]
    can = "model" in dependencies.parameters(path) and book.get("model_needs") != []
    assert bool(book.get("with_model")) is can
    names = {name for any_of in book.get("with_model", {}).values() for name in any_of}
    assert names <= set(profiles.Profile.model_fields)
    if can and book.get("model_needs"):
        assert all(any_of for any_of in book["with_model"].values())
