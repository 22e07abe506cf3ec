"""Check cells of exercises that ask to predict, and then to run: a prediction may be wrong, and the
check says by how much; what was run must be right."""

from __future__ import annotations

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
) -> bool:
    """Show what became of a prediction, and whether the outcome `found` is that of the run, which
    may be sealed. Both are numbers, `...` while they are missing.

    `near`: how far off a prediction may be and still count as right. `high`, `low`: what one that
    is too high, or too low, had expected.
    """
    seal = right if isinstance(right, Sealed) else sealed(right, tolerance)
    said, done = _missing(guess, found), False
    if not said:
        wrong = error(found, seal)
        said, done = _wrong(wrong) if wrong else _compared(guess, found, near, high, low), not wrong
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


def _compared(guess: Any, found: Any, near: float | int, high: str, low: str) -> str:
    told = f"**Right.** You predicted {say.number(float(guess))}, and it is "
    told += say.number(float(found))
    off = float(guess) - float(found)
    if off != off:  # a short run could not measure
        return f"{told}: this run is too short to tell."
    if abs(off) <= near:
        return f"{told}: as you said."
    side, meant = ("high", high) if off > 0 else ("low", low)
    return f"{told}: {say.number(abs(off))} too {side}. {meant}".strip()
