"""In a narrow window figures leave out no name and no end, and nothing lies beside its column."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from selenium.webdriver.common.by import By

from lib.report import charts, markup, walks
from tests.book.browsing import alive, visit

STATIC = Path(__file__).resolve().parents[2] / "book" / "_static"
HEADS = ["0.0", "0.3", "0.5", "1.2", "1.4", "1.5", "1.6", "noise"]
TITLE = "a distance from labels that were dealt anew (in their own spread)"
FEW, MANY = 1, 12


def answers():
    """One prompt that is short or long, and two answers at two steps."""
    lines, said = [], []
    for shots in (FEW, MANY):
        at = {"task": "binary", "shots": shots}
        lines += [at | {"line": i, "text": f"line {i}"} for i in range(shots)]
        answer = {"word": ["yes", "no"], "probability": [0.7, 0.2]}
        said += [at | {"moment": i, "step": 10 * i} | answer for i in range(2)]
    return walks.answers(pd.DataFrame(lines), pd.DataFrame(said), FEW)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("narrow")
    for place, text in {
        "_static/book.js": (STATIC / "book.js").read_text(),
        "_static/book.css": (STATIC / "book.css").read_text(),
        "vega/vega.js": markup.bundle(),
    }.items():
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text(text)
    cells = [{"head": head, "way": "a way of many letters", "named": 1.0} for head in HEADS]
    rows = pd.DataFrame({"kind": ["a", "b"], TITLE: [1.0, 3.0], "seed": [3, 4]})
    dots = charts.intervals(rows, TITLE, TITLE, TITLE, "kind")
    made = {
        "map": charts.heatmap(pd.DataFrame(cells), "named", x="head", y="way"),
        "panels": charts.small_multiples(dots, "seed", columns=2, shared=False),
        "answers": answers(),
    }
    body = "".join(
        f"<figure>{markup.html(chart, name, name)}</figure>" for name, chart in made.items()
    )
    head = '<meta charset="utf8"><link rel="icon" href="data:,">'
    head += '<link rel="stylesheet" href="_static/book.css">'
    head += '<script src="_static/book.js"></script>'
    page = f"<html><head>{head}</head><body>{body}</body></html>"
    (folder / "index.html").write_text(page)
    return folder


def test_every_column_of_a_map_is_named_and_no_title_makes_a_figure_wider(browser, address):
    visit(browser, f"{address}/index.html", width=400)
    figures = alive(browser)
    there = [
        text
        for text in figures[0].find_elements(By.CSS_SELECTOR, "svg text")
        if text.is_displayed()
    ]
    shown = {text.text for text in there if text.get_attribute("opacity") != "0"}
    assert set(HEADS) <= shown
    boxes = [figure.find_element(By.CSS_SELECTOR, ".bk-scroll") for figure in figures]
    sizes = [[int(box.get_property(f"{of}Width")) for of in ("scroll", "client")] for box in boxes]
    assert all(inner <= outer for inner, outer in sizes), sizes


def test_tips_know_their_words_and_a_short_prompt_leaves_no_gap(browser, address):
    visit(browser, f"{address}/index.html", width=1400)
    chart = alive(browser)[2]
    tips = browser.execute_script(
        "return [...arguments[0].querySelectorAll('.role-mark *')].map(mark => mark.__data__ && "
        "mark.__data__.tooltip).filter(Boolean).map(tip => tip.word)",
        chart,
    )
    assert tips == ["yes", "no"]
    texts = [text.text for text in chart.find_elements(By.CSS_SELECTOR, "svg text")]
    assert (
        "line 0" in texts and chart.find_element(By.TAG_NAME, "svg").size["height"] < 15 * MANY + 60
    )
