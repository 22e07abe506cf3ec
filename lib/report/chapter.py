"""What a chapter hands over: numbered figures and tables, numbers for the prose, verdicts on
claims, and provenance.

Idea: a chapter makes one `Report`, calls `figure`, `table`, `number` and `claim` as it goes, and
`close` last. Each
call shows something on the page and puts the data behind it under
`runs/<profile>/results/<chapter>/`: one CSV per
figure or table, `claims.json` and `provenance.json`.

Caveat: verdicts reach `claims.json` only when `close` runs. A chapter that died half-way leaves the
old file removed
and no new one, so that nothing partial is ever read.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import torch
import yaml
from IPython.display import HTML, display

from lib import files, profiles
from lib.measures import statistics
from lib.report import charts, claims, provenance

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class Report:
    """Collects and shows the results of one chapter.

    `chapter` is the notebook's name without its suffix (`"01_induction_heads"`); `profile` the
    checked parameters.
    `claims_file` holds the claims and their rules.
    """

    def __init__(
        self, chapter: str, profile: profiles.Profile, claims_file: str | Path | None = None
    ):
        self.chapter, self.profile = chapter, profile
        self.directory = files.runs(profile) / "results" / chapter
        self.models: list[dict[str, str]] = []
        self._claims = claims.load(claims_file or claims.PATH)
        self._verdicts: dict[str, dict[str, Any]] = {}
        self._names: dict[str, list[str]] = {"Figure": [], "Table": []}
        self._started = time.monotonic()
        torch.set_num_threads(profile.threads)  # sums depend on it in their last bits
        if profile.model:
            self.uses(profile.model, profile.revision)
        for stale in [
            self.directory / "claims.json",
            self.directory / "provenance.json",
            *self.directory.glob("*.csv"),
        ]:
            stale.unlink(
                missing_ok=True
            )  # all of it would be published, also what this run no longer makes

    def uses(
        self, model: str, revision: str | None = None, directory: str | Path | None = None
    ) -> None:
        """Note a model in the provenance; with its `directory`, also the fingerprint of its
        weights."""
        entry = {"model": str(provenance.public(model))} | (
            {"revision": revision} if revision else {}
        )
        if directory is not None:
            entry["weights"] = provenance.fingerprint(directory)
        if entry not in self.models:
            self.models.append(entry)

    def expect(self, *claim_ids: str) -> None:
        """Show the claim card: what the paper says and reports, and the rule that will judge it,
        before any number."""
        for claim in map(self._claim, claim_ids):
            title = f"<strong>Claim {claim.id}.</strong> {html.escape(claim.statement)}"
            reported = f"<dl><dt>The paper reports</dt><dd>{html.escape(claim.reported)}</dd></dl>"
            rules = "".join(
                f"<dt>{html.escape(name)}</dt><dd>{html.escape(rule.sentence())}</dd>"
                for name, rule in claim.parts.items()
            )
            fold = f"<details><summary>What will be measured, and the rule that judges it</summary><dl>{rules}</dl></details>"
            display(HTML(f'<section class="bk-verdict"><p>{title}</p>{reported}{fold}</section>'))

    def figure(
        self,
        chart: alt.TopLevelMixin,
        name: str,
        *,
        caption: str,
        description: str,
        data: pd.DataFrame | None = None,
    ) -> None:
        """Show a chart with number, caption, description, CSV and provenance. `data`: the CSV, if
        not the chart's own.

        Errors: ValueError for a name that is not a plain identifier or a chart without data.
        """
        number = self._number("Figure", name)
        frame = charts.table(chart) if data is None else data
        if frame.empty:
            raise ValueError(f"Figure {name!r} has no data frame behind it: pass data=.")
        self._show(
            "Figure",
            number,
            name,
            charts.html(chart, name, description),
            frame,
            caption,
            description,
        )

    def table(self, frame: pd.DataFrame, name: str, *, caption: str, description: str) -> None:
        """Show a frame as a table that scrolls inside the page, with what `figure` gives. Floats to
        three digits."""
        number = self._number("Table", name)
        body = frame.to_html(
            index=False, border=0, float_format=short, na_rep="–", classes="bk-table table"
        )
        self._show(
            "Table",
            number,
            name,
            f'<div class="bk-scroll" tabindex="0">{body}</div>',
            frame,
            caption,
            description,
        )

    def number(self, **numbers: Any) -> None:
        """Make values available to the prose as {glue:text}`name`; floats come with three digits.
        Shows nothing."""
        for name, value in numbers.items():
            real = isinstance(value, Real) and not isinstance(value, Integral)
            text = short(value) if real else str(value)
            bundle = {"text/plain": text, "text/html": html.escape(text)}
            metadata = {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}}
            hidden = {
                f"application/papermill.record/{kind}": content for kind, content in bundle.items()
            }
            display(hidden, raw=True, metadata=metadata)

    def claim(
        self, claim_id: str, estimates: Sequence[statistics.Estimate], note: str | None = None
    ) -> str:
        """Judge a claim by its rule in `claims.yml`, record and show the verdict, and return it in
        words.

        Errors: ValueError for an id that `claims.yml` does not have, or estimates that do not fit
        its parts.
        """
        return self._record(claims.judge(self._claim(claim_id), list(estimates)), note)

    def not_testable(self, claim_id: str, why: str) -> str:
        """Record and show that this profile cannot answer a claim, and why."""
        return self._record(claims.not_testable(self._claim(claim_id), why), why)

    def close(self) -> None:
        """Write `claims.json` and `provenance.json` whole, and show where the chapter's numbers
        come from."""
        record = self._provenance() | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
        files.write_json(self.directory / "claims.json", list(self._verdicts.values()))
        files.write_json(self.directory / "provenance.json", record)
        display(HTML(_fold("Provenance of this chapter", _definitions(record), "bk-provenance")))

    # --- inside
    # -----------------------------------------------------------------------------------------------------

    def _number(self, kind: str, name: str) -> str:
        """`1.2` for the second figure of chapter 1; running a cell again keeps the number."""
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{kind} name {name!r}: use small letters, digits, '-' and '_', for it names a file."
            )
        if name in self._names["Table" if kind == "Figure" else "Figure"]:
            raise ValueError(
                f"{name!r} names both a figure and a table, which would share one CSV: rename one."
            )
        if name not in self._names[kind]:
            self._names[kind].append(name)
        # type: ignore[union-attr]  # always matches
        chapter = re.match(r"\d*", self.chapter).group().lstrip("0")
        return ".".join(filter(None, [chapter, str(self._names[kind].index(name) + 1)]))

    def _show(
        self,
        kind: str,
        number: str,
        name: str,
        body: str,
        frame: pd.DataFrame,
        caption: str,
        description: str,
    ) -> None:
        """One figure element; the link to the CSV works beside the executed notebook and on the
        site alike."""
        files.write_whole(self.directory / f"{name}.csv", frame.to_csv(index=False))
        parts = [
            f'<figure class="bk-figure" id="{kind.lower()}-{name}">{body}',
            f"<figcaption><strong>{kind} {number}.</strong> {html.escape(caption)}</figcaption>",
            '<div class="bk-folds">',
            _fold("Description", f"<p>{html.escape(description)}</p>"),
            _fold("Provenance", _definitions(self._provenance())),
            f'<a class="bk-csv" href="../results/{self.chapter}/{name}.csv" download>Data (CSV)</a></div></figure>',
        ]
        display(HTML("".join(parts)))

    def _claim(self, claim_id: str) -> claims.Claim:
        if claim_id not in self._claims:
            raise ValueError(
                f"No claim {claim_id!r} in book/claims.yml. It has: {', '.join(self._claims)}."
            )
        return self._claims[claim_id]

    def _record(self, row: dict[str, Any], note: str | None) -> str:
        """Keep the verdict for `close` and show it as a card."""
        self._verdicts[row["id"]] = row
        display(HTML(card(row, note)))
        return str(row["verdict"])

    def _provenance(self) -> dict[str, Any]:
        """What it takes to repeat the run, as of now. Holds no environment variable and no absolute
        path."""
        values = provenance.parameters(self.profile)
        return {
            "models": self.models,
            "parameters": values,
            "seeds": values.get("seeds", [self.profile.seed]),
            "versions": provenance.versions(),
            "commit": provenance.git_commit(),
            "wall_seconds": round(time.monotonic() - self._started, 1),
            "repeat": provenance.papermill_line(self.chapter, self.profile),
        }


def card(row: dict[str, Any], note: str | None = None) -> str:
    """Markup of one verdict: the claim, the paper's value, ours, the rule, and the verdict in words
    and colour."""
    facts = [("The paper reports", row["reported"])]
    parts = row.get("parts") or {}
    for name, part in parts.items():
        aside = f" ({name}: {part['verdict']})" if len(parts) > 1 else ""
        facts += [(f"Rule, set beforehand{aside}", part["rule"]), ("Measured here", measured(part))]
    if not parts:
        facts.append(("Rule, set beforehand", row["rule"]))
    items = "".join(
        f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in facts
    )
    reason = f'<p class="bk-note">{html.escape(note)}</p>' if note else ""
    return (
        f'<section class="bk-verdict bk-{row["verdict"].replace(" ", "-")}" id="claim-{row["id"]}">'
        f'<p><span class="bk-badge">{row["verdict"]}</span> <strong>Claim {row["id"]}.</strong> '
        f"{html.escape(row['statement'])}</p><dl>{items}</dl>{reason}</section>"
    )


def measured(row: dict[str, Any]) -> str:
    """The measured value with its interval and sample, in words; a dash when nothing was
    measured."""
    if row["measured"] is None:
        return "–"
    text = short(row["measured"])
    if row["interval"]:
        text += " [" + ", ".join(map(short, row["interval"])) + "]"
    if row["n"]:
        text += f", n = {row['n']}"
    seeds = [str(seed) for seed in row["seeds"] if seed is not None]
    return text + (f", seeds {', '.join(seeds)}" if seeds else "")


def short(value: Any) -> str:
    """Three digits, and all of them before the point; what is only rounding of a zero is zero."""
    if abs(value) < 1e-6:
        return "0"
    return f"{value:,.0f}" if 999.5 <= abs(value) < 1e15 else f"{value:.3g}"


def _fold(title: str, body: str, style: str = "bk-fold") -> str:
    return f'<details class="{style}"><summary>{title}</summary>{body}</details>'


def _definitions(record: dict[str, Any]) -> str:
    """A record as a list of terms; nested values as one line of YAML, the repeating line as
    code."""
    items = []
    for key, value in record.items():
        if not isinstance(value, str | int | float | None):
            value = yaml.safe_dump(
                value, default_flow_style=True, sort_keys=False, width=10_000
            ).strip()
        shown = (
            f"<code>{html.escape(str(value))}</code>"
            if key == "repeat"
            else html.escape(str(value))
        )
        items.append(f"<dt>{key.replace('_', ' ')}</dt><dd>{shown}</dd>")
    return f"<dl>{''.join(items)}</dl>"
