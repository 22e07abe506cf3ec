"""Figures to play with: each opens at what it was told, shows something for every choice, and moves
under a slider, a press, a menu and a button; in a browser, with the keyboard as well."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from lib.report import charts, clamp_charts, markup, play, walks
from tests.book import browsing
from tests.book.browsing import alive, until, visit

ROOT = Path(__file__).resolve().parents[2]
STEPS, MODELS = (0, 20, 50, 600), ("1 layer", "2 layers")
FIRST = {"removed": "all induction heads", "how": "zero", "patterns": "held"}


def training() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Losses, heads and patterns of two models at four steps; the second has two layers."""
    course, heads, looks = [], [], []
    for (moment, step), model in product(enumerate(STEPS), MODELS):
        at = {"model": model, "step": step}
        course.append(at | {"loss": 5.0 - moment, "in-context score": -1.0 * moment})
        for layer, head in product(range(int(model[0])), range(2)):
            values = {"prefix matching": 0.1 * moment, "previous token": 0.05, "looks": head == 1}
            heads.append(at | {"layer": layer, "head": head} | values)
        query, key = (x.tolist() for x in np.tril_indices(4))
        lists = {"query": query, "key": key, "attention": [0.25 * moment] * len(query)}
        looks.append(at | {"name": "0.1"} | lists)
    return pd.DataFrame(course), pd.DataFrame(heads), pd.DataFrame(looks)


def effects() -> pd.DataFrame:
    """Two sets of heads beside nothing, in every way, of two seeds; with patterns held, nothing
    else moves."""
    rows = []
    told = {"nothing": "none", FIRST["removed"]: "1.0 1.1", "head 0.0": "0.0"}
    ways = product((3, 4), told, ("zero", "mean"), ("free", "held"))
    for i, (seed, removed, how, patterns) in enumerate(ways):
        labels = {"seed": seed, "removed": removed, "how": how, "patterns": patterns}
        numbers = {"early loss": 5.0, "late loss": 0.1 * i, "score": 0.1 * i - 5}
        shares = {"share lost": 0.01 * i, "prefix matching": 0.9 if patterns == "held" else 0.1}
        rows.append(labels | {"heads": told[removed]} | numbers | shares)
    return pd.DataFrame(rows)


def change():
    return walks.change(*training(), list("abcd"), "2 layers", 48.0)


def removals():
    return clamp_charts.removals(effects(), FIRST)


def picture(chart, name: str) -> str:
    """What stands there without script."""
    return markup.html(chart, name, "words").split("<script")[0]


def opened(chart) -> dict:
    """What each control opens at, by its label."""
    params = [p for p in markup.spec(chart)["params"] if "bind" in p]
    return {p["bind"]["name"].strip(): p["value"] for p in params}


def test_the_change_opens_at_the_moment_nearest_to_the_step_that_it_is_told():
    assert opened(change()) == {"step": 2, "model": "2 layers"}
    shown = picture(change(), "change")
    assert re.findall(r">step (\d+)<", shown) == ["50"]
    assert shown.count(">0.20</text>") == 4  # prefix matching of the four heads at that step
    names = markup.spec(change())["usermeta"]["told"]
    assert names == {"moment_moment": ["0", "20", "50", "600"]}


def test_removals_open_at_what_they_are_told():
    labels = {"take out": "all induction heads", "put in": "zero", "patterns": "held", "seed": 3}
    assert opened(removals()) == labels
    row = effects().query("removed == 'all induction heads' and how == 'zero' and seed == 3")
    share = row[row.patterns == "held"]["share lost"].item()
    shown = picture(removals(), "removals")
    assert f"{100 * share:.0f} % of the in-context score is lost" in shown and "1.0 1.1" in shown


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_a_moment_of_a_model_without_data_is_refused_by_name(frame):
    frames = list(training())
    gone = (frames[frame].step == 20) & (frames[frame].model == "1 layer")
    frames[frame] = frames[frame][~gone]
    with pytest.raises(ValueError, match="model 1 layer, moment 1"):
        walks.change(*frames, list("abcd"), "2 layers", 48.0)


def test_a_choice_without_data_is_refused_by_name():
    gone = effects().query("not (removed == 'head 0.0' and patterns == 'free' and seed == 4)")
    with pytest.raises(ValueError, match="removed head 0.0, how zero, patterns free, seed 4"):
        clamp_charts.removals(gone, FIRST)


def test_a_control_opens_at_none_but_its_values():
    with pytest.raises(ValueError, match="cannot open at 'twice'"):
        play.menu(pd.Series(["zero", "mean"], name="how"), opening="twice")


