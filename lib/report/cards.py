"""Markup of claims and verdicts: the folded claim before any number, the card of a verdict, and
their words.

A card shows of each part what came out, beside what was asked. Folded under it is all else that a
verdict hangs on: what was measured, the rule, what the same rule says where there is nothing to
find, and the rule's past if it was changed after a result.
"""

from __future__ import annotations

import html
from numbers import Integral, Real
from typing import Any

from lib.report import claims

FOLD = "What was measured, by which rule, and what the rule says where there is nothing to find"
OWN = {claims.REPRODUCED: "holds", claims.NOT: "does not hold"}


def expectation(claim: claims.Claim) -> str:
    """A claim before it is judged: one line, and folded under it what will be measured and how it
    is judged."""
    rules = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(rule.sentence())}</dd>"
        for name, rule in claim.parts.items()
    )
    said = f"<dt>{source(claim.own)}</dt><dd>{html.escape(claim.reported)}</dd>"
    title = f"<strong>{claim.id}</strong> {html.escape(claim.statement)}"
    return f'<details class="bk-claim"><summary>{title}</summary><dl>{said}{rules}</dl></details>'


def card(row: dict[str, Any], note: str | None = None) -> str:
    """A verdict: the claim, the paper's value, and each part's verdict beside its number and bound;
    folded under them the rules, the nulls and their past. That on a reader's model names it, and is
    no place that other pages lead to."""
    own, parts = row.get("own", False), row.get("parts") or {}
    facts = [(source(own), html.escape(row["reported"]))]
    if row.get("contests"):
        facts.append(("Contests", html.escape(", ".join(row["contests"]))))
    facts += [_result(name, part, len(parts) == 1, own) for name, part in parts.items()]
    if not parts:
        facts.append(("Rule", html.escape(row["rule"])))
    details = [fact for name, part in parts.items() for fact in _part(name, part, own)]
    folded = f"<details><summary>{FOLD}</summary>{_list(details)}</details>" if details else ""
    reason = f'<p class="bk-note">{html.escape(note)}</p>' if note else ""
    style = f"bk-verdict bk-{row['verdict'].replace(' ', '-')}"
    title = f'<span class="bk-badge">{in_words(row)}</span> <strong>Claim {row["id"]}'
    title += f" on {html.escape(row['model'])}.</strong>" if "model" in row else ".</strong>"
    place = "of-model" if "model" in row else "claim"
    return (
        f'<section class="{style}" id="{place}-{row["id"]}"><p>{title} '
        f"{html.escape(row['statement'])}</p>{_list(facts)}{reason}{folded}</section>"
    )


def source(own: bool) -> str:
    """What stands before a claim's `reported`."""
    return "A question of ours" if own else "The paper reports"


def in_words(row: dict[str, Any]) -> str:
    """The verdict on a claim or a question of ours; of one that holds partly, how much of it."""
    held = row.get("held")
    if row["verdict"] != claims.PARTLY or not held or held[1] == 1:
        return verdict(row["verdict"], row.get("own", False))
    if not held[0]:  # some part points the claimed way, and none passes its rule
        return f"partly: no part of {held[1]} in full"
    return f"partly: {held[0]} of {held[1]} parts"


def verdict(word: str, own: bool) -> str:
    """The word for a verdict: what nobody reported can hold, but cannot be reproduced."""
    return OWN.get(word, word) if own else word


def _list(facts: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in facts) + "</dl>"


def _result(name: str, part: dict[str, Any], alone: bool, own: bool) -> tuple[str, str]:
    """One part's verdict, and its number beside the bound, as term and markup; what else passes the
    rule and whether the rule was changed are said at once."""
    term = f"{html.escape(name)}: <em>{verdict(part['verdict'], own)}</em>"
    said = f"{value(part)}; asked: {part['bound']}"
    if part["also_on"]:
        said += f"; comes out as well on {' and on '.join(part['also_on'])}"
    if part["changed"]:
        said += "; rule changed after results"
    return "Measured" if alone else term, html.escape(said)


def _part(name: str, part: dict[str, Any], own: bool) -> list[tuple[str, str]]:
    """Rule, measurement, nulls and past of one part, as pairs of term and markup."""
    return [
        (f"Rule ({html.escape(name)})", html.escape(part["rule"])),
        ("Measured in these runs", html.escape(measured(part))),
        ("The same rule on a null", html.escape(nulls(part, own))),
        *(("Rule changed after results", html.escape(past(c))) for c in part["changed"]),
    ]


def value(row: dict[str, Any]) -> str:
    """The measured value with its interval; a dash when nothing was measured."""
    if row["measured"] is None:
        return "–"
    interval = " [" + ", ".join(map(short, row["interval"])) + "]" if row["interval"] else ""
    return short(row["measured"]) + interval


def measured(row: dict[str, Any]) -> str:
    """The measured value with its interval and sample, in words; a dash when nothing was
    measured."""
    text = value(row)
    if row["measured"] is None:
        return text
    if row["n"]:
        text += f", n = {row['n']}"
    seeds = [str(seed) for seed in row["seeds"] if seed is not None]
    return text + (f", seeds {', '.join(seeds)}" if seeds else "")


def nulls(part: dict[str, Any], own: bool = False) -> str:
    """What a part's rule says on each of its nulls, and how often it passes in repeated trials, in
    words."""
    words = [verdict(null["verdict"], own) for null in part["nulls"]]
    pairs = zip(part["nulls"], words, strict=True)
    said = [f"on {null['name']}: {word} ({measured(null)})" for null, word in pairs]
    said += [f"{rate['kind']}: {rate['passed']} of {rate['of']}" for rate in part["rates"]]
    return "; ".join(said) if part["nulls"] else "; ".join([f"no null: {part['no_null']}", *said])


def past(change: dict[str, Any]) -> str:
    """A change of a rule in words, with what the old rule says of the present numbers."""
    then = change["verdict"] or "nothing, for its measurement is no longer made"
    before = f"Before: {change['rule']}. To the present numbers it says: {then}."
    return f"{change['date']}: {change['why']}. {before}"


def in_digits(value: Any) -> str:
    """A value as prose shows it: floats with three digits, all else as it is."""
    real = isinstance(value, Real) and not isinstance(value, Integral)
    return short(value) if real else str(value)


def short(value: Any) -> str:
    """Three digits, and all of them before the point; what is only rounding of a zero is zero."""
    if abs(value) < 1e-6:
        return "0"
    return f"{value:,.0f}" if 999.5 <= abs(value) < 1e15 else f"{value:.3g}"
