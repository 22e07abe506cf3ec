"""Markup of claims and verdicts: the folded claim before any number, the card of a verdict, and
their words.

A card shows all that a verdict hangs on: what was measured of each part, beside its bound and what
the same code measures where there is nothing to find; folded, each rule, what it says of its nulls,
and its past if it was changed after a result.
"""

from __future__ import annotations

import html
import re
from numbers import Integral, Real
from typing import Any

import numpy as np

from lib.report import claims, strips

CODE = re.compile(r"`([^`]+)`")
OWN = {claims.REPRODUCED: "holds", claims.NOT: "does not hold"}
REVISED = "rule revised"
NO_NUMBER = "not measurable"


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
    """A verdict: the claim, the paper's value, each part's numbers beside its bound and its nulls,
    and folded below them the rules and their past. That on a reader's model names it, and is no
    place that other pages lead to."""
    own = row["own"]
    reason = f'<p class="bk-note">{_coded(note)}</p>' if note else ""
    style = f"bk-verdict bk-{row['verdict'].replace(' ', '-')}"
    place = "of-model" if "model" in row else "claim"
    return (
        f'<section class="{style}" id="{place}-{row["id"]}">{_title(row)}'
        f'<p class="bk-reported">{source(own)}: {html.escape(row["reported"])}</p>'
        f"{_parts(row, own)}{reason}{_rules(row, own)}{history(row['parts'], own)}</section>"
    )


def _title(row: dict[str, Any]) -> str:
    """Verdict, claim, and the claims that it contests."""
    model = f" on {html.escape(row['model'])}" if "model" in row else ""
    against = f" <em>(contests {', '.join(row['contests'])})</em>" if row.get("contests") else ""
    return (
        f'<p><span class="bk-badge">{in_words(row)}</span> <strong>Claim {row["id"]}{model}.'
        f"</strong> {html.escape(row['statement'])}{against}</p>"
    )


def _parts(row: dict[str, Any], own: bool) -> str:
    """A row a part: what was measured, the numbers, and a strip with every seed and null."""
    parts = row["parts"].values()
    return "".join(_part(part, len(parts) > 1, own) for part in parts)


def _part(part: dict[str, Any], several: bool, own: bool) -> str:
    """One part; its verdict is said where the claim has several."""
    word = f", <em>{verdict(part['verdict'], own)}</em>" if several else ""
    if part["also_on"]:
        word += f" (its null passes too: {html.escape('; '.join(part['also_on']))})"
    beside = "; ".join(_null(null, part["no_number"]) for null in part["nulls"])
    null = f"; with nothing to find: {html.escape(beside)}" if beside else ""
    return (
        f'<div class="bk-part bk-{part["verdict"].replace(" ", "-")}">'
        f"<p>{_sentence(part['measure'])}<br>"
        f"<strong>{html.escape(value(part))}</strong>{word}{null}</p>"
        f"{strips.strip(part, html.escape(bound(part)))}</div>"
    )


def _rules(row: dict[str, Any], own: bool) -> str:
    """The rules in full and what they say of each null, folded."""
    facts = [fact for name, part in row["parts"].items() for fact in _facts(name, part, own)]
    items = "".join(f"<dt>{term}</dt><dd>{html.escape(text)}</dd>" for term, text in facts)
    key = f"<p>{strips.KEY}</p>" if facts else ""
    items = items or f"<dt>Rule</dt><dd>{html.escape(row['rule'])}</dd>"
    return f"<details><summary>Rules and nulls</summary>{key}<dl>{items}</dl></details>"


def _facts(name: str, part: dict[str, Any], own: bool) -> list[tuple[str, str]]:
    """Rule, sample and nulls of one part, as pairs of term and text."""
    return [
        (f"Rule ({html.escape(name)})", part["rule"]),
        ("Measured", measured(part)),
        ("The same rule on a null", nulls(part, own)),
    ]


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
    mark = f'<summary><span class="bk-chip">{REVISED} after results</span></summary>'
    return f'<details class="bk-past">{mark}<dl>{items}</dl></details>' if told else ""


def revised(row: dict[str, Any]) -> bool:
    """Whether some rule of a claim was changed after a result had been seen."""
    return any(part["changed"] for part in row["parts"].values())


def _sentence(measure: str) -> str:
    """A measure as a sentence, with its code set as code."""
    return _coded(f"{measure[0].upper()}{measure[1:]}.")


def _coded(text: str) -> str:
    return CODE.sub(r"<code>\1</code>", html.escape(text))


def _null(null: dict[str, Any], why: str) -> str:
    """What was measured on a null, or why nothing was."""
    reason = f" ({why})" if why and null["measured"] is None else ""
    return f"{null['name']} {number(null)}{reason}"


def number(row: dict[str, Any]) -> str:
    """What was measured of a part or on a null, without its interval."""
    return NO_NUMBER if row["measured"] is None else short(row["measured"])


def bound(part: dict[str, Any]) -> str:
    """What the rule of a part asks for."""
    return claims.bound(part["side"], part["tolerance"], part["unit"])


def source(own: bool) -> str:
    """What stands before a claim's `reported`."""
    return "A question of ours" if own else "The paper reports"


def in_words(row: dict[str, Any]) -> str:
    """The verdict on a claim or a question of ours; of one that holds partly, how much of it."""
    held = row.get("held")
    if row["verdict"] != claims.PARTLY or not held or held[1] == 1:
        return verdict(row["verdict"], row["own"])
    if not held[0]:  # some part points the claimed way, and none passes its rule
        return f"partly: no part of {held[1]} in full"
    return f"partly: {held[0]} of {held[1]} parts"


def verdict(word: str, own: bool) -> str:
    """The word for a verdict: what nobody reported can hold, but cannot be reproduced."""
    return OWN.get(word, word) if own else word


def value(row: dict[str, Any]) -> str:
    """The measured value with its interval."""
    interval = " [" + ", ".join(map(short, row["interval"])) + "]" if row["interval"] else ""
    return number(row) + interval


def measured(row: dict[str, Any]) -> str:
    """The measured value with its interval and sample, in words."""
    text = value(row)
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
        said.append(f"{null['name']}: {word} ({measured(null | same)})")
    said += [f"{rate['kind']}: {rate['passed']} of {rate['of']}" for rate in part["rates"]]
    return "; ".join(said) if part["nulls"] else "; ".join([f"no null: {part['no_null']}", *said])


def past(change: dict[str, Any], own: bool = False) -> str:
    """A change of a rule in words, with what the old rule says of the present numbers."""
    word = change["verdict"] and verdict(change["verdict"], own)
    then = f"On the present numbers it gives: {word}." if word else "It is no longer measured."
    return f"{change['date']}: {change['why']}. Before: {change['rule']}. {then}"


def in_digits(value: Any) -> str:
    """A value as prose shows it: floats with three digits, whole numbers with their thousands
    apart, all else as it is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    return f"{value:,}".replace("-", "−") if isinstance(value, Integral) else short(value)


def short(value: Any) -> str:
    """As `_digits`, with a minus sign that is one."""
    return _digits(value).replace("-", "−")


def _digits(value: Any) -> str:
    """Three digits, and all of them before the point; what is only rounding of a zero is zero."""
    if abs(value) < 1e-6:
        return "0"
    if 999.5 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:  # one digit, and no power of ten
        return np.format_float_positional(float(f"{value:.1g}"), trim="-")
    return f"{value:.3g}"
