"""`python -m pipeline.build_site PROFILE_FILE [EDITION]`: from executed chapters to
`runs/<profile>/site/`, an edition beside it.

Stage the book, ask the gates, make the generated pages, build clean with warnings as errors, and
put the new site in the old one's place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from lib import files, profiles
from lib.report import claims, markup, provenance
from pipeline import (
    about,
    answers,
    cost_page,
    dependencies,
    downloads,
    editions,
    folds,
    gates,
    home,
    meanings,
    missing,
    numbers,
    pages,
    polish,
    process,
    quotes,
    scoreboard,
    verdicts,
)


def stage(
    book: Path,
    sources: Path,
    run: Path,
    chapters: list[str],
    profile: profiles.Profile,
    edition: str = "",
) -> Path:
    """A fresh copy of the book with executed chapters, their data, the generated pages and the
    shared script."""
    target = run / editions.folder("book", edition)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(book, target, ignore=shutil.ignore_patterns("claims", "captions", "_build"))
    _chapters(target, sources, run, chapters, profile, edition)
    files.write_whole(target / "_extra" / "vega" / "vega.js", markup.bundle())
    _home(target, sources, run, chapters)
    _appendices(target, sources, run, chapters, profile)
    words = target / "glossary.md"
    files.write_whole(words, numbers.linked(words.read_text(), chapters, "chapters/"))
    _settings(target, edition)
    return target


def _chapters(
    target: Path,
    sources: Path,
    run: Path,
    chapters: list[str],
    profile: profiles.Profile,
    edition: str,
) -> None:
    """Executed chapters with their present prose, and their data."""
    shown = provenance.places(profile)
    for name in chapters:
        place = Path("chapters") / f"{name}.ipynb"
        source, executed = (dependencies.read(file) for file in (sources / place.name, run / place))
        answers.stated(source, profile)
        page = editions.edited(presentable(present(source, executed)), edition)
        page = folds.named(meanings.listed(page))
        page = numbers.numbered(home.timed(page, run / "results" / name), name, chapters)
        dependencies.write(provenance.without(page, shown), target / place)
        for file in sorted((run / "results" / name).glob("*.csv")):
            text = file.read_text()
            text = meanings.table(text) if file.name == "columns.csv" else text
            text = provenance.without(text, shown)
            files.write_whole(target / "_extra" / "results" / name / file.name, text)


def _home(target: Path, sources: Path, run: Path, chapters: list[str]) -> None:
    """What the home page includes."""
    found = verdicts.collected(run / "results", chapters)
    answered = home.answers(target / "home.yml", run, chapters)
    parts = {
        "reader": home.reader(run / "results"),
        "findings": home.findings(target / "home.yml", found, answered),
        "bars": home.bars(found),
        "chapters": home.chapters(chapters, sources, run, found, answered),
        "about": about.section(run / "results", chapters, target / "_config.yml"),
    }
    for part, text in parts.items():
        files.write_whole(target / "_generated" / f"{part}.md", text)


def _appendices(
    target: Path, sources: Path, run: Path, chapters: list[str], profile: profiles.Profile
) -> None:
    """Pages that are made of rules, parameters and records of runs."""
    found = verdicts.collected(run / "results", chapters)
    rules = files.ROOT / "book" / "claims"
    every = claims.load(rules) if rules.is_dir() else {}
    notebooks = [sources / f"{name}.ipynb" for name in chapters]
    trained = {place for file in notebooks for place in dependencies.models(file, profile)}
    side_by_side = scoreboard.columns(run.parent, chapters, run.name)
    made = {
        "parameters.md": pages.parameters(profile),
        "claims.md": verdicts.rules(every, found),
        "models.md": scoreboard.page(every, side_by_side),
        "_extra/results/models.csv": scoreboard.data(side_by_side),
        "cost.md": cost_page.page(run.parent, chapters, run.name, sorted(trained)),
        "_generated/answers.md": answers.page(notebooks, profile),
        "_generated/teaching.md": editions.teaching(chapters, sources, run),
    }
    if files.BENCHMARKS.is_file():
        made["benchmarks.md"] = pages.benchmarks(files.BENCHMARKS)
    for place, text in made.items():
        files.write_whole(target / place, text)


def _settings(target: Path, edition: str) -> None:
    """The table of contents without a page that has nothing on it, and with that of an edition; a
    button to the repository where
    its address is known."""
    toc, config = target / "_toc.yml", target / "_config.yml"
    if not files.BENCHMARKS.is_file():
        kept = [line for line in toc.read_text().splitlines() if "file: benchmarks" not in line]
        files.write_whole(toc, "\n".join(kept))
    if edition == editions.INSTRUCTOR:
        files.write_whole(toc, f"{toc.read_text().rstrip()}\n      - file: {editions.TEACHERS}\n")
    if about.repository(config):
        off, on = (f"use_repository_button: {said}" for said in ("false", "true"))
        files.write_whole(config, config.read_text().replace(off, on))


def present(source: Any, executed: Any) -> Any:
    """The notebook as it stands now, with the outputs of its execution.

    Its code says what was executed, or the gates would have refused it; prose, comments and layout
    may be newer. After the parameters comes the cell with the values of this run.
    """
    ran = dependencies.code_cells(executed)
    for cell, done in zip(dependencies.code_cells(source), ran, strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    injected = [cell for cell in executed.cells if "injected-parameters" in _tags(cell)]
    after = 1 + next(i for i, cell in enumerate(source.cells) if "parameters" in _tags(cell))
    source.cells[after:after] = injected
    source.metadata = executed.metadata
    return source


def _tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def presentable(notebook: Any) -> Any:
    """The notebook as readers get it: progress bars gone, no records of the machine."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("book", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in _tags(cell):
            cell.id = "values-of-this-run"  # papermill's is another each time
        if cell.cell_type == "code":
            cell.outputs = [
                o for o in cell.outputs if not (o.get("name") == "stderr" and "\r" in o.text)
            ]
    return notebook


