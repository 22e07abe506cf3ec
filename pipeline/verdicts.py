"""The page of claims: their verdicts, their rules, and what the rules say on nulls.

Beside every verdict stands what the same rule says where there is nothing to find: every part,
every null, the rates, and the past of rules that were changed after a result.
"""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib.report import cards, claims
from pipeline import numbers
from pipeline.markup import table

Row = dict[str, Any]
ORDER = [claims.REPRODUCED, claims.PARTLY, claims.NOT, claims.UNDECIDED, claims.UNTESTABLE]
PAPERS = {
    "olsson2022": "Olsson et al. 2022",
    "ren2024": "Ren et al. 2024",
    "singh2024": "Singh et al. 2024",
    "yin2025": "Yin & Steinhardt 2025",
    "crosbie2025": "Crosbie & Shutova 2025",
    "beetle2025": "Salhan 2025 (code)",
}
OWN = "Questions of ours"


def collected(results: Path, chapters: list[str]) -> dict[str, Row]:
    """Every recorded verdict by claim id, with its chapter and the claims that contest it. Error:
    ValueError for a claim that two chapters judge."""
    found: dict[str, Row] = {}
    for name in chapters:
        for row in json.loads((results / name / "claims.json").read_text()):
            if row["id"] in found:
                raise ValueError(
                    f"Claim {row['id']} is judged in {found[row['id']]['chapter']} and in {name}."
                )
            found[row["id"]] = row | {"chapter": name}
    for row in found.values():
        against = [o["id"] for o in found.values() if row["id"] in o.get("contests", ())]
        row["contested_by"] = against
    return found


def _counts(found: Iterable[Row]) -> str:
    """How many claims of each paper came to which verdict; questions of ours apart."""
    lines = []
    for name, rows in groups(found):
        kind = "" if name == OWN else f" {'claim' if len(rows) == 1 else 'claims'}"
        lines.append(f"{len(rows)}{kind} judged in this run; {in_words(rows)}.")
    return "\n".join(lines) + "\n"


def counted(rows: Iterable[Row]) -> dict[str, int]:
    """How many rows came to each verdict, the best first; none that nothing came to."""
    count = Counter(row["verdict"] for row in rows)
    return {verdict: count[verdict] for verdict in ORDER if count[verdict]}


def in_words(rows: Iterable[Row]) -> str:
    """The same, such as `2 reproduced, 1 undecided`; questions of ours apart, in words of their
    own."""
    rows = list(rows)
    ours = [row for row in rows if row["own"]]
    theirs = [row for row in rows if not row["own"]]
    said = [", ".join(f"{n} {verdict}" for verdict, n in counted(theirs).items())] if theirs else []
    if ours:
        asked = ", ".join(_held(verdict, n) for verdict, n in counted(ours).items())
        said.append(f"questions of ours: {asked}" if theirs else asked)
    return "; ".join(said)


def _held(verdict: str, count: int) -> str:
    word = cards.verdict(verdict, own=True)
    many = {"holds": "hold", "does not hold": "do not hold"}
    return f"{count} {many.get(word, word) if count > 1 else word}"


def groups(
    rows: Iterable[Any], of=lambda row: (row["paper"], row["own"])
) -> list[tuple[str, list]]:
    """Claims by paper, and questions of ours last; groups without any are left out. `of` gives
    (paper, own)."""
    by_name: dict[str, list] = {name: [] for name in (*PAPERS.values(), OWN)}
    for row in rows:
        paper, own = of(row)
        by_name[OWN if own else PAPERS[paper]].append(row)
    return [(name, some) for name, some in by_name.items() if some]


def source(row: Row) -> str:
    """Whose a claim is: a paper's, or a question of ours."""
    return "A question of ours" if row["own"] else html.escape(PAPERS[row["paper"]])


def lead(row: Row) -> Row | None:
    """The part of the core that stands for the claim; none where nothing was measured."""
    parts = row["parts"]
    core = [parts[name] for name in row["core"] if name in parts]
    return next((p for p in core if p["verdict"] != claims.UNTESTABLE), core[0] if core else None)


def _said(null: Row, own: bool) -> str:
    return f"{cards.verdict(null['verdict'], own)} ({cards.number(null)})"


def badge(row: Row) -> str:
    """The verdict in words, coloured; of one that holds partly, how much of it."""
    style = f"bk-{row['verdict'].replace(' ', '-')}"
    return f'<span class="{style}"><span class="bk-badge">{cards.in_words(row)}</span></span>'


def chip(row: Row, page: str = "") -> str:
    """A mark for a claim of which some rule was changed after a result had been seen, with a link
    to its past on `page`."""
    link = f' <a class="bk-chip" href="{page}#rule-{row["id"]}">{cards.REVISED}</a>'
    return link if cards.revised(row) else ""


def contest(row: Row) -> str:
    """Which claims a claim contests, and which contest it."""
    said = [("contests", row.get("contests", ())), ("contested by", row.get("contested_by", ()))]
    link = '<a href="claims.html#rule-{0}">{0}</a>'.format
    named = [f"{how} {', '.join(map(link, ids))}" for how, ids in said if ids]
    return f" <em>({'; '.join(named)})</em>" if named else ""


# --- the page of claims ---


def rules(every: dict[str, claims.Claim], found: dict[str, Row]) -> str:
    """A page with every claim: an overview per paper, then its parts, nulls, rates and past."""
    lines = ["# Claims and rules", "", RULES_INTRO, ""]
    for name, some in groups(every.values(), lambda claim: (claim.paper, claim.own)):
        judged = [found[claim.id] for claim in some if claim.id in found]
        lines += [f"## {name}", ""]
        lines += [_counts(judged), _overview(judged)] if judged else []
        lines += ["Each claim with its parts, rules and nulls:\n"]
        lines += ["".join(_claim(claim, found.get(claim.id)) for claim in some)]
    return "\n".join(lines)


