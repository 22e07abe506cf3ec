"""A verdict at a glance: every seed of a part beside the bound that its rule sets, and below them
the nulls.

A strip is a small drawing without a script. The shaded side of the dashed line is the claimed one:
a seed passes if its whole interval lies there, and a null should not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

WIDTH, MARGIN, ROW, FOOT = 240, 8, 11, 15  # in px
KEY = (
    "In each strip a dot is a seed with its 95 % interval, and a grey ring is the same measure "
    "where there is nothing to find. The claim is the shaded side of the dashed line."
)


def strip(part: dict[str, Any], label: str) -> str:
    """The drawing of one judged part, as `claims.judge` records it; `label` stands at the bound.
    Empty where nothing was measured."""
    nulls = [null for null in part["nulls"] if null["measured"] is not None]
    if not part["estimates"]:
        return ""
    place = _scale(_extent(part, nulls))
    seeds = [_mark(e["value"], (e["low"], e["high"]), place) for e in part["estimates"]]
    empty = [_mark(null["measured"], null["interval"], place, True) for null in nulls]
    return _drawing([*seeds, *empty], place(part["tolerance"]), part["side"], label)


def _extent(part: dict[str, Any], nulls: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """What the strip must show: the bound, the seeds whole, and where each null lies; a null's
    interval may run over the edge."""
    seeds = [e[end] for e in part["estimates"] for end in ("low", "high", "value")]
    every = [part["tolerance"], *seeds, *(null["measured"] for null in nulls)]
    return min(every), max(every)


def _scale(extent: tuple[float, float]) -> Callable[[float], float]:
    """From values to px, never beyond the strip."""
    low, high = extent
    wide = (high - low) or 1.0

    def place(value: float) -> float:
        at = MARGIN + (value - low) / wide * (WIDTH - 2 * MARGIN)
        return round(min(max(at, 0.0), float(WIDTH)), 1)

    return place


def _mark(
    value: float, interval: Sequence[float], place: Callable[[float], float], null: bool = False
) -> str:
    """A row, drawn about y = 0: the interval, and on it the dot or the ring."""
    style = "bk-null" if null else "bk-seed"
    left, right = map(place, interval)
    line = f'<path d="M{left} 0H{right}"/>'
    return f'<g class="{style}">{line}<circle cx="{place(value)}" r="3.5"/></g>'


def _drawing(rows: Sequence[str], bound: float, side: str, label: str) -> str:
    """The rows below each other, on the shade of the claimed side, with the bound's line."""
    tall = ROW * len(rows)
    left, right = (bound, WIDTH) if side == "above" else (0, bound)
    claimed = f'<rect x="{left}" y="0" width="{round(right - left, 1)}" height="{tall}"/>'
    at = "start" if bound < WIDTH / 3 else "end" if bound > WIDTH * 2 / 3 else "middle"
    text = f'<text x="{bound}" y="{tall + FOOT - 3}" text-anchor="{at}">{label}</text>'
    drawn = [
        f'<g transform="translate(0 {(i + 0.5) * ROW})">{row}</g>' for i, row in enumerate(rows)
    ]
    return (
        f'<svg class="bk-strip" viewBox="0 0 {WIDTH} {tall + FOOT}" aria-hidden="true">{claimed}'
        f'<path class="bk-bound" d="M{bound} 0V{tall}"/>{"".join(drawn)}{text}</svg>'
    )
