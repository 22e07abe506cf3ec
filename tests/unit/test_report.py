"""A report numbers, shows and writes what a chapter hands over, and never leaves half of it."""

from __future__ import annotations

import json
import os
import platform
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup
from myst_nb.core import variables  # what the site reads glued values with

from lib import profiles
from lib.measures import statistics
from lib.report import captions, cards, chapter, charts, provenance, strips

PART = "{measure: size of it, side: above, tolerance: 0.5, reason: half of it, nulls: [even]}"
REST = f"paper: olsson2022, chapter: 03_x, parts: {{size: {PART}}}"
CLAIMS = f"""
- {{id: O901, statement: Up & up., reported: A lot., {REST}}}
- {{id: O902, statement: More., reported: Little., {REST}}}
- {{id: O903, statement: Any., reported: Any., any_model: {{size: {{nulls: [odd]}}}}, {REST}}}
"""

CAPTIONS = {
    "first": ("One <1>.", "Says A & B."),
    "counted": ("{count} heads.", "The largest is {top}."),
} | dict.fromkeys(("second", "third", "empty", "same", "renamed-since"), ("C.", "D."))


@pytest.fixture
def shown(monkeypatch) -> list:
    """What the report displays, in order."""
    seen: list = []
    monkeypatch.setattr(
        chapter,
        "display",
        lambda value, **options: seen.append((getattr(value, "data", value), options)),
    )
    return seen


@pytest.fixture
def book(tmp_path, shown, monkeypatch) -> chapter.Report:
    (tmp_path / "claims.yml").write_text(CLAIMS)
    entries = {k: {"caption": c, "description": d} for k, (c, d) in CAPTIONS.items()}
    (tmp_path / "03_x.yml").write_text(yaml.safe_dump(entries))
    monkeypatch.setattr(captions, "FOLDER", tmp_path)
    profile = profiles.validate(
        {"profile": "here", "runs_dir": str(tmp_path / "runs"), "model": "/secret/place/net"},
        "test",
    )
    return chapter.Report("03_x", profile, tmp_path / "claims.yml")


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"layer": [0, 0], "head": [0, 1], "score": [0.1, 0.9]})


def estimates(*values: float, null: float = 0.0) -> list[statistics.Estimate]:
    found = [
        statistics.Estimate("size", seed, v, v - 0.05, v + 0.05, 10)
        for seed, v in enumerate(values)
    ]
    return [*found, statistics.Estimate("size", 0, null, null - 0.1, null + 0.1, 10, "even")]


def test_figures_and_tables_are_numbered_and_come_with_their_data(book, shown, frame):
    book.figure(charts.heatmap(frame, "score"), "first")
    book.figure(charts.heatmap(frame, "score"), "second")
    book.table(frame, "third")
    book.figure(charts.heatmap(frame, "score"), "first")
    pages = [page for page, _ in shown]
    assert [re.search(r"<strong>(.*?)</strong>", page).group(1) for page in pages] == [
        "Figure 3.1.",
        "Figure 3.2.",
        "Table 3.1.",
        "Figure 3.1.",
    ]
    assert (
        "One &lt;1&gt;." in pages[0] and "<p>Says A &amp; B.</p>" in pages[0] and "0.9" in pages[2]
    )
    for page, name in zip(pages, ("first", "second", "third"), strict=False):
        link = re.search(r'href="(\.\./results/[^"]+)"', page).group(1)
        assert (book.directory.parent.parent / "chapters" / link).resolve() == (
            book.directory / f"{name}.csv"
        ).resolve()
        pd.testing.assert_frame_equal(pd.read_csv(book.directory / f"{name}.csv"), frame)


def test_a_figure_says_what_the_columns_of_its_data_mean(book, shown, frame):
    book.figure(charts.heatmap(frame.assign(loss=0.5, unheard=1), "loss"), "first")
    assert "<dt>loss</dt><dd>cross-entropy" in shown[0][0] and "(nats)</dd>" in shown[0][0]
    book.close()
    known = pd.read_csv(book.directory / "columns.csv", keep_default_na=False)
    known = known.set_index(["file", "column"])
    assert known.unit["first.csv", "loss"] == "nats" and known.means["first.csv", "layer"]
    assert known.means["first.csv", "unheard"] == ""


def test_what_a_figure_shows_already_is_folded_with_its_caption_outside(book, shown, frame):
    book.table(frame, "third", folded=True)
    book.figure(charts.heatmap(frame, "score"), "first", folded=True)
    for page, (page_of, _) in zip(("Show the table", "Show the figure"), shown, strict=True):
        assert f"<summary>{page}</summary>" in page_of
        assert page_of.index("</details>") < page_of.index("<figcaption>")


