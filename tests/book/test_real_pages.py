"""The pages of the book itself, as `make book` has built them, in a browser: the checker of
accessibility, both themes, both widths. They skip until the default profile is built from these
sources."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from selenium.webdriver.common.by import By

from tests.book import browsing
from tests.book.browsing import until, visit
from tests.book.test_site import headless

pytestmark = pytest.mark.trained()  # asked once the book is built; of no recipe in particular
ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "runs" / "embedded" / "site"
HOME, CHAPTER = "intro.html", "chapters/01_induction_heads.html"
TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
PAGES = [TOC["root"], *(c["file"] for part in TOC["parts"] for c in part["chapters"]), "search"]
WAYS = [(1400, "light"), (400, "dark"), (400, "light"), (1400, "dark")]
# Every page in one way, and in all ways the home page and a chapter with every kind of thing on it.
CHECKED = [(f"{page}.html", *WAYS[place % 4]) for place, page in enumerate(PAGES)]
CHECKED += [(page, *way) for page in (HOME, CHAPTER) for way in WAYS]


@pytest.fixture(scope="module")
def site() -> Path:
    """The site of the default profile. Skips where there is none, or one of other sources."""
    for name in ("book.js", "book.css"):
        built = SITE / "_static" / name
        if not built.is_file() or built.read_bytes() != (ROOT / "book/_static" / name).read_bytes():
            pytest.skip("no site of the default profile from these sources: make book builds it")
    return SITE


STEP = """const [place, done] = arguments;
window.scrollTo(0, place);
requestAnimationFrame(() => requestAnimationFrame(() => done(document.body.scrollHeight)));"""


def scrolled(browser) -> None:
    """Go down the page, at each place until it is painted: only then does it draw its charts."""
    place, height = 0, 1
    while place < height:
        height = browser.execute_async_script(STEP, place)
        place += 3000


@pytest.fixture
def made(site, page) -> str:
    """The page's place in the site. Skips before there is a browser if it would be empty."""
    if not (site / page).is_file():
        pytest.skip(f"{page} is not in this site, for it would be empty")
    return page


@pytest.mark.parametrize(("page", "width", "theme"), dict.fromkeys(CHECKED))
def test_the_checker_finds_nothing_wrong_with_any_page(made, browser, address, width, theme):
    visit(browser, f"{address}/{made}", width=width, theme=theme)
    scrolled(browser)
    assert not browsing.accessible(browser, {"label-content-name-mismatch": True})


@pytest.mark.parametrize("page", [HOME, "chapters/03_smeared_keys.html", "claims.html"])
def test_a_page_is_as_high_in_the_dark_as_in_the_light(browser, address, page):
    """Or a reader who changes the theme is somewhere else: pages grew by a fiftieth."""
    heights = []
    for theme in ("light", "dark"):
        visit(browser, f"{address}/{page}", theme=theme)
        scrolled(browser)
        if browser.find_elements(By.CSS_SELECTOR, ".bk-chart"):
            browsing.alive(browser)
        heights.append(browser.execute_script("return document.documentElement.scrollHeight"))
    assert abs(heights[1] / heights[0] - 1) < 0.002


def test_each_page_says_its_name_and_what_it_is_about(site):
    assert not headless(site)


@pytest.mark.parametrize("width", [400, 1400])
def test_no_page_is_wider_than_the_window(browser, address, site, width):
    wide = {}
    for path in sorted(site.glob("*.html")) + sorted(site.glob("chapters/*.html")):
        visit(browser, f"{address}/{path.relative_to(site)}", width=width, height=900)
        script = "return document.documentElement.scrollWidth - window.innerWidth"
        if (over := browser.execute_script(script)) > 0:
            wide[path.name] = over
    assert not wide


def test_the_page_of_claims_can_be_looked_over(browser, address):
    """A few lines a claim on a desk, the rest folded: it was a thousand pixels a claim."""
    visit(browser, f"{address}/claims.html")
    claims = len(browser.find_elements(By.CSS_SELECTOR, "details.bk-full"))
    height = browser.execute_script("return document.documentElement.scrollHeight")
    assert claims > 60 and height < 300 * claims


@pytest.mark.parametrize("asked", ["prefix matching", "K-composition", "residual stream", "clamp"])
def test_a_search_finds_the_definition_first(browser, address, asked):
    visit(browser, f"{address}/search.html?q={asked.replace(' ', '+')}")
    first = until(lambda: browser.find_elements(By.CSS_SELECTOR, "#search-results li a"))[0]
    assert "glossary.html#term-" in first.get_attribute("href")


def test_folds_are_named_and_no_page_names_the_script_of_all_icons(site):
    for path in sorted(site.glob("chapters/*.html")):
        text = path.read_text()
        assert "Show code cell" not in text and "fontawesome" not in text
        said = set(re.findall(r'<p class="collapsed admonition-title">(.*?)</p>', text))
        assert {"Imports and set-up", "Values of this run"} <= said


def test_words_of_the_glossary_are_explained_in_every_chapter(site):
    for path in sorted(site.glob("chapters/*.html")):
        assert path.read_text().count('class="bk-term"') >= 3, path.name


def test_the_whole_book_is_light(site):
    """No page loads more than its charts, and a quarter of a megabyte of script beside them."""
    scripts = [p for p in (site / "_static").rglob("*.js") if "locales" not in p.parts]
    assert sum(p.stat().st_size for p in scripts) < 350_000


def test_every_claim_is_told_before_it_is_judged(site):
    count = 0
    for path in sorted(site.glob("chapters/*.html")):
        text = path.read_text()
        told = set(re.findall(r'<details class="bk-claim"><summary><strong>([^<]+)', text))
        judged = re.findall(r'<section class="bk-verdict[^>]*id="claim-([^"]+)"', text)
        count += len(judged)
        assert not set(judged) - told, path.name
    assert count > 60