def _overview(rows: list[Row]) -> str:
    head = ("Claim", "Verdict", "Statement", "Measured here", "The same rule on a null", "Chapter")
    return table(head, [_full_row(row) for row in rows], "bk-overview")


def _full_row(row: Row) -> list[str]:
    part, chapter = lead(row), numbers.number(row["chapter"])
    return [
        f'<a href="#rule-{row["id"]}">{row["id"]}</a>',
        badge(row) + chip(row),
        html.escape(row["statement"]) + contest(row) + _why(row),
        _measured(part) if part else "–",
        _nulls(part, row["own"]) if part else "–",
        f'<a href="chapters/{row["chapter"]}.html#claim-{row["id"]}">{chapter}</a>',
    ]


def _why(row: Row) -> str:
    """Why a claim could not be judged, on a line of its own."""
    why = row.get("why")
    return f'<br><span class="bk-small">{_coded(why)}</span>' if why else ""


def _coded(text: str) -> str:
    """A text with its code set as code."""
    return cards.CODE.sub(r"<code>\1</code>", html.escape(text))


def _measured(part: Row) -> str:
    """A number with its interval, and what its rule asks for."""
    said = f'<span class="bk-small">asked: {html.escape(cards.bound(part))}</span>'
    return f"{html.escape(cards.value(part))}<br>{said}"


def _nulls(part: Row, own: bool) -> str:
    """Every null of a part, and how often its rule passes in repeated trials, a line each."""
    said = [f"{null['name']}: {_said(null, own)}" for null in part["nulls"]]
    said = said or [f"none: {part['no_null']}"]
    said += [f"{rate['kind']}: {rate['passed']} of {rate['of']}" for rate in part["rates"]]
    return "<br>".join(map(html.escape, said))


def _claim(claim: claims.Claim, row: Row | None) -> str:
    """One claim, folded under its verdict: what is said, a row a part, and the past of its rules.
    Without a blank line, at which MyST would end the HTML."""
    title = badge(row) if row else "<em>not judged in this run</em>"
    title += f' <span class="bk-chip">{cards.REVISED}</span>' if row and cards.revised(row) else ""
    why = f"<p>{_coded(row['why'])}</p>" if row and row.get("why") else ""
    judged = row["parts"] if row else {}
    rows = [_part(name, rule, judged.get(name), claim.own) for name, rule in claim.parts.items()]
    head = ("Part", "Verdict", "Measured", "The same rule on a null", "The rule")
    return (
        f'<details class="bk-full"><summary>{title} <strong>{claim.id}</strong> '
        f'{html.escape(claim.statement)}</summary><p id="rule-{claim.id}">'
        f"{cards.source(claim.own)}: {html.escape(claim.reported)}</p>{why}"
        f"{table(head, rows, 'bk-rules')}{cards.history(judged, claim.own)}</details>\n"
    )


def _part(name: str, rule: claims.Rule, part: Row | None, own: bool) -> list[str]:
    named = html.escape(name)
    if part is None:
        return [named, "–", "–", html.escape(", ".join(rule.nulls) or "–"), _sentence(rule)]
    word, measured = cards.verdict(part["verdict"], own), html.escape(cards.measured(part))
    return [named, f"<em>{word}</em>", measured, _nulls(part, own), _sentence(rule)]


def _sentence(rule: claims.Rule) -> str:
    return html.escape(rule.sentence())


RULES_INTRO = """\
A claim has one or more parts, and each part a rule: what is measured, and on which side of which
tolerance the claim puts it, with the reason for that tolerance.

A rule should be written before the numbers that it judges are seen.
A rule that was changed after a result carries the mark *rule revised*, with the date, the rule as
it was, why it was changed, and what the old rule says of the present numbers.

A rule that always passes says nothing.
So each is also tried on a *null*, where there is nothing to find: an untrained model, shuffled
labels, heads that should not do it. The null runs through the same code and the same rule.
What comes out is shown beside the verdict; where no null is possible, the reason is.
Where trials are cheap they are repeated, and the page says how often the rule passes where there
is nothing to find (*false alarms*, which should be at most one in twenty) and where the thing was
put in by hand (*found where planted*, which should be at least nine in ten).

- *reproduced*: the 95 % interval lies on the claimed side of the tolerance in the share of seeds
  that the rule names.
- *partly*: the direction is the claimed one but some interval crosses the tolerance, or some
  parts hold and others do not; then the verdict says how many pass their rules in full, which may
  be none. Some parts are the claim's *core*: if they all come out alike, and not as reproduced,
  that is the verdict, whatever the other parts do.
- *not reproduced*: every interval lies on the other side, or the mean points against the claim.
- *undecided*: the rule would pass, wholly or partly, but some null does as well by it, or it
  gives more than one false alarm in twenty trials; so it says nothing here, however large its
  number.
- *not testable here*: the run cannot answer, and the chapter says why.

What no paper has claimed is a question of ours. Such questions are counted apart; by the same
rules each *holds*, holds *partly*, or *does not hold*.

The tables show one part of each claim, the first of its core that could be measured; open the claim
below its table for all parts and for what the numbers are.

Each verdict is only about the trained models of this run, one for each seed, with intervals over
their texts: what holds in these runs need not hold in the next."""
