"""The site of a tiny book: whole, on its own host, and as a reader's browser shows it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from urllib.parse import urldefrag, urlparse

import pytest
from bs4 import BeautifulSoup
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from pipeline import serve
from tests.book import browsing, project
from tests.book.browsing import alive, until, visit

CHAPTER = "chapters/01_tiny.html"


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
    counts = "2 claims judged in this run; 1 reproduced, 1 not testable here."
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


def headless(site: Path) -> dict[str, list[str]]:
    """Pages whose head lacks something, and what: a title that no other page has, said once, and
    what a search engine or a link to the page shows of it."""
    wrong: dict[str, list[str]] = {}
    seen = set()
    for path in pages(site):
        if path.name in {"index.html", "404.html"}:  # lead to others, and are found by no search
            continue
        head = soup(path).head
        said = {tag.get("property") or tag.get("name"): tag["content"] for tag in head("meta")[2:]}
        title, _, book = head.title.text.partition(" — ")
        needed = {"og:title", "og:site_name", "og:type", "description", "og:description"}
        if path.name in {"search.html", "genindex.html"}:  # they have no text of their own
            needed -= {"description", "og:description"}
        lacking = sorted(name for name in needed if not said.get(name, "").strip())
        lacking += ["a title of its own"] if head.title.text in seen or title == book else []
        lacking += ["one title"] if len(head("title")) != 1 or said["og:title"] != title else []
        seen.add(head.title.text)
        wrong |= {path.name: lacking} if lacking else {}
    return wrong


def test_each_page_says_its_name_and_what_it_is_about(site):
    assert len(pages(site)) > 8 and not headless(site)


def test_each_page_has_one_title_and_a_description_of_its_own(site):
    heads = {p.name: soup(p).head for p in pages(site) if p.name != "index.html"}
    titles = [head.title.text for head in heads.values()]
    assert len(set(titles)) == len(titles)
    assert heads["intro.html"].title.text == "Induction heads, a book that runs"
    said = heads["01_tiny.html"].find("meta", attrs={"name": "description"})["content"]
    assert said.startswith("A score is")
    assert not [name for name, head in heads.items() if "fontawesome" in str(head)]
    assert not list(site.rglob("fontawesome.js"))


def test_what_is_not_there_is_not_in_the_menu(site):
    assert not (site / "benchmarks.html").exists()
    assert "Benchmarks" not in soup(site / "intro.html").select_one(".bd-links").text


def test_the_home_page_says_whose_book_it_is_and_from_what_it_was_made(site):
    about = soup(site / "intro.html").find(id="about-the-book").text
    assert "MIT licence" in about and "To cite: The authors of the book" in about
    assert re.search(r"executed on \d{4}-\d\d-\d\d", about) and "of one core" in about


def test_a_downloaded_chapter_says_what_it_needs_and_has_its_numbers(site):
    source = json.loads((site / "_sources" / "chapters" / "01_tiny.ipynb").read_text())
    cells = ["".join(c["source"]) for c in source["cells"] if c["cell_type"] == "markdown"]
    assert "make install" in cells[0] and not [c for c in cells if "{glue" in c or "{cite" in c]
    assert re.search(r"the mean of this run is 0\.\d+\.", cells[1])


def test_the_bibliography_is_labelled_as_the_text_cites(site):
    labels = [label.text for label in soup(site / "bibliography.html").select(".citation .label")]
    assert "[Olsson et al., 2022]" in labels and labels == sorted(labels, key=str.lower)


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


def test_the_search_finds_a_definition_first_and_quotes_its_text(browser, address):
    visit(browser, f"{address}/search.html?q=residual+stream")
    first = until(lambda: browser.find_elements(By.CSS_SELECTOR, "#search-results li"))[0]
    assert "glossary.html#term-residual-stream" in first.find_element(
        By.TAG_NAME, "a"
    ).get_attribute("href")
    visit(browser, f"{address}/search.html?q=diagonal")
    quoted = until(lambda: browser.find_elements(By.CSS_SELECTOR, "#search-results p.context"))
    said = [line.text for line in quoted]
    assert any("diagonal" in line for line in said)
    assert not [line for line in said if ".pdf" in line or "Contents" in line]
    fetched = browser.execute_script(
        "return performance.getEntriesByType('resource').map(one => one.name)"
    )
    assert [name for name in fetched if name.endswith("01_tiny.txt")]
    assert not [name for name in fetched if name.endswith(".html")]  # which holds its charts too


MARKED = "return Array.from(CSS.highlights.get('bk-found') || []).map(String)"


def test_what_was_searched_for_is_marked_as_whole_words(browser, address):
    """A search for "K-composition" marked every letter k."""
    visit(browser, f"{address}/search.html?q=K-composition")
    found = until(lambda: browser.execute_script(MARKED))
    assert {said.lower() for said in found} <= {"k-composition", "composition"}
    visit(browser, f"{address}/search.html?q=residual+stream")
    first = until(lambda: browser.find_elements(By.CSS_SELECTOR, "#search-results li a"))[0]
    first.click()
    found = until(lambda: browser.execute_script(MARKED))
    assert {said.lower() for said in found} <= {"residual stream", "residual streams"}
    webdriver.ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not browser.execute_script(MARKED)
    visit(browser, f"{address}/intro.html")  # what was found is marked once
    assert not browser.execute_script(MARKED)


def test_the_index_of_the_search_is_fetched_by_its_own_page_alone(site):
    asking = {p.name for p in pages(site) if "searchindex.js" in p.read_text()}
    assert asking == {"search.html"}


STOPS = """return Array.from(document.querySelectorAll('.bk-folds :is(summary, a, button)'))
  .filter(one => one.tabIndex === 0).length"""


def test_what_stands_under_a_figure_is_one_stop_of_the_tab_key(browser, address):
    visit(browser, f"{address}/{CHAPTER}")
    alive(browser)
    bars = browser.find_elements(By.CSS_SELECTOR, ".bk-folds[role=toolbar][aria-label]")
    assert len(bars) == 3 == browser.execute_script(STOPS)
    until(lambda: len(browser.find_elements(By.CSS_SELECTOR, ".bk-save")) == 4)
    browser.execute_script("arguments[0].querySelector('summary').focus()", bars[0])
    said = []
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.END, Keys.ARROW_RIGHT, Keys.HOME):
        webdriver.ActionChains(browser).send_keys(key).perform()
        said.append(browser.execute_script("return document.activeElement.textContent"))
    assert said == ["Provenance", "Data (CSV)", "PNG", "PNG", "Description"]
    assert browser.execute_script(STOPS) == 3


def tip(browser):
    return browser.find_element(By.ID, "bk-tip")


def test_a_word_of_the_glossary_says_its_meaning_on_hover_focus_and_tap(browser, address):
    visit(browser, f"{address}/{CHAPTER}", height=900)
    words = browser.find_elements(By.CSS_SELECTOR, ".bk-term")
    assert [word.text for word in words] == [
        "residual stream"
    ]  # once, though it stands there twice
    assert not tip(browser).is_displayed()
    webdriver.ActionChains(browser).move_to_element(words[0]).perform()
    assert tip(browser).is_displayed() and "from layer to layer" in tip(browser).text
    webdriver.ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not tip(browser).is_displayed()
    browser.execute_script("arguments[0].focus()", words[0])
    assert tip(browser).is_displayed() and words[0].get_attribute("aria-describedby") == "bk-tip"
    browser.execute_script("arguments[0].blur()", words[0])
    assert not tip(browser).is_displayed()
    touch = "const e = new PointerEvent('pointerdown', {bubbles: true, pointerType: 'touch'}); "
    tap = touch + "arguments[0].dispatchEvent(e); arguments[0].click();"
    browser.execute_script(tap, words[0])
    assert tip(browser).is_displayed() and CHAPTER in browser.current_url
    browser.execute_script(tap, words[0])  # the second tap follows the link
    until(lambda: "glossary.html#term-residual-stream" in browser.current_url)


def test_the_arrow_keys_tell_what_the_pointer_is_told(browser, address):
    visit(browser, f"{address}/{CHAPTER}")
    chart = alive(browser)[0]
    browser.execute_script("arguments[0].querySelector('.bk-canvas').focus()", chart)
    webdriver.ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    shown = browser.find_element(By.CSS_SELECTOR, "#vg-tooltip-element.visible").text
    told = chart.find_element(By.CSS_SELECTOR, "[role=status]").get_attribute("textContent")
    assert "score" in shown and "score" in told
    webdriver.ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    after = chart.find_element(By.CSS_SELECTOR, "[role=status]").get_attribute("textContent")
    assert after != told and len(chart.find_elements(By.CSS_SELECTOR, ".bk-here")) == 1
    webdriver.ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert not browser.find_elements(By.CSS_SELECTOR, "#vg-tooltip-element.visible")


def test_a_wide_table_is_a_card_a_row_on_a_phone_and_a_table_on_a_desk(browser, address):
    visit(browser, f"{address}/claims.html", width=400)
    table = browser.find_element(By.CSS_SELECTOR, ".bk-overview")
    assert "bk-stacked" in table.get_attribute("class")
    cell = table.find_elements(By.CSS_SELECTOR, "tbody td")[2]
    label = "return getComputedStyle(arguments[0], '::before').content"
    assert "Statement" in browser.execute_script(label, cell)
    assert table.size["width"] <= 400 and cell.get_attribute("role") == "cell"
    visit(browser, f"{address}/claims.html")
    table = browser.find_element(By.CSS_SELECTOR, ".bk-overview")
    assert "bk-stacked" not in table.get_attribute("class")


SCROLLERS = """return Array.from(document.querySelectorAll('.bk-scroll'))
  .filter(e => e.checkVisibility()).map(e =>
  [e.scrollWidth > e.clientWidth + 1 || !!e.querySelector('.bk-table') &&
   e.scrollHeight > e.clientHeight + 1, e.tabIndex === 0, e.getAttribute('aria-label') || ''])"""


def test_what_scrolls_is_a_named_stop_of_the_tab_key_and_nothing_else_is(browser, address):
    kinds = set()
    for page in (CHAPTER, "claims.html"):
        visit(browser, f"{address}/{page}", width=620)
        until(lambda: all(a == b == bool(name) for a, b, name in browser.execute_script(SCROLLERS)))
        kinds |= {scrolls for scrolls, _, _ in browser.execute_script(SCROLLERS)}
    assert kinds == {True, False}


LENGTHEN = """const table = document.querySelector('.bk-figure .bk-table'), rows = table.tBodies[0];
for (let i = 0; i < 60; i++) { rows.append(rows.rows[0].cloneNode(true)); }
return table.closest('.bk-scroll');"""


def test_a_long_table_scrolls_in_its_place_under_its_head(browser, address):
    visit(browser, f"{address}/{CHAPTER}", width=1400)
    box = browser.execute_script(LENGTHEN)
    until(lambda: box.get_attribute("tabindex") == "0")
    assert box.get_attribute("aria-label").endswith(" Scrolls.")
    script = """const box = arguments[0]; box.scrollTop = 300;
      return [box.clientHeight, box.scrollHeight, box.scrollTop, box.getBoundingClientRect().top -
              box.querySelector('thead').getBoundingClientRect().top]"""
    height, whole, scrolled, above = browser.execute_script(script, box)
    screen = 700  # px: of the smallest desk's window, or its end would be out of sight
    assert height < screen < whole and scrolled == 300 and abs(above) < 2


def test_the_way_to_the_home_page_asks_for_nothing_that_is_not_there(browser, address, site):
    said = soup(site / "index.html")
    assert said.html["lang"] == "en" and (site / said.find("link", rel="icon")["href"]).is_file()
    visit(browser, f"{address}/index.html")
    until(lambda: browser.current_url.endswith("/intro.html"))


WIDEN = """const table = document.querySelector('.bk-figure .bk-table');
for (const row of table.rows) { const last = row.cells[row.cells.length - 1];
  for (let i = 0; i < 9; i++) { row.append(last.cloneNode(true)); } }
