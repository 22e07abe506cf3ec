"""Pages that are made from data: the scoreboard, the parameters, the claims and their rules, the
benchmarks."""

from __future__ import annotations

import html
import json
import types
import typing
from collections import Counter
from pathlib import Path
from typing import Any

from lib import profiles
from lib.report import cards, claims

ORDER = [claims.REPRODUCED, claims.PARTLY, claims.NOT, claims.UNTESTABLE]
PAPERS = {
    "olsson2022": "Olsson et al. 2022",
    "ren2024": "Ren et al. 2024",
    "singh2024": "Singh et al. 2024",
}


def verdicts(results: Path, chapters: list[str]) -> dict[str, dict[str, Any]]:
    """Every recorded verdict by claim id, with the chapter that gave it."""
    found: dict[str, dict[str, Any]] = {}
    for name in chapters:
        for row in json.loads((results / name / "claims.json").read_text()):
            if row["id"] in found:
                raise ValueError(
                    f"Claim {row['id']} is judged in {found[row['id']]['chapter']} and in {name}."
                )
            found[row["id"]] = row | {"chapter": name}
    return found


def scoreboard(found: dict[str, dict[str, Any]]) -> str:
    """The table of claims with the paper's value, ours and the verdict, and a line that counts
    them."""
    if not found:
        return "No claim has been judged in this run yet.\n"
    counts = Counter(row["verdict"] for row in found.values())
    line = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ORDER)
    rows = [_row(row) for row in found.values()]
    head = (
        "Claim",
        "Verdict",
        "What the paper says",
        "The paper reports",
        "Measured here",
    )  # a phone shows the first two
    return f"Of {len(found)} claims judged in this run: {line}.\n\n" + _table(
        head, rows, "bk-scoreboard"
    )


def parameters(profile: profiles.Profile) -> str:
    """A page with every parameter: type, bounds, default, this run's value, and what it is for."""
    lines = [
        "# Parameters",
        "",
        "These parameters stand in `params/*.yaml`; "
        f"this site was made with `params/{profile.profile}.yaml`.",
        "A chapter declares those that it uses, and papermill sets them with `-f` and `-p`.",
        "",
    ]
    for group in profiles.GROUPS:
        lines += [f"## {group.__name__}", "", group.__doc__ or "", ""]
        rows = [
            _parameter(name, field, getattr(profile, name))
            for name, field in group.model_fields.items()
        ]
        lines += [
            _table(("Parameter", "Type", "Default", "This site", "Meaning"), rows, "bk-parameters"),
            "",
        ]
    return "\n".join(lines)


def rules(all_claims: dict[str, claims.Claim], found: dict[str, dict[str, Any]]) -> str:
    """A page with every claim, its rule as written before the run, and its verdict in this run."""
    lines = ["# Claims and rules", "", RULES_INTRO, ""]
    for paper, name in PAPERS.items():
        rows = [claim for claim in all_claims.values() if claim.paper == paper]
        if rows:
            lines += [f"## {name}", "", *(_claim(claim, found.get(claim.id)) for claim in rows)]
    return "\n".join(lines)


def benchmarks(file: Path) -> str:
    """A page with the last `make bench`, or how to make one."""
    lines = ["# Benchmarks", "", BENCHMARKS_INTRO, ""]
    if not file.is_file():
        return "\n".join([*lines, "No benchmark has been run before this site was built."])
    record = json.loads(file.read_text())
    lines += [
        f"**{html.escape(str(key))}**: {html.escape(str(value))}\n"
        for key, value in record.get("setting", {}).items()
    ]
    rows = record.get("rows", [])
    head = tuple(rows[0]) if rows else ()
    cells = [
        [html.escape(cards.short(v) if isinstance(v, float) else str(v)) for v in row.values()]
        for row in rows
    ]
    return "\n".join([*lines, _table(head, cells, "bk-benchmarks")])


