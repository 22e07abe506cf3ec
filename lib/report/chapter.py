"""What a chapter hands over: numbered figures and tables, numbers for the prose, verdicts on
claims, and provenance.

Idea: a chapter makes one `Report`, calls `figure`, `table`, `number` and `claim` as it goes, and
`close` last. Each call shows something on the page and puts the data behind it under
`runs/<profile>/results/<chapter>/`: one CSV per figure or table, `columns.csv` with the meaning and
unit of their columns, `claims.json` and `provenance.json`.

Caveat: verdicts reach `claims.json` only when `close` runs. A chapter that died half-way leaves the
old file removed and no new one, so that nothing partial is ever read.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import torch
import yaml
from IPython.display import HTML, display

from lib import files, profiles
from lib.measures.statistics import Estimate, Rate
from lib.report import captions, cards, claims, columns, machine, markup, provenance, strips
from lib.report.cards import in_digits, short

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
        self._captions = captions.load(chapter)
        self._verdicts: dict[str, dict[str, Any]] = {}
        self._of_model: dict[str, dict[str, Any]] = {}
        self._names: dict[str, list[str]] = {"Figure": [], "Table": []}
        self._columns: dict[str, pd.DataFrame] = {}
        self._started = time.monotonic()
        self._began = datetime.now(UTC).isoformat(timespec="seconds")
        torch.set_num_threads(profile.threads)  # sums depend on it in their last bits
        for stale in [
            *(self.directory / f"{kind}.json" for kind in ("claims", "of_model", "provenance")),
            *self.directory.glob("*.csv"),
        ]:
            stale.unlink(
                missing_ok=True
            )  # all of it would be published, also what this run no longer makes

    def uses(
        self, model: str, revision: str | None = None, directory: str | Path | None = None
    ) -> None:
        """Note a model in the provenance; with its `directory`, also the fingerprint of its
        weights. That of the profile is noted anyway."""
        entry = {"model": str(provenance.public(model))} | (
            {"revision": revision} if revision else {}
        )
        if directory is not None:
            entry["weights"] = provenance.fingerprint(directory)
        if entry not in self.models and model != self.profile.model:
            self.models.append(entry)

    def expect(self, *claim_ids: str) -> None:
        """Show the claims, folded, before any number: what is claimed, and the rule that will judge
        it."""
        rows = "".join(cards.expectation(self._claim(claim_id)) for claim_id in claim_ids)
        lead = "The claims that this chapter judges. Open one to read its rule before any number."
        key = f"Each verdict below comes with a strip for each part. {strips.KEY}"
        said = f'<p class="bk-key">{lead}</p>{rows}<p class="bk-key">{key}</p>'
        display(HTML(f'<div class="bk-claims">{said}</div>'))

    def figure(
        self,
        chart: alt.TopLevelMixin,
        name: str,
        data: pd.DataFrame | None = None,
        *,
        folded: bool = False,
        **fills: Any,
    ) -> None:
        """Show a chart with number, caption, description, CSV and provenance. `data`: the CSV, if
        not the chart's own. `folded`: a check that the text sums up, opened on demand.

        Caption and description stand under `name` in `book/captions/<chapter>.yml`; `fills` are the
        numbers in them.
        Errors: ValueError for a name that is no plain identifier or has no caption, a number that
        is missing there or here, a chart without data.
        """
        number = self._number("Figure", name)
        frame = markup.table(chart) if data is None else data
        if frame.empty:
            raise ValueError(f"Figure {name!r} has no data frame behind it: pass data=.")
        caption, description = self._told(name, fills)
        body = markup.html(chart, name, description)
        body = _fold("Show the figure", body) if folded else body
        self._show("Figure", number, name, body, frame, caption, description)

    def table(self, frame: pd.DataFrame, name: str, *, folded: bool = False, **fills: Any) -> None:
        """Show a frame as a table that scrolls inside the page, with what `figure` gives. Floats to
        three digits, columns by their titles. `folded`: what a figure shows as well, opened on
        demand."""
        number = self._number("Table", name)
        caption, description = self._told(name, fills)
        style = {"border": 0, "na_rep": "–", "classes": "bk-table table"}
        plain = frame.rename_axis(columns=None)  # its name would be a column of blanks
        titled = plain.rename(columns=lambda column: columns.title(str(column)) or column)
        body = titled.to_html(index=False, float_format=short, **style)
        scrolling = f'<div class="bk-scroll" tabindex="0">{body}</div>'
        scrolling = _fold("Show the table", scrolling) if folded else scrolling
        self._show("Table", number, name, scrolling, frame, caption, description)

    def number(self, **numbers: Any) -> None:
        """Make values available to the prose as {glue:text}`name`; floats come with three digits.
        Shows nothing."""
        for name, value in numbers.items():
            text = in_digits(value)
            # A string's literal: the site evaluates it, and would make a pair of "10,144".
            bundle = {"text/plain": repr(text), "text/html": html.escape(text)}
            metadata = {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}}
            hidden = {
                f"application/papermill.record/{kind}": content for kind, content in bundle.items()
            }
            display(hidden, raw=True, metadata=metadata)

    def claim(
        self,
        claim_id: str,
        estimates: Sequence[Estimate],
        *,
        rates: Sequence[Rate] = (),
        former: Sequence[Estimate] = (),
        note: str | None = None,
    ) -> None:
        """Judge a claim by its rule in `book/claims/`, record and show the verdict; the prose has
        its word as {glue:text}`said_O9`.

        estimates: of each part on its subject and on each of its nulls; `claims.judge` says what
        the rest is.
        Errors: ValueError for an id that the claims do not have, or estimates that do not fit its
        parts and nulls.
        """
        row = claims.judge(self._claim(claim_id), list(estimates), list(rates), list(former))
        self._record(row, note)

    def not_testable(self, claim_id: str, why: str) -> None:
        """Record and show that this profile cannot answer a claim, and why."""
        self._record(claims.not_testable(self._claim(claim_id), why), why)

    def claim_of_model(self, claim_id: str, estimates: Sequence[Estimate]) -> None:
        """Judge a claim on the reader's model by the same rules, record and show it. One model is
        one seed, so that a verdict of it says nothing of another training.

        estimates: of each part and null that stand under the claim's `any_model`.
        Errors: as `claim`.
        """
        asked = self._claim(claim_id).of_any_model()
        row = claims.judge(asked, list(estimates), seeds_needed=1)
        row["model"] = str(provenance.public(self.profile.model))
        self._of_model[claim_id] = row
        display(HTML(cards.card(row)))

    def close(self) -> None:
        """Write `claims.json`, for a reader's model `of_model.json`, and `provenance.json` whole,
        and show where the chapter's numbers come from."""
        ended = {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
        record = self._provenance() | machine.taken() | ended
        if self._columns:
            known = pd.concat(self._columns, names=["file"]).droplevel(1).reset_index()
            files.write_whole(self.directory / "columns.csv", known.to_csv(index=False))
        files.write_json(self.directory / "claims.json", list(self._verdicts.values()))
        if self.profile.model:
            files.write_json(self.directory / "of_model.json", list(self._of_model.values()))
        files.write_json(self.directory / "provenance.json", record)
        display(HTML(_fold("Provenance of this chapter", _definitions(record), "bk-provenance")))

    # --- inside ---

    def _number(self, kind: str, name: str) -> str:
        """`1.2` for the second figure of chapter 1; running a cell again keeps the number."""
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{kind} name {name!r}: use small letters, digits, '-' and '_': it names a file."
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
        self._columns[f"{name}.csv"] = columns.dictionary(frame)
        parts = [
            f'<figure class="bk-figure" id="{kind.lower()}-{name}">{body}',
            f"<figcaption><strong>{kind} {number}.</strong> {html.escape(caption)}</figcaption>",
            '<div class="bk-folds">',
            _fold("Description", f"<p>{html.escape(description)}</p>{columns.listed(frame)}"),
            _fold("Provenance", _definitions(self._provenance())),
            f'<a class="bk-csv" href="../results/{self.chapter}/{name}.csv" download>',
            "Data (CSV)</a></div></figure>",
        ]
        display(HTML("".join(parts)))

    def _told(self, name: str, fills: dict[str, Any]) -> tuple[str, str]:
        """Caption and description of a figure or table, with this run's numbers in their places."""
        if name not in self._captions:
            raise ValueError(
                f"{name!r} has no caption: add it to book/captions/{self.chapter}.yml."
            )
        words = {key: in_digits(value) for key, value in fills.items()}
        return captions.told(self._captions[name], name, words)

    def _claim(self, claim_id: str) -> claims.Claim:
        if claim_id not in self._claims:
            raise ValueError(
                f"No claim {claim_id!r} in book/claims/. It has: {', '.join(self._claims)}."
            )
        return self._claims[claim_id]

    def _record(self, row: dict[str, Any], note: str | None) -> None:
        """Keep the verdict for `close`, show it as a card, and hand its word to the prose."""
        self._verdicts[row["id"]] = row
        display(HTML(cards.card(row, note)))
        self.number(**{f"said_{row['id']}": cards.verdict(row["verdict"], row["own"])})

    def _provenance(self) -> dict[str, Any]:
        """What it takes to repeat the run, as of now. Holds no environment variable and no absolute
        path."""
        values, given = provenance.parameters(self.profile), self.profile
        yours = [provenance.of_model(given.model, given.revision)] if given.model else []
        asked = files.asked(files.far(given)) if given.remote else []
        far = provenance.remote([one for one in asked if one["when"] >= self._began])
        return {
            "models": yours + self.models,
            **({"remote": far} if far else {}),
            "parameters": values,
            "seeds": values.get("seeds", [self.profile.seed]),
            "versions": provenance.versions(),
            "commit": provenance.git_commit(),
            "wall_seconds": round(time.monotonic() - self._started, 1),
            "repeat": provenance.papermill_line(self.chapter, self.profile),
        }


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