const box = table.closest('.bk-scroll'), fold = document.createElement('details');
const other = document.querySelector('.bk-figure:has(.bk-chart)');
fold.className = 'bk-fold';
fold.append(other.querySelector('.bk-chart'));
other.prepend(fold);
return [table.offsetWidth > box.clientWidth, getComputedStyle(box).overflowX,
        other.querySelector('figcaption').checkVisibility()];"""


def test_on_paper_wide_tables_fit_and_no_caption_stands_without_its_figure(browser, address):
    visit(browser, f"{address}/{CHAPTER}", width=642)
    alive(browser)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.execute_script(WIDEN) == [False, "visible", False]
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_link_into_a_fold_opens_it(browser, address):
    visit(browser, f"{address}/intro.html")  # so that what follows is no step within one page
    visit(browser, f"{address}/claims.html#rule-O901", height=900)
    fold = browser.find_element(By.CSS_SELECTOR, "details.bk-full")
    assert fold.get_attribute("open") and browser.find_element(By.ID, "rule-O901").is_displayed()


@pytest.mark.parametrize(("width", "theme"), browsing.MODES)
def test_the_checker_of_accessibility_finds_nothing(browser, address, site, width, theme):
    found = {}
    for path in pages(site):
        if path.name in {"index.html", "genindex.html"}:  # a redirection; the theme's own list
            continue
        visit(browser, f"{address}/{path.relative_to(site)}", width=width, theme=theme)
        if wrong := browsing.accessible(browser, {"label-content-name-mismatch": True}):
            found[path.name] = wrong
    assert not found


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
        ".bk-part p",
        ".bk-strip text",
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


def test_a_page_that_is_not_there_finds_the_book_from_any_depth(chromium, site, tmp_path):
    """As a host of pages shows it that keeps several books."""
    (tmp_path / "some-book").symlink_to(site)
    (tmp_path / "404.html").symlink_to(site / "404.html")
    with browsing.serving(tmp_path, serve.Handler) as place:
        visit(chromium, f"{place}/some-book/chapters/deep/01_old_name.html", width=400)
        ways = chromium.find_element(By.ID, "ways")
        until(ways.is_displayed)
        asked = ways.find_element(By.TAG_NAME, "input").get_attribute("value")
        assert asked == "old name"
        links = [a.get_attribute("href") for a in ways.find_elements(By.TAG_NAME, "a")]
        assert f"{place}/some-book/{CHAPTER}" in links
        assert links[0] == f"{place}/some-book/intro.html"
        ways.find_element(By.TAG_NAME, "button").click()
        until(lambda: "/some-book/search.html?q=old" in chromium.current_url)
    for kind in ("browser", "performance"):  # it asks where the book begins, of other tests' ends
        chromium.get_log(kind)


def test_the_site_works_from_the_disk(browser, address, site):
    visit(browser, f"{address}/intro.html")  # so that the check of requests has one of ours to see
    browser.get((site / CHAPTER).as_uri())
    assert len(alive(browser)) == 2
