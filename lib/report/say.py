"""Numbers as people say them: shares in per cent, losses with a true minus sign, lists with "and".

`book.number(lost=say.percent(0.0116))` lets the prose say "1.2 %" where the bare number would be
0.0116.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

MINUS, SPACE, NOTHING = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}", "–"


def percent(share: float) -> str:
    """A share in per cent: whole from ten on, else with one digit; a dash where there is none."""
    if not math.isfinite(share):
        return NOTHING
    hundredths = 100 * share
    digits = 0 if abs(hundredths) >= 9.95 else 1
    return number(hundredths, digits).removesuffix(".0") + SPACE + "%"


def number(value: float, digits: int = 2) -> str:
    """A number with so many digits after the point and a true minus sign; a dash where there is
    none."""
    if not math.isfinite(value):
        return NOTHING
    text = f"{abs(value):,.{digits}f}"
    below = value < 0 and float(text.replace(",", "")) > 0
    return MINUS + text if below else text


def percents(shares: Mapping[str, float]) -> dict[str, str]:
    """Each of some named shares in per cent."""
    return {name: percent(share) for name, share in shares.items()}


def listed(names: Sequence[str]) -> str:
    """Names in a row, "and" before the last; "none" where there are none."""
    if len(names) < 2:
        return names[0] if names else "none"
    return ", ".join(names[:-1]) + " and " + names[-1]


def ahead(low: float, high: float, unit: str = "doublings") -> str:
    """How far one thing comes before another, from a least to a greatest lead, in words: "0.90 to
    1.49 doublings after"; a dash where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    if high < 0:
        return f"{number(-high)} to {number(-low)} {unit} after"
    if low < 0:
        return f"from {number(-low)} {unit} after to {number(high)} {unit} before"
    return f"{number(low)} to {number(high)} {unit} before"


def moved(change: float, digits: int = 2) -> str:
    """A change of something in words: "falls by 0.50" or "rises by 0.50"; a dash where there is
    none."""
    if not math.isfinite(change):
        return NOTHING
    return f"{'falls' if change < 0 else 'rises'} by {number(abs(change), digits)}"
