"""The pages of verdicts: nulls beside them, marks of change, questions of ours apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Formatter

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

from lib.measures.statistics import Estimate, Rate
from lib.report import cards, claims
from pipeline import downloads, home, numbers, verdicts

ROOT = Path(__file__).resolve().parents[2]
GROUND = {"light": "#ffffff", "dark": "#14181e"}  # of the theme's pages


def claim(name: str, own: bool = False, **parts: dict) -> claims.Claim:
    rules = {
        part: {
            "measure": f"how much of {part}",
            "side": "above",
            "tolerance": 0.5,
            "reason": "half of what the paper has",
            "nulls": ["untrained"],
            **changes,
        }
        for part, changes in parts.items()
    }
    said = {"statement": f"Statement of {name}.", "reported": "Much.", "chapter": "04_some_name"}
    return claims.Claim(id=name, paper="ren2024", own=own, parts=rules, **said)


def judged(of: claims.Claim, values: dict[str, float], null: float, rates=()) -> dict:
    """The record of a claim whose parts have these values in three seeds, and that value on the
    null."""
    found = []
    for part, value in values.items():
        for seed in range(3):
            found.append(Estimate(part, seed, value, value - 0.1, value + 0.1, 8))
        found.append(Estimate(part, 0, null, null - 0.1, null + 0.1, 8, "untrained"))
    return claims.judge(of, found, rates) | {"chapter": of.chapter}


CHANGED = {"changed": [{"date": "2026-01-31", "was": {"tolerance": 0.95}, "why": "too strict"}]}
CLAIMS = {
    "R1": claim("R1", all={}),
    "R2": claim("R2", a=CHANGED, b={}),
    "R3": claim("R3", all={}),
    "R4": claim("R4", own=True, all={}),
    "R5": claim("R5", all={}),
}
ALARMS = [Rate("all", "false alarms on shuffled labels", 2, 100)]


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:
    rows = {
        "R1": judged(CLAIMS["R1"], {"all": 0.9}, 0.1, ALARMS),
        "R2": judged(CLAIMS["R2"], {"a": 0.9, "b": 0.1}, 0.1),
        "R3": judged(CLAIMS["R3"], {"all": 0.9}, 0.8),
        "R4": judged(CLAIMS["R4"], {"all": 0.1}, 0.0),
    }
    why = {"why": "No such `model`.", "chapter": "04_some_name"}
    return rows | {"R5": claims.not_testable(CLAIMS["R5"], "No such model.") | why}


def table(page: str, style: str) -> list[list[str]]:
    rows = BeautifulSoup(page, "html.parser").select(f".{style} tbody tr")
    return [[cell.get_text(" ", strip=True) for cell in row.select("td")] for row in rows]


def test_the_claims_page_counts_papers_and_questions_of_ours_apart(found):
    page = verdicts.rules(CLAIMS, found)
    counts = (
        "4 claims judged in this run; 1 reproduced, 1 partly, 1 undecided, 1 not testable here."
    )
    assert f"## Ren et al. 2024\n\n{counts}" in page
    assert "## Questions of ours\n\n1 judged in this run; 1 does not hold." in page


def test_every_row_has_its_null_and_its_chapter_beside_it(found):
    rows = {row[0]: row for row in table(verdicts.rules(CLAIMS, found), "bk-overview")}
    assert rows["R1"][1] == "reproduced" and rows["R1"][-1] == "4"
    assert "untrained: not reproduced (0.1)" in rows["R1"][-2]
    assert rows["R2"][1] == "partly: 1 of 2 parts rule revised"
    assert rows["R3"][1] == "undecided" and rows["R3"][-2] == "untrained: reproduced (0.8)"
    assert rows["R5"][1] == "not testable here" and rows["R5"][-2] == "–"
    assert rows["R1"][3] == "0.9 [0.8, 1] asked: above 0.5"
    assert rows["R5"][2:4] == ["Statement of R5. No such model .", "–"]


def test_the_home_page_has_a_bar_a_paper_and_the_findings_it_names(found, tmp_path):
    bars = BeautifulSoup(home.bars(found), "html.parser")
    widths = [part["style"] for part in bars.select(".bk-bar")[0].select("span")]
    assert widths == ["flex:1"] * 4 and len(bars.select(".bk-bar")) == 2
    assert "1 reproduced, 1 partly, 1 undecided, 1 not testable here" in bars.text
    named = tmp_path / "home.yml"
    named.write_text("findings: [R3, R1, X9]")
    answered = {"04_some_name": "Half of it is lost."}
    lines = BeautifulSoup(home.findings(named, found, answered), "html.parser").select("li")
    assert [line.a.text for line in lines] == ["R3", "R1"]
    assert lines[0].text == "Half of it is lost. Ren et al. 2024, R3: undecided"


def executed(folder: Path, **values: str) -> None:
    """An executed chapter with numbers for its text, as the book's `number` leaves them."""
    kept = [
        nbformat.v4.new_output(
            "display_data",
            {"application/papermill.record/text/plain": repr(value)},
            metadata={"scrapbook": {"name": name}},
        )
        for name, value in values.items()
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=kept)])
    (folder / "chapters").mkdir()
    nbformat.write(notebook, folder / "chapters" / "04_some_name.ipynb")


