"""The scoreboard over models: a row a claim, a column a finished profile, in each cell verdict,
number and null.

A column is read from what a profile's chapters left, so whoever finishes another profile in the
same folder of runs has one more at the next build, and no chapter runs again for it.
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.profiles import STORE
from lib.report import cards, claims
from pipeline import verdicts
from pipeline.markup import table
from pipeline.verdicts import Row

TRIAL = 0.5  # a profile that trains for less than this share says nothing of trained models


@dataclass(frozen=True)
class Column:
    """A finished profile: its verdicts on the book's own models and on the model that it names."""

    profile: str
    model: str
    revision: str
    seeds: list[int]
    own: dict[str, Row]
    asked: dict[str, Row]

    def cell(self, claim_id: str) -> list[tuple[str, Row | None]]:
        """What stands in a cell: on whose models, and the verdict (None: it was not asked)."""
        own, asked = self.own.get(claim_id), self.asked.get(claim_id)
        return [*([(self.model, asked)] if asked else []), ("the book's own models", own)]


def columns(runs: Path, chapters: Sequence[str], first: str) -> list[Column]:
    """Every profile in the folder of runs whose chapters are all there, the site's own, `first`,
    before the others; trials on models that were hardly trained are left out, unless they are the
    site's own."""
    found = []
    for folder in sorted(runs.glob("*/results"), key=lambda path: path.parent.name):
        name = folder.parent.name
        if name != STORE and all(
            (folder / each / "provenance.json").is_file() for each in chapters
        ):
            records = [json.loads((folder / c / "provenance.json").read_text()) for c in chapters]
            given = [record["parameters"] for record in records]
            scale = max(values.get("training_scale", 1) for values in given)
            if name == first or scale >= TRIAL:
                found.append(_column(name, folder, chapters, given))
    return sorted(found, key=lambda column: column.profile != first)


def _column(
    name: str, folder: Path, chapters: Sequence[str], given: list[dict[str, Any]]
) -> Column:
    """`given`: the parameters of each chapter; those that cannot ask a model have none of it."""
    asked = [row for chapter in chapters for row in _rows(folder / chapter / "of_model.json")]
    told = next((values for values in given if values.get("model")), {})
    return Column(
        name,
        told.get("model", ""),
        told.get("revision") or "",
        next((values["seeds"] for values in given if "seeds" in values), []),
        verdicts.collected(folder, list(chapters)),
        {row["id"]: row for row in asked},
    )


def _rows(file: Path) -> list[Row]:
    return json.loads(file.read_text()) if file.is_file() else []


# --- the page ---


def page(every: dict[str, claims.Claim], found: Sequence[Column]) -> str:
    """The page: counts of each column, the claims that any model can be asked, and all others."""
    lines = ["# Models side by side", "", INTRO, "", _counts(found)]
    any_model = [claim for claim in every.values() if claim.any_model]
    lines += ["## Asked of any model", "", ANY_MODEL, ""]
    lines += [_table(any_model, found)] if any_model else ["No claim can be asked of any model."]
    lines += ["## Asked of the book's own models", "", OWN, ""]
    rest = [claim for claim in every.values() if not claim.any_model]
    for name, some in verdicts.groups(rest, lambda claim: (claim.paper, claim.own)):
        lines += [f"### {name}", "", _table(some, found)]
    return "\n".join(lines)


def _counts(found: Sequence[Column]) -> str:
    """A row a profile: what it examined, and how many claims came to which verdict."""
    head = ("Profile", "Model", "Verdicts on it", "Verdicts on the book's own models", "Seeds")
    rows = []
    for column in found:
        revision = (
            f"<br><code>{html.escape(column.revision[:12])}</code>" if column.revision else ""
        )
        model = html.escape(column.model) + revision if column.model else "the book's own only"
        asked = verdicts.in_words(column.asked.values()) or "–"
        seeds = ", ".join(map(str, column.seeds))
        rows.append([column.profile, model, asked, verdicts.in_words(column.own.values()), seeds])
    return table(head, rows, "bk-profiles")


def _table(some: Iterable[claims.Claim], found: Sequence[Column]) -> str:
    heads = [_head(column) for column in found]
    rows = [[_claim(claim), *(_cell(column, claim.id) for column in found)] for claim in some]
    return table(("Claim", *heads), rows, "bk-scoreboard")


def _head(column: Column) -> str:
    model = html.escape(column.model) if column.model else "the book's own models"
    return f'{column.profile}<br><span class="bk-small">{model}</span>'


def _claim(claim: claims.Claim) -> str:
    link = f'<a href="claims.html#rule-{claim.id}">{claim.id}</a>'
    return f'{link} <span class="bk-small">{html.escape(claim.statement)}</span>'


def _cell(column: Column, claim_id: str) -> str:
    return "".join(
        _verdict(row, subject if column.model else "") for subject, row in column.cell(claim_id)
    )


def _verdict(row: Row | None, named: str) -> str:
    """Verdict, number and null of one subject; with its name where a cell holds two."""
    subject = f'<span class="bk-small">{html.escape(named)}</span><br>' if named else ""
    if row is None:
        return f"<p>{subject}–</p>"
    part = verdicts.lead(row)
    if part is None:
        return f"<p>{subject}{verdicts.badge(row)}</p>"
    number = html.escape(cards.value(part))
    nulls = [f"{null['name']}: {cards.number(null)}" for null in part["nulls"]] or ["no null"]
    null = f'<span class="bk-small">{html.escape("; ".join(nulls))}</span>'
    return f"<p>{subject}{verdicts.badge(row)}<br>{number}<br>{null}</p>"


def data(found: Sequence[Column]) -> str:
    """The same as CSV: a line for each claim, profile and subject."""
    head = "claim profile model verdict part measured low high null null_measured"
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head.split())
    for column in found:
        for model, rows in (("", column.own), (column.model, column.asked)):
            for row in rows.values():
                writer.writerows(_lines(column.profile, model, row))
    return out.getvalue()


def _lines(profile: str, model: str, row: Row) -> list[list[Any]]:
    """A claim's lines: of the part that stands for it, one a null."""
    said = [row["id"], profile, model, row["verdict"]]
    part = verdicts.lead(row)
    if part is None:
        return [[*said, "", "", "", "", "", ""]]
    name = next(n for n in row["parts"] if row["parts"][n] is part)
    low, high = part["interval"] or ("", "")
    nulls = part["nulls"] or [{"name": "", "measured": ""}]
    each = [[null["name"], null["measured"]] for null in nulls]
    return [[*said, name, part["measured"], low, high, *null] for null in each]


INTRO = """\
Each profile that was built in this folder is a column, this site's first; `make book PROFILE=name`
adds one, and the next build of this site shows it.
A cell has the verdict, what was measured with its 95 % interval, and below it what the same code
measures where there is nothing to find.
Of a claim with several parts it is the first of its core that could be measured; which one that is,
and in which unit, stands under the claim's link.
Profiles that train the book's own models for less than half as long as they need are left out.

<a class="bk-csv" href="results/models.csv" download>All cells as CSV</a>"""
ANY_MODEL = """\
These claims are about quantities that every model has. They are judged, by the same rules, on the
model that a profile names, with nulls that need no second training.
One model is one seed: what holds in it need not hold in the next training of the same kind."""
OWN = """\
These need what a finished model cannot give: other training seeds, the model before its training,
data whose truth is known, or another architecture.
So they are judged on the book's own models, and columns differ only where profiles give other
seeds, other samples or a longer training."""