def build(staged: Path, run: Path, edition: str = "") -> Path:
    """A clean `jupyter-book build`, warnings being errors; the old site stays until the new one is
    whole."""
    work, site = (run / editions.folder(name, edition) for name in ("build", "site"))
    shutil.rmtree(work, ignore_errors=True)
    options = ["build", "-n", "-W", "--keep-going", "-q", "--path-output", str(work), str(staged)]
    # It ends with the build as this process does, whose end it would not notice.
    program = "from pipeline import process; process.end_with_driver(); "
    program += "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", program, *options]
    environment = os.environ | {"PYTHONPATH": str(files.ROOT)}  # for our extensions of Sphinx
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        said = f"{result.stdout}\n{result.stderr}"
        raise SystemExit(f"{said}\nThe book was not built: the warnings above are errors here.")
    made = work / "_build" / "html"
    polish.site(made)
    quotes.site(made)
    downloads.readable(
        made / "_sources" / "chapters",
        staged / "references.bib",
        about.repository(staged / "_config.yml"),
    )
    missing.site(made, staged)
    shutil.rmtree(site, ignore_errors=True)
    os.replace(made, site)
    shutil.rmtree(work)
    return site


def main(profile_file: str, edition: str = "") -> None:
    """Gate, stage, build, and say where the site is."""
    process.end_with_driver()
    profile = profiles.load(profile_file)
    run, book, chapters_dir = files.runs(profile), Path("book"), Path("chapters")
    chapters = gates.chapters_of(book / "_toc.yml")
    try:
        gates.check(chapters, chapters_dir, run / "chapters", profile)
    except gates.GateError as error:
        raise SystemExit(f"The site was not built:\n{error}") from None
    site = build(stage(book, chapters_dir, run, chapters, profile, edition), run, edition)
    page = provenance.public(site / "index.html")
    print(f"The book: {page} (open it, or `make serve PROFILE={profile.profile}`)")


if __name__ == "__main__":
    main(*sys.argv[1:])
