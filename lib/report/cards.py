"""Markup of claims and verdicts: the folded claim before any number, the card of a verdict, and
their words.

A card shows all that a verdict hangs on: each part's rule, what was measured, and what the same
rule says where there is nothing to find; folded under a mark, what a rule was before it was changed
after a result.
"""

from __future__ import annotations

import html
from numbers import Integral, Real
from typing import Any

from lib.report import claims

OWN = {claims.REPRODUCED: "holds", claims.NOT: "does not hold"}
REVISED = "rule revised after results"


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
    """A verdict: the claim, the paper's value, each part's rule, numbers and nulls, and folded
    their past. That on a reader's model names it, and is no place that other pages lead to."""
    parts, own = row.get("parts") or {}, row.get("own", False)
    facts = [(source(own), html.escape(row["reported"]))]
    if row.get("contests"):
        facts.append(("Contests", html.escape(", ".join(row["contests"]))))
    for name, part in parts.items():
        word = verdict(part["verdict"], own) if len(parts) > 1 else ""
        facts += _part(name, part, word, own)
    if not parts:
        facts.append(("Rule", html.escape(row["rule"])))
    items = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in facts)
    reason = f'<p class="bk-note">{html.escape(note)}</p>' if note else ""
    style = f"bk-verdict bk-{row['verdict'].replace(' ', '-')}"
    title = f'<span class="bk-badge">{in_words(row)}</span> <strong>Claim {row["id"]}'
    title += f" on {html.escape(row['model'])}.</strong>" if "model" in row else ".</strong>"
    place = "of-model" if "model" in row else "claim"
    return (
        f'<section class="{style}" id="{place}-{row["id"]}"><p>{title} '
        f"{html.escape(row['statement'])}</p><dl>{items}</dl>{reason}"
        f"{history(parts, own)}</section>"
    )


def history(parts: dict[str, dict[str, Any]], own: bool) -> str:
    """What the rules of parts were before they were changed, folded under their mark: parts with
    one past together. Empty where none was changed."""
    told: dict[str, list[str]] = {}
    for name, part in parts.items():
        for change in part["changed"]:
            told.setdefault(past(change, own), []).append(name)
    items = "".join(
        f"<dt>{html.escape(', '.join(names))}</dt><dd>{html.escape(text)}</dd>"
        for text, names in told.items()
    )
    mark = f'<summary><span class="bk-chip">{REVISED}</span></summary>'
    return f'<details class="bk-past">{mark}<dl>{items}</dl></details>' if told else ""


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


def _part(name: str, part: dict[str, Any], word: str, own: bool) -> list[tuple[str, str]]:
    """Rule, measurement and nulls of one part, as pairs of term and markup; `word` is its verdict,
    empty where the claim has no other part."""
    aside = f" ({html.escape(name)}: <em>{word}</em>)" if word else ""
    return [
        (f"Rule{aside}", html.escape(part["rule"])),
        ("Measured in these runs", html.escape(measured(part))),
        ("The same rule on a null", html.escape(nulls(part, own))),
    ]


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


def nulls(part: dict[str, Any], own: bool = False) -> str:
    """What a part's rule says on each of its nulls, and how often it passes in repeated trials, in
    words. Units and seeds are named where they are not the part's."""
    said = []
    for null in part["nulls"]:
        same = {"n": 0} if null["n"] == part["n"] else {}
        same |= {"seeds": []} if null["seeds"] == part["seeds"] else {}
        word = verdict(null["verdict"], own)
        said.append(f"on {null['name']}: {word} ({measured(null | same)})")
    said += [f"{rate['kind']}: {rate['passed']} of {rate['of']}" for rate in part["rates"]]
    return "; ".join(said) if part["nulls"] else "; ".join([f"no null: {part['no_null']}", *said])


def past(change: dict[str, Any], own: bool = False) -> str:
    """A change of a rule in words, with what the old rule says of the present numbers."""
    word = change["verdict"] and verdict(change["verdict"], own)
    then = f"On the present numbers it gives: {word}." if word else "It is no longer measured."
    return f"{change['date']}: {change['why']}. Before: {change['rule']}. {then}"


def in_digits(value: Any) -> str:
    """A value as prose shows it: floats with three digits, all else as it is."""
    real = isinstance(value, Real) and not isinstance(value, Integral)
    return short(value) if real else str(value)


def short(value: Any) -> str:
    """Three digits, and all of them before the point; what is only rounding of a zero is zero."""
    if abs(value) < 1e-6:
        return "0"
    return f"{value:,.0f}" if 999.5 <= abs(value) < 1e15 else f"{value:.3g}"