def test_an_answer_has_the_numbers_of_the_run(tmp_path):
    executed(tmp_path, **{"lost": "96 %", "said_R2-x": "partly"})
    named, chapters = tmp_path / "home.yml", ["04_some_name", "05_no_answer"]
    named.write_text('answers: {04_some_name: "{lost} is lost: {said_R2-x}."}')
    assert home.answers(named, tmp_path, chapters) == {"04_some_name": "96 % is lost: partly."}
    named.write_text('answers: {04_some_name: "{gained} is gained."}')
    with pytest.raises(ValueError, match="04_some_name shows no number 'gained'"):
        home.answers(named, tmp_path, chapters)


def test_every_chapter_has_an_answer_whose_numbers_its_text_shows():
    answers = yaml.safe_load((ROOT / "book" / "home.yml").read_text())["answers"]
    chapters = {path.stem: path for path in (ROOT / "chapters").glob("[0-9]*.ipynb")}
    assert answers.keys() == chapters.keys()
    for name, said in answers.items():
        fields = {field for _, field, _, _ in Formatter().parse(said) if field}
        shown = set(downloads.GLUED.findall(chapters[name].read_text()))
        assert fields and fields <= shown, name


def test_a_card_has_the_question_the_verdicts_and_the_minutes(found, tmp_path):
    words = "# Some name\n\n*Is it so?*\n\n" + 360 * "word "
    chapter = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(words)])
    nbformat.write(chapter, tmp_path / "04_some_name.ipynb")
    results = tmp_path / "results" / "04_some_name"
    results.mkdir(parents=True)
    (results / "provenance.json").write_text('{"wall_seconds": 90}')
    said = {"04_some_name": "It is, by < 5 %."}
    made = home.chapters(["04_some_name"], tmp_path, tmp_path, found, said)
    card = BeautifulSoup(made, "html.parser")
    assert [line.text for line in card.select("p")] == [
        "4. Some name",
        "Is it so?",
        "It is, by < 5 %.",
        "1 reproduced, 1 partly, 1 undecided, 1 not testable here; "
        "questions of ours: 1 does not hold",
        "2 min to read, 1.5 min to run",
    ]


def test_chapters_get_their_number_and_links_where_prose_names_them():
    cells = [
        nbformat.v4.new_markdown_cell("# Title\n\nAs chapter 2 says; [chapter 2](x), `chapter 2`."),
        nbformat.v4.new_markdown_cell("Chapter 3 and chapter 1 and chapter 7."),
    ]
    made = numbers.numbered(
        nbformat.v4.new_notebook(cells=cells), "03_here", ["01_a", "02_b", "03_here"]
    )
    first, second = (cell.source for cell in made.cells)
    link = "[chapter 2](02_b.ipynb)"
    assert first == f"# 3. Title\n\nAs {link} says; [chapter 2](x), `chapter 2`."
    assert second == "Chapter 3 and [chapter 1](01_a.ipynb) and chapter 7."


def test_the_claims_page_has_parts_nulls_rates_and_the_past(found):
    page = verdicts.rules(CLAIMS, found)
    soup = BeautifulSoup(page, "html.parser")
    assert "false alarms on shuffled labels: 2 of 100" in page
    past = soup.select_one("details.bk-past").get_text()
    assert "2026-01-31" in past and "above 0.95" in past and "not reproduced" in past
    assert "half of what the paper has" not in past  # the reason of today's tolerance
    assert page.index("## Ren et al. 2024") < page.index("## Questions of ours") < page.index("R4")
    assert all(soup.find(id=f"rule-{name}") for name in CLAIMS)
    assert "No such <code>model</code>." in page and "A question of ours" in page


def test_what_no_paper_claimed_holds_or_does_not(found):
    """Never *reproduced*: neither in its verdict nor in those of its parts and nulls."""
    page = verdicts.rules({"R4": CLAIMS["R4"]}, {"R4": found["R4"]})
    said = BeautifulSoup(page[page.index("## Questions of ours") :], "html.parser").text
    assert "does not hold" in said and "reproduced" not in said
    assert "reproduced" not in BeautifulSoup(cards.card(found["R4"]), "html.parser").text
    three = [found["R4"]] * 2 + [found["R4"] | {"verdict": claims.REPRODUCED}]
    assert verdicts.in_words(three) == "1 holds, 2 do not hold"


