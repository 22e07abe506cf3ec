"""Check cells of exercises that ask to predict, and then to run: a prediction may be wrong, and the
check says by how much; what was run must be right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from IPython.display import Markdown, display

from lib.report import say
from lib.report.exercises import Sealed, error, sealed


def check(
    guess: Any,
    found: Any,
    right: Any,
    tolerance: float = 0.01,
    near: float | int = 0.1,
    high: str = "",
    low: str = "",
    beside: Mapping[str, float] | None = None,
) -> bool:
    """Show what became of a prediction, and whether the outcome `found` is that of the run, which
    may be sealed. Both are numbers, `...` while they are missing.

    `near`: how far off a prediction may be and still count as right. `high`, `low`: what one that
    is too high, or too low, had expected. `beside`: known values by name; which of them the
    prediction and the outcome each lie nearest to is said.
    """
    seal = right if isinstance(right, Sealed) else sealed(right, tolerance)
    said, done = _missing(guess, found), False
    if not said:
        wrong = error(found, seal)
        said, done = _wrong(wrong), not wrong
    if done:
        said = _compared(float(guess), float(found), near, high, low)
        said += _nearest(float(guess), float(found), beside or {})
    display(Markdown(said), metadata={"exercise": asdict(seal)})
    return done


def _missing(guess: Any, found: Any) -> str:
    """What is still to do; nothing if there are a prediction and an outcome."""
    if guess is ...:
        return "*Not answered yet: predict first, then run.*"
    try:
        float(guess)
    except (TypeError, ValueError, RuntimeError):
        return "**Not yet.** Write your prediction as a number."
    return "*You have predicted. Now run it.*" if found is ... else ""


def _wrong(kind: str) -> str:
    return f"**Not yet.** Your prediction may stand, but the run did not give this. {kind}"


def _compared(guess: float, found: float, near: float | int, high: str, low: str) -> str:
    told = f"**Right.** You predicted {say.number(guess)}, and it is {say.number(found)}"
    off = guess - found
    if off != off:  # a short run could not measure
        return f"{told}: this run is too short to tell."
    if abs(off) <= near:
        return f"{told}: as you said."
    side, meant = ("high", high) if off > 0 else ("low", low)
    return f"{told}: {say.number(abs(off))} too {side}. {meant}".strip()


def _nearest(guess: float, found: float, beside: Mapping[str, float]) -> str:
    """Which known value each of the two lies nearest to; nothing where none was measured."""
    known = {name: float(value) for name, value in beside.items()}
    known = {name: value for name, value in known.items() if math.isfinite(value)}
    if not known or not math.isfinite(found):
        return ""
    first, second = (min(known, key=lambda n, x=x: abs(known[n] - x)) for x in (guess, found))
    named = [f"*{name}* ({say.number(known[name])})" for name in (first, second)]
    if first == second:
        return f" Both lie nearest to {named[0]}."
    asked = "which part of your picture was wrong?"
    return f" Your prediction lies nearest to {named[0]}, what came out to {named[1]}: {asked}"