def test_a_pivoted_table_has_no_column_of_blanks(book, shown, frame):
    wide = frame.pivot(index="layer", columns="head", values="score").reset_index()
    book.table(wide, "third")
    heads = BeautifulSoup(shown[0][0], "html.parser").select("th")
    assert [cell.text for cell in heads] == ["layer", "0", "1"]


def test_captions_get_their_numbers_from_the_run_and_from_nowhere_else(book, shown, frame):
    book.table(frame, "counted", count=2, top=0.98765)
    assert "2 heads." in shown[0][0] and "The largest is 0.988." in shown[0][0]
    with pytest.raises(ValueError, match=r"\['top'\] missing, \['tip'\] not asked for"):
        book.table(frame, "counted", count=2, tip=1)
    with pytest.raises(ValueError, match="book/captions/03_x.yml"):
        book.table(frame, "unheard-of")


def test_a_card_shows_each_null_beside_the_verdict(book, shown):
    book.claim("O901", estimates(0.9, 0.8, 0.7))
    assert "even: not reproduced (0 [−0.1, 0.1], n = 10, seeds 0)" in shown[0][0]


def test_a_card_says_why_a_null_has_no_number(book, shown):
    rule = book._claims["O901"].parts["size"].model_copy(update={"no_number": "nothing rises"})
    given = book._claims["O901"].model_copy(update={"parts": {"size": rule}})
    book._claims = {"O901": given}
    book.claim("O901", estimates(0.9, 0.8, 0.7, null=float("nan")))
    card = BeautifulSoup(shown[0][0], "html.parser").get_text()
    assert "with nothing to find: even not measurable (nothing rises)" in card
    assert "even: not testable here (not measurable)" in card


def test_a_card_draws_each_seed_and_each_null_beside_the_bound(book, shown):
    """Seeds that pass lie whole in the shade of the claimed side; the null does not."""
    book.claim("O901", estimates(0.9, 0.8, 0.7))
    drawn = BeautifulSoup(shown[0][0], "html.parser").select_one(".bk-part svg")
    shade, bound = drawn.rect, float(drawn.select_one("text")["x"])
    assert drawn.get_text() == "above 0.5" and float(shade["x"]) == bound
    lines = {kind: drawn.select(f".{kind} path") for kind in ("bk-seed", "bk-null")}
    assert [len(found) for found in lines.values()] == [3, 1]
    starts = [float(path["d"].split()[0][1:]) for path in lines["bk-seed"]]
    assert min(starts) > bound > float(drawn.select_one(".bk-null circle")["cx"])


def test_a_card_names_the_null_that_makes_it_undecided(book, shown):
    book.claim("O901", estimates(0.9, 0.8, 0.7, null=0.9))
    card = BeautifulSoup(shown[0][0], "html.parser")
    folded = card.details.extract().get_text()
    assert "undecided" in card.get_text() and "its null passes too: even" in card.get_text()
    assert "half of it" in folded and "even: reproduced" in folded


def test_the_drawing_of_a_claim_that_puts_less_is_shaded_below_its_bound():
    seed = {"value": 0.1, "low": 0.0, "high": 0.2}
    null = {"name": "none", "measured": 0.9, "interval": [0.4, 5.0]}
    part = {"estimates": [seed], "nulls": [null], "side": "below", "tolerance": 0.5}
    drawn = BeautifulSoup(strips.strip(part, "below 0.5"), "html.parser")
    assert drawn.rect["x"] == "0" and float(drawn.rect["width"]) == float(drawn.find("text")["x"])
    assert f"H{strips.WIDTH}" in drawn.select_one(".bk-null path")["d"]  # it ends at the edge
    assert strips.strip(part | {"estimates": []}, "below 0.5") == ""


def test_every_figure_says_how_to_draw_it_again(book, shown, frame):
    book.uses("our net", revision="abc")
    book.figure(charts.heatmap(frame, "score"), "first")
    page = shown[0][0]
    for part in (
        "papermill chapters/03_x.ipynb",
        "torch",
        "our net",
        "abc",
        "seeds",
        "wall seconds",
    ):
        assert part in page
    assert "/secret" not in page and str(book.directory.parents[3]) not in page


@pytest.mark.parametrize("name", ["../up", "Upper", "", "a b"])
def test_a_name_that_is_no_file_name_is_refused(book, frame, name):
    with pytest.raises(ValueError, match="small letters"):
        book.table(frame, name)


def test_a_figure_without_data_and_a_shared_name_are_refused(book, frame):
    with pytest.raises(ValueError, match="pass data="):
        book.figure(
            charts.heatmap(frame, "score"),
            "empty",
            data=pd.DataFrame(),
        )
    book.table(frame, "same")
    with pytest.raises(ValueError, match="rename"):
        book.figure(charts.heatmap(frame, "score"), "same")


