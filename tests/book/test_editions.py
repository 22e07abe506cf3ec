"""Sites for students and for instructors, and the book on paper, made of the chapters of the
default one."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from pypdf import PdfReader, PdfWriter
from pypdf.generic import NameObject, StreamObject
from selenium.webdriver.common.by import By

from lib.report import exercises
from pipeline import downloads, editions, paper
from tests.book import project
from tests.book.browsing import until, visit

CHAPTER = Path("chapters") / "01_tiny.html"
SOURCE = Path("_sources") / "chapters" / "01_tiny.ipynb"
# A word and the code of the fixture's solution, and what its check computes.
GIVEN_AWAY = ("quetzalcoatl", "1 / 12", "A.mean", "Solution to", "{solution}")


@pytest.fixture(scope="module")
def executed(built_project) -> float:
    """When the chapter was executed."""
    return (built_project / "runs/tiny/chapters/01_tiny.ipynb").stat().st_mtime


def made(built_project: Path, edition: str) -> Path:
    project.run(built_project, "pipeline.build", "tiny", f"--edition={edition}")
    return built_project / "runs" / "tiny" / f"site-{edition}"


@pytest.fixture(scope="module")
def student(built_project, executed) -> Path:
    return made(built_project, "student")


def holding(site: Path, words: tuple[str, ...]) -> set[tuple[str, str]]:
    """Files of a site that hold a word, markup aside, and the word."""
    found = set()
    for path in (p for p in site.rglob("*") if p.is_file()):
        text = path.read_bytes().decode(errors="ignore")
        plain = re.sub(r"<[^>]+>", "", text) if path.suffix == ".html" else text
        found |= {(path.name, word) for word in words if word in plain}
    return found


def test_the_site_of_students_holds_no_solution_anywhere(site, student):
    default = holding(site, GIVEN_AWAY)
    assert {word for _, word in default} >= set(GIVEN_AWAY[:4])  # they are to be found there
    assert {"01_tiny.html", "01_tiny.ipynb", "searchindex.js"} <= {name for name, _ in default}
    assert not holding(student, GIVEN_AWAY)


def test_students_get_the_question_the_hint_and_a_check_that_works(student):
    page = BeautifulSoup((student / CHAPTER).read_text(), "html.parser")
    assert "What is the mean of the rows" in page.text and "sums to one" in page.text
    cells = [c for c in nbformat.read(student / SOURCE, 4).cells if c.cell_type == "code"]
    (check,) = [c for c in cells if editions.CHECK in c.source]
    assert not check.outputs  # a field needs the site
    seal = eval(re.search(r"exercises\.Sealed\(.*\)(?=\);)", check.source)[0])
    assert exercises.error(1 / 12, seal) == "" and "sign" in exercises.error(-1 / 12, seal)


def test_an_edition_is_made_beside_the_default_site_and_executes_nothing(
    built_project, site, student, executed
):
    assert (site / "index.html").is_file() and (student / "index.html").is_file()
    assert (built_project / "runs/tiny/chapters/01_tiny.ipynb").stat().st_mtime == executed
    said = project.run(built_project, "pipeline.build", "tiny", "--dry-run").stdout
    assert "Nothing to be done" in said


def test_instructors_get_open_solutions_and_a_page_with_times(built_project):
    site = made(built_project, "instructor")
    page = BeautifulSoup((site / CHAPTER).read_text(), "html.parser")
    (solution,) = page.select("div.solution")
    assert "quetzalcoatl" in solution.text and "dropdown" not in solution["class"]
    teachers = BeautifulSoup((site / "teaching.html").read_text(), "html.parser")
    row = teachers.select_one(".bk-teaching tbody tr").text
    assert "tiny-exercise: Easy, 2 minutes." in row and "min to read" in row
    assert row.endswith("2 min")


def test_the_default_site_has_no_page_for_teachers(site):
    assert not (site / "teaching.html").exists()


def test_an_edition_that_is_none_is_refused_by_name(built_project):
    result = project.run(built_project, "pipeline.build", "tiny", "--edition=pupil", check=False)
    assert result.returncode == 1 and "EDITION=pupil" in result.stderr


@pytest.mark.parametrize("edition", ["", "student"])
def test_a_prediction_is_sealed_and_has_a_field(edition):
    code = "predictions.check(\n    guess, outcome, ask(p).share, tolerance=0.1, low='More.'\n);"
    beside = {"exercise": {"shape": [], "tolerance": 0.1, "digests": "0123abcd"}}
    said = nbformat.v4.new_output("display_data", {"text/markdown": "…"}, metadata=beside)
    cell = nbformat.v4.new_code_cell(code, outputs=[said])
    (made,) = editions.edited(nbformat.v4.new_notebook(cells=[cell]), edition).cells
    seal = "exercises.Sealed((), 0.1, '0123abcd')"
    assert made.source == f"predictions.check(guess, outcome, {seal}, low='More.');"
    form = BeautifulSoup(made.outputs[0].data["text/html"], "html.parser")
    asked = {"kind": "prediction", "step": "0.1", "digest": "0123abcd", "near": "0.1", "high": ""}
    given = {name.removeprefix("data-"): value for name, value in form.form.attrs.items()}
    assert given == asked | {"low": "More.", "class": ["bk-try"], "hidden": ""}
    assert "guess" in form.label.text and "outcome is checked in a running" in form.p.text
    assert (made.metadata.get(downloads.COMPUTES) == code) is (edition != editions.STUDENT)


def test_teachers_are_told_of_exercises_that_there_are():
    chapters = Path(__file__).resolve().parents[2] / "chapters"
    cells = [c for f in chapters.glob("*.ipynb") for c in nbformat.read(f, 4).cells]
    labels = {label for c in cells for label, _ in editions.EXERCISE.findall(c.source)}
    told = (chapters.parent / "book" / f"{editions.TEACHERS}.md").read_text()
    named = set(re.findall(r"`([a-z]+-[a-z-]+)`", told))
    assert named and named <= labels


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("0.0833", "Right."),
        ("1/12", "Right."),
        ("0,0833", "Right."),
        ("-0.0833", "sign"),
        ("8.33", "per cent"),
        ("0.9167", "one less"),
        ("12", "upside down"),
        ("0.5", "Another number."),
        ("many", "Give a number"),
        ("", "Give a number"),
    ],
)
def test_a_number_is_answered_in_the_page(browser, address, given, told):
    visit(browser, f"{address}/{CHAPTER}")
    form = browser.find_element(By.CSS_SELECTOR, ".bk-try")
    form.find_element(By.TAG_NAME, "input").send_keys(given)
    form.find_element(By.TAG_NAME, "button").click()
    assert told in form.find_element(By.TAG_NAME, "output").text


@pytest.mark.parametrize(
    ("given", "told", "stands"),
    [
        ("0.9", "gave 0.08: 0.82 too high. Too sure.", True),
        ("-1/2", "gave 0.08: 0.58 too low. Too shy.", True),
        ("0.1", "gave 0.08: as you said.", True),
        ("many", "Give a number", False),
    ],
)
def test_a_prediction_is_set_beside_what_the_run_gave(browser, address, given, told, stands):
    visit(browser, f"{address}/{CHAPTER}")
    form = browser.find_element(By.CSS_SELECTOR, ".bk-try[data-kind=prediction]")
    assert "0.08" not in form.get_attribute("outerHTML")  # nobody sees it before
    field = form.find_element(By.TAG_NAME, "input")
    field.send_keys(given)
    form.find_element(By.TAG_NAME, "button").click()
    assert told in form.find_element(By.TAG_NAME, "output").text
    assert bool(field.get_attribute("readonly")) is stands  # it is not changed afterwards


def test_hint_check_and_solution_are_folds_of_their_own(site):
    page = BeautifulSoup((site / CHAPTER).read_text(), "html.parser")
    hint = next(d for d in page.select("details.sd-dropdown") if "Hint" in d.summary.text)
    check = next(d for d in page.select("details") if "is checked" in d.summary.text)
    solution = page.select_one("div.solution")
    titles = page.select(".exercise > p.admonition-title, .solution > p.admonition-title")
    numbers = [title.text.split("Exercise ")[1].strip() for title in titles]
    assert numbers == ["1.1", "1.1"]
    assert "sums to one" in hint.text and "dropdown" in solution["class"]
    assert "Sealed" in check.text and "sums to one" not in check.text
    assert not [word for word in GIVEN_AWAY if word in hint.text + check.text]


def test_a_folded_solution_is_as_high_as_its_title(browser, address):
    visit(browser, f"{address}/{CHAPTER}")
    box = browser.find_element(By.CSS_SELECTOR, ".solution.toggle-hidden")
    title = box.find_element(By.CSS_SELECTOR, ".admonition-title")
    assert box.size["height"] == title.size["height"]
    seen = "return arguments[0].querySelector('section').checkVisibility()"
    assert not browser.execute_script(seen, box)  # nor is anything in it a stop of the tab key
    box.find_element(By.TAG_NAME, "button").click()
    until(lambda: box.size["height"] > 2 * title.size["height"])


def test_a_downloaded_notebook_computes_what_it_checks(site):
    """It may be run with other parameters, where the sealed answers of the page are wrong."""
    cells = [c for c in nbformat.read(site / SOURCE, 4).cells if c.cell_type == "code"]
    (check,) = [c for c in cells if editions.CHECK in c.source]
    assert (
        "A.mean" in check.source and not check.outputs and downloads.COMPUTES not in check.metadata
    )


@pytest.mark.parametrize(("edition", "kept"), [("", 1), ("instructor", 1), ("student", 0)])
def test_a_number_that_a_solution_quotes_stays_where_solutions_are(edition, kept):
    beside = {"exercise": {"shape": [], "tolerance": 0.1, "digests": "0123abcd"}}
    said = nbformat.v4.new_output("display_data", {"text/markdown": "…"}, metadata=beside)
    glued = nbformat.v4.new_output("display_data", {"text/plain": "0.25"}, metadata={})
    code = "exercises.check(measured, there)\nbook.number(there=there);"
    cell = nbformat.v4.new_code_cell(code, outputs=[said, glued])
    (made,) = editions.edited(nbformat.v4.new_notebook(cells=[cell]), edition).cells
    assert [o for o in made.outputs if "text/plain" in o.data] == [glued] * kept


# --- on paper; without a Chromium there is none ---


@pytest.fixture(scope="module")
def printed(built_project) -> Path:
    """The run of the fixture, after `make pdf`."""
    if not any(map(shutil.which, paper.PROGRAMS)):
        pytest.skip("no Chromium on this machine: nothing was printed")
    project.run(built_project, "pipeline.paper", "tiny")
    return built_project / "runs" / "tiny"


@pytest.fixture(scope="module")
def pdf(printed) -> PdfReader:
    return PdfReader(printed / "site" / paper.PDF)


def marks(pdf: PdfReader) -> dict[str, int]:
    """The bookmarks of the first level, and the numbers of their sheets."""
    first = [mark for mark in pdf.outline if not isinstance(mark, list)]
    return {mark.title: pdf.get_destination_page_number(mark) + 1 for mark in first}


def test_each_page_of_the_book_has_a_bookmark_in_order(pdf, printed):
    toc = yaml.safe_load((printed / "book" / "_toc.yml").read_text())
    pages = [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]
    said = []
    for page in pages:
        made = BeautifulSoup((printed / "site" / f"{page}.html").read_text(), "html.parser")
        head = made.article.h1
        head.select_one(".headerlink").decompose()
        said.append(head.text)
    assert list(marks(pdf)) == said and "1. A tiny chapter" in said
    assert len(pdf.pages) > len(said) and list(marks(pdf).values()) == sorted(marks(pdf).values())


@pytest.mark.parametrize("said", ["A headof two lines", "A headA headof two lines", 2 * "A head"])
def test_a_bookmark_says_once_what_chromium_says_twice(said):
    """Of a heading that moves to the next sheet it says the first line twice, or all of it."""
    writer = PdfWriter()
    sheet = writer.add_blank_page(100, 100)
    sheet[NameObject("/Contents")] = writer._add_object(StreamObject())
    writer.add_outline_item(said, 0)
    printed = io.BytesIO()
    writer.write(printed)
    heads, reader = ["A head of two lines", "A head", "Another"], PdfReader(printed)
    told = PdfReader(io.BytesIO(paper.finished(reader, reader, heads, "us"))).outline
    assert [mark.title for mark in told] == ["A head" if said == 2 * "A head" else heads[0]]


def test_the_contents_name_the_sheet_on_which_a_page_begins(pdf):
    front = pdf.pages[0].extract_text()
    for title, sheet in list(marks(pdf).items())[1:]:
        assert re.search(rf"{re.escape(title)}\s+{sheet}$", front, re.M), title
        assert title in pdf.pages[sheet - 1].extract_text()
    assert re.search(rf"^{len(pdf.pages)}$", pdf.pages[-1].extract_text(), re.M)


def test_verdicts_are_printed_and_what_is_folded_is_not(pdf):
    text = " ".join(" ".join(page.extract_text() for page in pdf.pages).split())
    assert "0.5 [0.4, 0.6]" in text and "half of the expected mean" in text
    assert "What is the mean of the rows" in text
    for folded in ("quetzalcoatl", "sums to one", "exercises.check", "Data (CSV)"):
        assert folded not in text, folded


def test_links_lead_into_the_book_or_to_its_sources(pdf):
    notes = [note.get_object() for page in pdf.pages for note in page.get("/Annots", [])]
    outside = [note["/A"]["/URI"] for note in notes if "/A" in note]
    assert outside and all(re.match("https?://", place) for place in outside)
    assert {note["/Dest"] for note in notes if "/Dest" in note} <= pdf.named_destinations.keys()


def test_the_home_page_names_the_pdf_once(printed):
    home = printed / "site" / "intro.html"
    paper.linked(printed / "site", "intro", 17)
    (link,) = BeautifulSoup(home.read_text(), "html.parser").select("#about-the-book .bk-pdf a")
    assert (printed / "site" / link["href"]).is_file() and "17 pages" in link.parent.text


def test_what_is_missing_is_named_with_its_cure(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="make book PROFILE=.* EDITION=student"):
        paper.make(tmp_path, "student")
    monkeypatch.setenv("CHROMIUM", "/nowhere/chrome")
    with pytest.raises(FileNotFoundError, match="/nowhere/chrome was not found"):
        paper.chromium()
    monkeypatch.delenv("CHROMIUM")
    monkeypatch.setattr(paper, "PROGRAMS", ("chromium-of-no-machine",))
    with pytest.raises(FileNotFoundError, match="install Chromium or Chrome, or name its program"):
        paper.chromium()
    stuck = tmp_path / "chromium"
    stuck.write_text("#!/bin/sh\nexec sleep 60\n")
    stuck.chmod(0o755)
    monkeypatch.setattr(paper, "MINUTES", 0.01)
    with pytest.raises(RuntimeError, match="did not print the book in 0.01 minutes"):
        paper.printed(str(stuck), "<p>a book</p>", tmp_path)
