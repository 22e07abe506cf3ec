"""The site of a tiny book: whole, on its own host, and as a reader's browser shows it."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urldefrag, urlparse

import pytest
from bs4 import BeautifulSoup
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from tests.book import project

CHAPTER = "chapters/01_tiny.html"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def pages(site: Path) -> list[Path]:
    return sorted(p for p in site.rglob("*.html") if "_static" not in p.parts)


def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(), "html.parser")


# --- the files ---


def test_no_page_loads_anything_from_another_host(site):
    outside = []
    for path in pages(site):
        for tag in soup(path).find_all(True):
            kinds = ("src", "srcset", "data", "poster", "action") + (
                ("href",) if tag.name in {"link", "use", "image"} else ()
            )
            outside += [
                (path.name, tag.name, tag[k])
                for k in kinds
                if re.match(r"(https?:)?//", str(tag.get(k, "")))
            ]
    assert len(pages(site)) >= 7 and not outside


def test_no_inline_script_names_another_host(site):
    scripts = [
        (p.name, s.string or "")
        for p in pages(site)
        for s in soup(p).find_all("script")
        if not s.get("src")
    ]
    assert scripts and not [
        (name, m.group())
        for name, text in scripts
        if (m := re.search(r"https?://(?!www\.w3\.org)[\w.-]+", text))
    ]


def test_no_style_sheet_or_script_fetches_from_another_host(site):
    calls = r"""url\(\s*["']?|@import\s+["']|import\s*\(\s*["']|fetch\(\s*["']"""
    calls += r"""|importScripts\(\s*["']|\.src\s*=\s*["']"""
    fetching = re.compile(rf"""(?:{calls})(?:https?:)?//[^\s"')]+""")
    files = [p for kind in ("*.css", "*.js") for p in site.rglob(kind)]
    assert len(files) > 10 and not {
        p.name: found for p in files if (found := fetching.findall(p.read_text()))
    }


def test_every_link_within_the_site_leads_somewhere(site):
    dead = []
    for path in pages(site):
        for tag in soup(path).find_all("a", href=True):
            target, fragment = urldefrag(tag["href"])
            if urlparse(target).scheme or path.name in {"genindex.html", "search.html"}:
                continue
            file = (path.parent / target).resolve() if target else path
            ids = (
                {t["id"] for t in soup(file).find_all(id=True)}
                if file.suffix == ".html" and file.is_file()
                else set()
            )
            if not file.is_file() or (fragment and file.suffix == ".html" and fragment not in ids):
                dead.append((path.name, tag["href"]))
    assert not dead


def test_figures_offer_caption_description_data_and_provenance(site):
    figures = soup(site / CHAPTER).select("figure.bk-figure")
    assert len(figures) == 3
    for figure in figures:
        assert figure.figcaption.text.startswith(("Figure 1.", "Table 1."))
        assert [s.text for s in figure.select("summary")] == ["Description", "Provenance"]
        assert "papermill chapters/01_tiny.ipynb out.ipynb -f params/tiny.yaml" in figure.code.text
        assert (
            (site / "chapters" / figure.select_one("a.bk-csv")["href"])
            .resolve()
            .read_text()
            .startswith(("layer,", "name,"))
        )


def test_the_home_page_has_the_verdicts_and_the_rules_page_the_rules(site):
    """Each verdict beside its nearest null, marked where its rule was changed."""
    home, rules = soup(site / "intro.html"), soup(site / "claims.html")
    counts = "Olsson et al. 2022: 2 claims judged in this run; 1 reproduced, 1 not testable here."
    assert counts in rules.text
    assert "1 reproduced, 1 not testable here" in home.select_one(".bk-bar-label").text
    cards = [[line.text for line in card.select("p")] for card in home.select(".bk-card")]
    assert len(cards) == 1 and cards[0][0].startswith("1. ")
    found = rules.select(".bk-overview tbody tr")
    rows = [[cell.text for cell in row.select("td")] for row in found]
    assert [row[1] for row in rows] == ["reproduced rule revised", "not testable here"]
    assert rows[0][0] == "O901" and rows[0][2].startswith("Scores") and rows[0][-1] == "1"
    assert rows[0][-2] == "shifted: not reproduced (0.1)"
    assert "0.5 [0.4, 0.6], n = 48, seeds 0, 1, 2" in rules.text
    assert "above 0.25" in rules.text and "half of the expected mean" in rules.text
    assert "above 0.45" in rules.select_one("details.bk-past").text


def test_the_parameters_page_has_them_all_with_this_run_s_values(site):
    from lib import profiles

    rows = {
        r.td.text: [c.text for c in r.select("td")]
        for r in soup(site / "parameters.html").select("tbody tr")
    }
    assert rows.keys() == profiles.Profile.model_fields.keys()
    assert (
        rows["repeat_lengths"][3] == "[4, 8]"
        and rows["seed"][1] == "whole number >= 0, < 2147483648"
    )


def test_sources_and_pages_hold_no_path_of_the_machine(site, built_project):
    hidden = [str(built_project), str(Path.home()), str(project.ROOT)]
    files = [
        p for p in site.rglob("*") if p.suffix in {".html", ".ipynb", ".md", ".txt", ".csv", ".js"}
    ]
    assert len(files) > 20 and not [
        (p.name, h) for p in files for h in hidden if h in p.read_text()
    ]


def test_formulas_are_laid_out_without_a_script(site):
    page = soup(site / CHAPTER)
    assert len(page.find_all("math")) == 2 and not [
        s for s in page.find_all("script") if "mathjax" in str(s).lower()
    ]
    assert page.find("math", display="block").find("munder")


def test_a_second_build_does_nothing_and_a_prose_page_rebuilds_the_site_alone(built_project):
    assert (
        "Nothing to be done"
        in project.run(built_project, "pipeline.build", "tiny", "--dry-run").stdout
    )
    page = built_project / "book" / "intro.md"
    before = page.read_text()
    try:
        page.write_text(before + "\nMore.\n")
        said = project.run(
            built_project, "pipeline.build", "tiny", "--dry-run", "--quiet", "host"
        ).stdout
        assert "rule site" in said and "rule chapter" not in said
    finally:
        page.write_text(before)


def test_prose_of_a_chapter_is_taken_fresh_and_its_outputs_stay(built_project, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(built_project, folder)
    chapter = folder / "chapters" / "01_tiny.ipynb"
    said = chapter.read_text().replace("# A tiny chapter", "# A small chapter")
    chapter.write_text(said.replace('"seed = 0', '"# Again.\\n",\n    "seed = 0'))
    assert "01_tiny, cell" not in project.run(folder, "pipeline.build", "tiny").stdout
    page, before = (
        soup(home / "runs" / "tiny" / "site" / CHAPTER) for home in (folder, built_project)
    )
    assert page.h1.text.startswith("1. A small chapter") and "# Again." in page.text
    assert [str(f) for f in page.select("figure")] == [str(f) for f in before.select("figure")]
    assert "Values of this run" in str(page)


def test_warnings_fail_the_build_and_keep_the_old_site(built_project, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(built_project, folder)
    with (folder / "book" / "your_model.md").open("a") as file:
        file.write("\n[nowhere](nowhere.md)\n\n$\\frac{1}$\n\n{cite:p}`nobody1900`\n")
    result = project.run(folder, "pipeline.build_site", "params/tiny.yaml", check=False)
    assert result.returncode == 1 and all(
        said in result.stderr for said in ("nowhere.md", "frac{1}", "nobody1900")
    )
    assert (folder / "runs" / "tiny" / "site" / "index.html").is_file()


def test_an_executed_chapter_that_is_gone_fails_the_build_by_name(built_project, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(built_project, folder)
    (folder / "runs" / "tiny" / "chapters" / "01_tiny.ipynb").unlink()
    result = project.run(folder, "pipeline.build_site", "params/tiny.yaml", check=False)
    assert result.returncode == 1 and "01_tiny: missing" in result.stderr


# --- the browser ---


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """The site on a port of this machine."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    """A browser with nothing in it."""
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    driver = shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no Chromium with chromedriver on this machine: the browser tests did not run")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


@pytest.fixture
def browser(chromium, address) -> Iterator[webdriver.Chrome]:
    """The browser; whatever a test did, no request went elsewhere and the console holds no
    error."""
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    yield chromium
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    requests = {
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    }
    own = {url for url in requests if url.startswith(address)}
    assert own and not [
        u for u in requests - own if not u.startswith(("data:", "blob:", "chrome:", "file:"))
    ]
    assert not [e["message"] for e in chromium.get_log("browser") if e["level"] == "SEVERE"]


def visit(
    browser: webdriver.Chrome, url: str, width: int = 1400, theme: str = "light", height: int = 4000
) -> None:
    """Open a page at a width and theme; the window is high, so every chart is in view."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(url)
    if browser.execute_script("return document.documentElement.dataset.theme") != theme:
        browser.execute_script(
            "localStorage.setItem('mode', arguments[0]); localStorage.setItem('theme', "
            "arguments[0])",
            theme,
        )
        browser.get(url)


def until(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


def alive(browser: webdriver.Chrome) -> list:
    """The page's charts, once the shared script has drawn all of them."""
    until(
        lambda: (
            len(browser.find_elements(By.CSS_SELECTOR, ".bk-chart"))
            == len(browser.find_elements(By.CSS_SELECTOR, ".bk-live"))
            > 0
        )
    )
    return browser.find_elements(By.CSS_SELECTOR, ".bk-live")


def cells(chart) -> list:
    return chart.find_elements(By.CSS_SELECTOR, "svg .mark-rect.role-mark path")


def test_charts_are_drawn_live_and_answer_the_pointer(browser, address):
    visit(browser, f"{address}/{CHAPTER}")
    chart = alive(browser)[0]
    assert (
        chart.find_elements(By.CSS_SELECTOR, ".vega-embed svg")
        and len(chart.find_elements(By.CSS_SELECTOR, "svg")) == 1
    )
    drawn = cells(chart)
    assert len({c.value_of_css_property("fill") for c in drawn[:16]}) > 8 and all(
        c.size["height"] > 20 for c in drawn[:16]
    )
    webdriver.ActionChains(browser).move_to_element_with_offset(drawn[3], 12, 9).perform()
    tip = until(
        lambda: [
            t
            for t in browser.find_elements(By.CSS_SELECTOR, "#vg-tooltip-element.visible")
            if t.text
        ]
    )[0]
    assert "head" in tip.text and "score" in tip.text


def test_the_menu_chooses_a_head(browser, address):
    visit(browser, f"{address}/{CHAPTER}")
    chart = alive(browser)[1]
    assert len(cells(chart)) > 50
    Select(chart.find_element(By.CSS_SELECTOR, ".bk-controls select")).select_by_visible_text("0.1")
    until(lambda: len(cells(chart)) == 12)  # the diagonal


def test_without_scripts_the_charts_are_there(browser, address):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"{address}/{CHAPTER}")
        charts = browser.find_elements(By.CSS_SELECTOR, ".bk-canvas[role=img][aria-label]")
        assert (
            len(charts) == 2
            and len(cells(charts[0])) >= 16
            and not browser.find_elements(By.CSS_SELECTOR, ".bk-live")
        )
        assert browser.find_element(By.CSS_SELECTOR, "math").size["height"] > 8
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_search_finds_a_chapter(browser, address):
    visit(browser, f"{address}/search.html?q=diagonal")
    links = until(lambda: browser.find_elements(By.CSS_SELECTOR, "#search-results li a"))
    assert any(CHAPTER in link.get_attribute("href") for link in links)


CONTRAST = """
function parse(c) { return c.match(/[\\d.]+/g).map(Number); }
function luminance(c) { return parse(c).slice(0, 3).map(v => v / 255)
  .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0); }
function ground(e) { for (; e; e = e.parentElement) {
  const c = getComputedStyle(e).backgroundColor, p = parse(c);
  if (p.length < 4 || p[3] > .5) return c; } return 'rgb(255,255,255)'; }
return Array.from(document.querySelectorAll(arguments[0])).map(e => {
  const svg = e.ownerSVGElement, s = getComputedStyle(e);
  const text = luminance(svg ? s.fill : s.color), back = ground(svg ? svg.parentElement : e);
  const l = [text, luminance(back)].sort().reverse();
  return [(e.textContent || '').slice(0, 40), (l[0] + .05) / (l[1] + .05)]; });
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(browser, address, theme):
    visit(browser, f"{address}/{CHAPTER}", theme=theme)
    alive(browser)
    assert browser.execute_script("return document.documentElement.dataset.theme") == theme
    for what in (
        ".role-axis-label text",
        ".role-axis-title text",
        "figcaption",
        ".bk-verdict dd",
        ".bk-badge",
        ".bk-folds summary",
    ):
        measured = browser.execute_script(CONTRAST, what)
        assert measured and min(ratio for _, ratio in measured) >= 4.5, (what, measured)


@pytest.mark.parametrize("width", [400, 1400])
def test_no_page_is_wider_than_the_window(browser, address, site, width):
    wide = {}
    for path in pages(site):
        visit(browser, f"{address}/{path.relative_to(site)}", width=width, height=900)
        if browser.find_elements(By.CSS_SELECTOR, ".bk-chart"):
            visit(browser, f"{address}/{path.relative_to(site)}", width=width)
            alive(browser)
        over = browser.execute_script(
            "return document.documentElement.scrollWidth - window.innerWidth"
        )
        wide |= {path.name: over} if over > 0 else {}
    assert not wide


def test_the_site_works_from_the_disk(browser, address, site):
    visit(browser, f"{address}/intro.html")  # so that the check of requests has one of ours to see
    browser.get((site / CHAPTER).as_uri())
    assert len(alive(browser)) == 2