# --- in a browser ---


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A page of both, with the book's own script and style."""
    folder = tmp_path_factory.mktemp("play")
    (folder / "_static").mkdir()
    (folder / "vega").mkdir()
    for name in ("book.js", "book.css"):
        (folder / "_static" / name).write_text((ROOT / "book" / "_static" / name).read_text())
    (folder / "vega" / "vega.js").write_text(markup.bundle())
    losses = charts.curves(training()[0], x="step", y="loss", series="model")
    made = {"change": change(), "removals": removals(), "losses": losses}
    figures = [f"<figure>{markup.html(chart, name, name)}</figure>" for name, chart in made.items()]
    head = '<meta charset="utf8"><title>Play</title><link rel="icon" href="data:,">'
    head += '<link rel="stylesheet" href="_static/book.css"><script src="_static/book.js"></script>'
    body = f"<main><h1>Play</h1>{''.join(figures)}</main>"
    page = f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'
    (folder / "index.html").write_text(page)
    return folder


def words(chart) -> list[str]:
    return [text.text for text in chart.find_elements(By.CSS_SELECTOR, "svg text")]


def test_keys_and_a_press_on_the_curve_move_all_panels(browser, address):
    visit(browser, f"{address}/index.html")
    chart, *_ = alive(browser)
    slider = chart.find_element(By.CSS_SELECTOR, "input[type=range]")
    assert slider.get_attribute("aria-valuetext") == "50" and "step 50" in words(chart)
    slider.send_keys(Keys.ARROW_RIGHT)
    until(lambda: "step 600" in words(chart) and words(chart).count("0.30") == 4)
    assert slider.get_attribute("aria-valuetext") == "600" and "600" in chart.text
    target = chart.find_elements(By.CSS_SELECTOR, ".vega-embed svg path.background")[1]
    place = -target.size["width"] // 2 + 2
    ActionChains(browser).move_to_element_with_offset(target, place, 0).click().perform()
    until(lambda: "step 0" in words(chart))
    assert slider.get_attribute("value") == "0" and slider.get_attribute("aria-valuetext") == "0"


def test_a_menu_and_buttons_choose_what_is_taken_out(browser, address):
    visit(browser, f"{address}/index.html")
    _, chart, _ = alive(browser)
    assert words(chart).count("0.90") == 2  # patterns held: as with all heads
    Select(chart.find_element(By.TAG_NAME, "select")).select_by_visible_text("head 0.0")
    until(lambda: any("out: 0.0" in text for text in words(chart)))
    chart.find_element(By.CSS_SELECTOR, "input[value=free]").send_keys(Keys.SPACE)
    until(lambda: words(chart).count("0.10") == 2)


@pytest.mark.parametrize("width", [400, 1400])
def test_controls_have_names_and_figures_fit(browser, address, width):
    visit(browser, f"{address}/index.html", width=width)
    boxes = [chart.find_element(By.CSS_SELECTOR, ".bk-scroll") for chart in alive(browser)]
    sizes = [[int(box.get_property(f"{of}Width")) for of in ("scroll", "client")] for box in boxes]
    assert all(inner <= outer for inner, outer in sizes), sizes
    assert not browsing.accessible(browser, {"color-contrast": False, "region": False})


def isolated(chart) -> list[str]:
    """How strongly the lines of a chart are drawn."""
    found = chart.find_elements(By.CSS_SELECTOR, "svg .mark-line.role-mark path")
    return sorted({line.get_attribute("opacity") or "1" for line in found})


def test_a_window_of_another_width_keeps_what_was_chosen(browser, address):
    visit(browser, f"{address}/index.html")
    moved, taken, lined = alive(browser)
    moved.find_element(By.CSS_SELECTOR, "input[type=range]").send_keys(Keys.ARROW_RIGHT)
    Select(taken.find_element(By.TAG_NAME, "select")).select_by_visible_text("head 0.0")
    lined.find_elements(By.CSS_SELECTOR, "svg .role-legend-symbol path")[0].click()
    until(lambda: isolated(lined) == ["0.1", "1"])
    rooms = [chart.get_attribute("data-room") for chart in (moved, taken, lined)]
    metrics = {"width": 420, "height": 4000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for chart, room in zip((moved, taken, lined), rooms, strict=True):
        until(lambda chart=chart, room=room: chart.get_attribute("data-room") != room)
    until(lambda: "step 600" in words(moved))
    slider = moved.find_element(By.CSS_SELECTOR, "input[type=range]")
    assert slider.get_attribute("value") == "3" and slider.get_attribute("aria-valuetext") == "600"
    until(lambda: any("out: 0.0" in text for text in words(taken)))
    chosen = Select(taken.find_element(By.TAG_NAME, "select")).first_selected_option
    assert chosen.text == "head 0.0"
    until(lambda: isolated(lined) == ["0.1", "1"])
    slider.send_keys(Keys.ARROW_LEFT)  # and it goes on from there
    until(lambda: "step 50" in words(moved))
