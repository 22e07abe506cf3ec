"""What the home page shows of a run: a head to play with, findings, counts, and a card a chapter.

A chapter's answer is a sentence of `book/home.yml`, filled with numbers that the chapter shows; all
other words come from the claims, the chapters' first lines and their results.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import yaml

from lib.report import attention_text
from pipeline import dependencies, numbers, verdicts
from pipeline.verdicts import Row

# A head of chapter 1, for the first look.
READ = Path("01_induction_heads") / "organism-pattern.csv"
WORDS_A_MINUTE = 180


def reader(results: Path) -> str:
    """The head of chapter 1 that matches most, as text to play with; nothing if it has not run."""
    if not (results / READ).is_file():
        return ""
    looks = pd.read_csv(results / READ)
    name = next(name for name in looks.name if "matches" in name)
    looks = looks[looks.name == name]
    places = {side: looks[side].str.split(" ", n=1) for side in ("query", "key")}
    query, key = (places[side].str[0].astype(int) for side in ("query", "key"))
    tokens = looks.assign(place=query, word=places["query"].str[1]).drop_duplicates("place")
    tokens = tokens.sort_values("place").word.tolist()
    pattern = pd.crosstab(query, key, looks.attention, aggfunc="sum").fillna(0)
    shares = pattern.reindex(index=range(len(tokens)), columns=range(len(tokens)), fill_value=0)
    return attention_text.row(shares.to_numpy(), tokens, "home", name.split()[0]) + "\n"


def answers(named: Path, run: Path, chapters: Iterable[str]) -> dict[str, str]:
    """What each chapter found, in a sentence; none of a chapter for which `named` has none. Error:
    ValueError for a number that the chapter does not show."""
    sentences = yaml.safe_load(named.read_text())["answers"]
    said = {}
    for name in (name for name in chapters if name in sentences):
        values = dependencies.glued(dependencies.read(run / "chapters" / f"{name}.ipynb"))
        try:
            said[name] = sentences[name].format_map(values)
        except KeyError as error:
            raise ValueError(
                f"{named.name}: {name} shows no number {error}: name one that its text shows."
            ) from None
    return said


def findings(named: Path, found: dict[str, Row], answered: dict[str, str]) -> str:
    """A line for each claim that `named` lists and the run has judged: what its chapter found, and
    what the claim came to."""
    ids = yaml.safe_load(named.read_text())["findings"]
    rows = [found[name] for name in ids if name in found]
    lines = "".join(_finding(row, answered.get(row["chapter"], "")) for row in rows)
    return f'<ul class="bk-findings">{lines}</ul>\n' if lines else ""


def _finding(row: Row, said: str) -> str:
    link = f"chapters/{row['chapter']}.html#claim-{row['id']}"
    claim = f'{verdicts.source(row)}, <a href="{link}">{row["id"]}</a>:'
    mark = verdicts.badge(row) + verdicts.chip(row, "claims.html") + verdicts.contest(row)
    return f'<li>{html.escape(said)} <span class="bk-claimed">{claim} {mark}</span></li>'


def bars(found: dict[str, Row]) -> str:
    """A bar for each paper's claims and one for questions of ours, in the colours of verdicts, with
    the counts in words."""
    if not found:
        return "No claim has been judged in this run yet.\n"
    return "".join(_bar(name, rows) for name, rows in verdicts.groups(found.values())) + "\n"


def _bar(name: str, rows: list[Row]) -> str:
    parts = "".join(
        f'<span class="bk-{verdict.replace(" ", "-")}" style="flex:{count}"></span>'
        for verdict, count in verdicts.counted(rows).items()
    )
    said = f"<strong>{html.escape(name)}</strong>: {verdicts.in_words(rows)}"
    label = f'<p class="bk-bar-label">{said}</p>'
    return f'{label}<div class="bk-bar" aria-hidden="true">{parts}</div>'


def chapters(
    names: Iterable[str],
    sources: Path,
    run: Path,
    found: dict[str, Row],
    answered: dict[str, str],
) -> str:
    """A card a chapter: number, title, question, answer, verdicts, minutes to read and to run."""
    made = "".join(_card(name, sources, run, found, answered.get(name, "")) for name in names)
    return f'<div class="bk-cards">{made}</div>\n'


def _card(name: str, sources: Path, run: Path, found: dict[str, Row], answer: str) -> str:
    notebook = nbformat.read(sources / f"{name}.ipynb", 4)
    title, question = opening(notebook)
    said = verdicts.in_words(row for row in found.values() if row["chapter"] == name)
    times = minutes(notebook, run / "results" / name)
    link = f'<a href="chapters/{name}.html">{numbers.number(name)}. {html.escape(title)}</a>'
    answered = f"<p>{html.escape(answer)}</p>" if answer else ""
    return (
        f'<div class="bk-card"><p>{link}</p><p><em>{html.escape(question)}</em></p>{answered}'
        f'<p class="bk-small">{html.escape(said)}</p><p class="bk-small">{times}</p></div>'
    )


def opening(notebook: Any) -> tuple[str, str]:
    """A chapter's title and its question, the first two lines that it says."""
    lines = [line.strip() for line in notebook.cells[0].source.splitlines() if line.strip()]
    return lines[0].lstrip("# "), lines[1].strip("*") if len(lines) > 1 else ""


def timed(notebook: Any, results: Path) -> Any:
    """A chapter's notebook with a line under its question: minutes to read and to run."""
    lines = notebook.cells[0].source.splitlines()
    said = f'<p class="bk-small">{minutes(notebook, results)}</p>'
    question = [place for place, line in enumerate(lines) if line.strip()][1:2]
    for place in question:
        lines[place + 1 : place + 1] = ["", said, ""]
    notebook.cells[0].source = "\n".join(lines)
    return notebook


def minutes(notebook: Any, results: Path) -> str:
    """How long a chapter takes: its prose at an unhurried pace, and what this run took."""
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    words = sum(len(re.findall(r"\w+", text)) for text in prose)
    said = f"{max(1, round(words / WORDS_A_MINUTE))} min to read"
    file = results / "provenance.json"
    if not file.is_file():
        return said
    seconds = json.loads(file.read_text())["wall_seconds"]
    return f"{said}, {seconds / 60:.1f} min to run"