RULES_INTRO = """\
Each claim has a rule that was written before the run: what is measured, and on which side of which
tolerance the claim puts it.
A claim is *reproduced* when the 95 % interval lies on the claimed side in the share of seeds that
the rule names.
It is *partly* reproduced when the direction is the claimed one but some interval crosses the
tolerance, or when some parts hold and others do not.
It is *not reproduced* when every interval lies on the other side, or when the mean points against
the claim.
It is *not testable here* when the run cannot answer, and the chapter says why.
Where the run can answer some parts only, the claim is judged over these, and is at most *partly*
reproduced."""

BENCHMARKS_INTRO = """\
`make bench` measures the detection of all heads and the relation index against plain forward
passes, and writes this page's numbers.
Only ratios within one run mean something: the times themselves belong to the machine."""


def _row(row: dict[str, Any]) -> list[str]:
    link = f'<a href="chapters/{row["chapter"]}.html#claim-{row["id"]}">{row["id"]}</a>'
    return [
        link,
        badge(row["verdict"]),
        html.escape(row["statement"]),
        html.escape(row["reported"]),
        _ours(row),
    ]


def _ours(row: dict[str, Any]) -> str:
    """What was measured; of a claim with several parts each part, for a verdict may hang on the
    least of them."""
    if row["verdict"] == claims.UNTESTABLE and row.get("why"):
        return html.escape(row["why"])
    parts = row.get("parts") or {}
    if len(parts) < 2:
        return html.escape(cards.measured(row))
    short = {name: cards.measured(part).split(", n =")[0] for name, part in parts.items()}
    return "<br>".join(
        f"{html.escape(f'{name}: {short[name]}')} <em>{part['verdict']}</em>"
        for name, part in parts.items()
    )


def badge(verdict: str) -> str:
    """The verdict in words, coloured."""
    style = f"bk-{verdict.replace(' ', '-')}"
    return f'<span class="{style}"><span class="bk-badge">{verdict}</span></span>'


def _parameter(name: str, field: Any, value: Any) -> list[str]:
    default = json.dumps(field.default, ensure_ascii=False)
    own = json.dumps(value, ensure_ascii=False)
    kind = html.escape(" ".join(filter(None, [_type(field.annotation), _bounds(field.metadata)])))
    meaning = html.escape(field.description or "").replace("`", "")
    return [
        f"<code>{name}</code>",
        kind,
        f"<code>{html.escape(default)}</code>",
        f"<code>{html.escape(own)}</code>",
        meaning,
    ]


def _type(annotation: Any) -> str:
    """A type in words that a writer of YAML understands."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return " ".join(filter(None, [_type(inside[0]), _bounds(inside[1:])]))
    if origin is list:
        return f"list of {_type(inside[0])}"
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, inside))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("nothing" if part is type(None) else _type(part) for part in inside)
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        annotation.__name__, annotation.__name__
    )


def _bounds(metadata: Any) -> str:
    """Bounds such as `>= 0, < 5`; those of an `Annotated[…, Field(…)]` sit one level deeper."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    flat = [inner for bound in metadata for inner in getattr(bound, "metadata", [bound])]
    found = ((sign, getattr(bound, key, None)) for bound in flat for key, sign in signs.items())
    return ", ".join(f"{sign} {value}" for sign, value in found if value is not None)


def _claim(claim: claims.Claim, verdict: dict[str, Any] | None) -> str:
    said = badge(verdict["verdict"]) if verdict else "not judged in this run"
    rows = [
        [
            html.escape(text)
            for text in (
                part.measure,
                f"{part.side} {part.tolerance:g} {part.unit}",
                f"{part.share:.0%}",
                part.reason,
            )
        ]
        for part in claim.parts.values()
    ]
    facts = (
        f"<p>{html.escape(claim.statement)}<br>The paper reports: {html.escape(claim.reported)}</p>"
    )
    table = _table(("Measured", "Claimed side", "Seeds", "Why this tolerance"), rows, "bk-rules")
    return f"### {claim.id}\n\n{facts}\n<p>Verdict: {said}.</p>\n\n{table}\n"


def _table(head: tuple[str, ...], rows: list[list[str]], style: str) -> str:
    """An HTML table that scrolls inside the page; cells are markup. On one line, for MyST ends HTML
    at a blank one."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="bk-scroll" tabindex="0"><table class="table bk-table {style}">'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>\n"
    )