def test_numbers_are_glued_and_not_shown(book, shown):
    told = {"steps": "10,144", "lengths": "7, 15", "none": "0.00", "one": "5.0"}
    book.number(share=0.123456, heads=12, name="3.6", array=np.float32(2) / 3, **told)
    texts = {
        o["metadata"]["scrapbook"]["name"]: v["application/papermill.record/text/plain"]
        for v, o in shown
    }
    read = {name: variables.format_plain_text(text, "") for name, text in texts.items()}
    assert read == {"share": "0.123", "heads": "12", "name": "3.6", "array": "0.667", **told}
    assert all(
        kind.startswith("application/papermill.record/") for value, _ in shown for kind in value
    )


def test_verdicts_reach_the_file_at_close_and_all_at_once(book, shown):
    book.claim("O901", estimates(0.9, 0.8, 0.7), note="Said so.")
    book.not_testable("O902", "No `model`.")
    assert "No <code>model</code>." in shown[2][0]
    assert not (book.directory / "claims.json").exists()
    book.close()
    rows = json.loads((book.directory / "claims.json").read_text())
    assert [(r["id"], r["verdict"]) for r in rows] == [
        ("O901", "reproduced"),
        ("O902", "not testable here"),
    ]
    assert {
        "id",
        "paper",
        "statement",
        "reported",
        "measured",
        "interval",
        "n",
        "seeds",
        "rule",
        "verdict",
    } <= rows[0].keys()
    assert "Up &amp; up." in shown[0][0] and "Said so." in shown[0][0]
    assert (
        json.loads((book.directory / "provenance.json").read_text())["versions"]
        == provenance.versions()
    )


def test_prose_gets_the_word_of_the_card(book, shown):
    """A question of the book's own holds or does not: nobody reported what it could reproduce."""
    for own, word in ((False, "not reproduced"), (True, "does not hold")):
        book._claims = {"O901": book._claims["O901"].model_copy(update={"own": own})}
        book.claim("O901", estimates(0.1, 0.1, 0.1))
        card, (glued, about) = shown[-2][0], shown[-1]
        assert (
            about["metadata"]["scrapbook"]["name"] == "said_O901" and repr(word) in glued.values()
        )
        assert word in card


def test_a_new_run_removes_the_old_verdicts_before_it_starts(book, tmp_path):
    book.claim("O901", estimates(0.9, 0.8, 0.7))
    book.close()
    chapter.Report("03_x", book.profile, tmp_path / "claims.yml")
    assert (
        not (book.directory / "claims.json").exists()
        and not (book.directory / "provenance.json").exists()
    )


def test_a_new_run_removes_the_old_data(book, frame, tmp_path):
    book.table(frame, "renamed-since")
    chapter.Report("03_x", book.profile, tmp_path / "claims.yml")
    assert not list(book.directory.glob("*.csv"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.123"),
        (12.345, "12.3"),
        (999.4, "999"),
        (999.7, "1,000"),
        (1234.4, "1,234"),
        (-1234567.0, "−1,234,567"),
        (5.63e-5, "0.00006"),
        (-9.96e-4, "−0.001"),
        (1e-9, "0"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_short_and_never_in_powers_of_ten(value, text):
    assert cards.short(value) == text


def test_an_unknown_claim_names_those_that_exist(book):
    with pytest.raises(ValueError, match="O901, O902"):
        book.claim("O9", estimates(1.0))


def test_records_hold_no_key(book, monkeypatch):
    monkeypatch.setenv("NDIF_API_KEY", "key-that-must-not-appear")
    book.close()
    assert all("key-that-must-not-appear" not in p.read_text() for p in book.directory.iterdir())


def test_a_claim_is_judged_on_a_readers_model_apart_from_the_books_own(book, shown):
    def one(null: str, value: float) -> statistics.Estimate:
        return statistics.Estimate("size", 0, value, value - 0.1, value + 0.1, 8, null)

    book.claim_of_model("O903", [one("", 0.9), one("odd", 0.1)])
    card = shown[-1][0]
    assert ">reproduced<" in card
    assert "Claim O903 on …/net." in card and "odd: not reproduced" in card and "secret" not in card
    assert 'id="of-model-O903"' in card  # other pages lead to the verdict on the book's own models
    with pytest.raises(ValueError, match="size on odd"):
        book.claim_of_model("O903", [one("", 0.9), one("even", 0.1)])
    book.close()
    kept = json.loads((book.directory / "of_model.json").read_text())
    assert [(row["id"], row["model"]) for row in kept] == [("O903", "…/net")]
    assert json.loads((book.directory / "claims.json").read_text()) == []


def test_a_chapter_records_what_it_took_and_where(book):
    book.close()
    record = json.loads((book.directory / "provenance.json").read_text())
    assert 50 < record["peak_memory_mib"] < 100_000
    assert record["machine"]["cores"] == str(os.cpu_count())
    assert platform.node() not in json.dumps(record["machine"])