def test_a_card_folds_the_past_of_rules_and_tells_a_shared_one_once():
    was = {"tolerance": 0.95, "measure": "how much of it"}
    past = {"changed": [{"date": "2026-01-31", "was": was, "why": "too strict"}]}
    revised = claim("R6", own=True, a=past, b=past, c={})
    row = judged(revised, dict.fromkeys("abc", 0.9), 0.1)
    soup = BeautifulSoup(cards.card(row), "html.parser")
    fold = soup.select_one("details.bk-past")
    assert [name.text for name in fold.select("dt")] == ["a, b"]
    assert fold.dd.text.count("2026-01-31") == 1 and "no longer measured" in fold.dd.text
    fold.decompose()
    assert "above 0.95" not in soup.text and "above 0.5" in soup.text
    assert not cards.history(judged(CLAIMS["R1"], {"all": 0.9}, 0.1)["parts"], own=False)


def test_a_null_names_its_units_and_seeds_where_they_are_others(found):
    part = found["R1"]["parts"]["all"]
    assert "n = 8, seeds 0" in cards.nulls(part)
    alike = part | {"n": 8, "seeds": [0]}
    assert "n = " not in cards.nulls(alike) and "seeds" not in cards.nulls(alike)


def test_partly_says_when_no_part_passes_in_full():
    row = judged(CLAIMS["R2"], {"a": 0.55, "b": 0.1}, 0.0)
    assert row["verdict"] == claims.PARTLY and row["held"] == [0, 2]
    assert cards.in_words(row) == "partly: no part of 2 in full"


def test_a_finding_of_the_home_page_says_that_its_rule_was_revised(found, tmp_path):
    (tmp_path / "home.yml").write_text("findings: [R1, R2]")
    lines = BeautifulSoup(home.findings(tmp_path / "home.yml", found, {}), "html.parser").select(
        "li"
    )
    chips = [line.select_one("a.bk-chip") for line in lines]
    assert chips[0] is None and chips[1]["href"] == "claims.html#rule-R2"


def test_each_claim_is_folded_under_its_verdict(found):
    soup = BeautifulSoup(verdicts.rules(CLAIMS, found), "html.parser")
    folds = soup.select("details.bk-full")
    assert len(folds) == len(CLAIMS) and not soup.select("details.bk-full[open]")
    said = folds[1].summary.get_text(" ", strip=True)
    assert said == "partly: 1 of 2 parts rule revised R2 Statement of R2."
    assert not soup.select("summary a")  # a fold in a fold's title could not be reached by keys
    assert all(fold.find(id=re.compile("^rule-")) for fold in folds)


def test_a_claim_of_later_work_stands_beside_what_it_contests(tmp_path):
    later = CLAIMS["R3"].model_copy(update={"id": "Y1", "contests": ("R1",)})
    rows = [judged(CLAIMS["R1"], {"all": 0.9}, 0.1), judged(later, {"all": 0.9}, 0.1)]
    (tmp_path / "10_some_name").mkdir()
    (tmp_path / "10_some_name" / "claims.json").write_text(json.dumps(rows))
    found = verdicts.collected(tmp_path, ["10_some_name"])
    page = verdicts.rules({"R1": CLAIMS["R1"], "Y1": later}, found)
    said = {row[0]: row[2] for row in table(page, "bk-overview")}
    assert "contested by Y1" in said["R1"] and "contests R1" in said["Y1"]
    (tmp_path / "home.yml").write_text("findings: [R1]")
    told = BeautifulSoup(home.findings(tmp_path / "home.yml", found, {}), "html.parser")
    assert "contested by Y1" in told.get_text()
    assert told.find("a", string="Y1")["href"] == "claims.html#rule-Y1"
    assert "<em>(contests R1)</em>" in cards.card(rows[1])


def test_claims_that_no_chapter_has_judged_are_named():
    page = verdicts.rules(CLAIMS, {})
    assert page.count("not judged in this run") == len(CLAIMS) and "untrained" in page


@pytest.mark.parametrize("theme", GROUND)
def test_the_words_of_verdicts_can_be_read_on_the_page(theme):
    """At least 4.5 to 1 against the ground."""
    style = (ROOT / "book" / "_static" / "book.css").read_text()
    start = ":root {" if theme == "light" else 'html[data-theme="dark"] {'
    line = next(line for line in style.splitlines() if line.startswith(start))
    colours = re.findall(r"#[0-9a-f]{6}", line)
    assert len(colours) == 5
    for colour in colours:
        dark, light = sorted(map(luminance, (colour, GROUND[theme])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return sum(v * w for v, w in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
