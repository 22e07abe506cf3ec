"""What stands beside the marks of a chart: numbers, names that are not cut, and the legend."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from lib.report import columns
from lib.report.theme import colors

LINE = 32  # letters of a row's name in one line
TICK = 60  # pixels from one number to the next in a panel
LETTER = 6  # pixels of a letter of a title
APART = 2.2  # ratio of a number on a logarithmic axis to its end that leaves room for both
CLOSE = alt.Axis(labelSeparation=1)  # of a map: every column has its name, however short the way


def places(values: pd.Series) -> dict[str, Any]:
    """Order and scale of one side of a map: every number from 0 on, or names as they are told."""
    if pd.api.types.is_integer_dtype(values):
        return {"scale": alt.Scale(domain=list(range(int(values.max()) + 1)))}
    return {"sort": list(dict.fromkeys(values))}


def scale(kind: str, values: pd.Series) -> alt.Scale:
    """A scale that ends where its values end if it is logarithmic: the next power is far away. One
    with a zero is linear up to its least value above that, below which there is nothing to see."""
    if kind == "linear":
        return alt.Scale(type=kind)
    above = values[values > 0]
    constant = {"constant": float(above.min())} if kind == "symlog" and len(above) else {}
    return alt.Scale(type=kind, nice=False, **constant)


def numbered(kind: str, values: pd.Series) -> alt.Axis:
    """Numbers written out, whole ones for what is counted; on a logarithmic axis at both ends, at
    zero, and between them at 1, 2 and 5 times powers of ten."""
    above = values[values > 0]
    if kind == "linear" or above.empty:
        whole = {"tickMinStep": 1} if pd.api.types.is_integer_dtype(values) else {}
        return alt.Axis(format=",~f", **whole)
    low, high = float(above.min()), float(above.max())
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
    round_ones = np.outer(powers, (1, 2, 5)).ravel()
    between = [float(tick) for tick in round_ones if APART * low < tick < high / APART]
    zero = [0.0] if kind == "symlog" else []
    ticks = list(dict.fromkeys([*zero, low, *between, high]))
    return alt.Axis(format=",~r", values=_halving(ticks, low if zero else 0.0))


def _halving(ticks: list[float], constant: float) -> list[float]:
    """As many of the ticks as leave both ends their numbers where room is short: there every second
    number goes, twice at most. Those that lie closest to others are left out first."""
    at = np.log(np.array(ticks) + constant)
    while (len(ticks) - 1) % (4 if len(ticks) > 5 else 2) and len(ticks) > 2:
        least = 1 + int(np.argmin(at[2:] - at[:-2]))
        ticks, at = ticks[:least] + ticks[least + 1 :], np.delete(at, least)
    return ticks


def named(values: pd.Series) -> alt.Axis:
    """An axis that cuts no name: long ones are written in lines of `LINE` letters."""
    lines = {str(name): textwrap.wrap(str(name), LINE) for name in values.unique()}
    long = {name: parts for name, parts in lines.items() if len(parts) > 1}
    if not long:
        return alt.Axis()
    return alt.Axis(
        labelExpr=f"({json.dumps(long, ensure_ascii=False)})[datum.label] || datum.label"
    )


def color(frame: pd.DataFrame, series: str) -> alt.Color:
    return alt.Color(
        f"{series}:N", scale=colors(frame[series].tolist()), title=columns.title(series)
    )


def in_panels(
    chart: alt.Chart | alt.LayerChart, width: float | int, height: float | int, shared: bool
) -> alt.Chart | alt.LayerChart:
    """The chart with as many ticks as a panel holds, titles in lines that are no longer than its
    sides, and without a title beside rows that have names, which an axis that panels share would
    print over them."""
    made = chart.copy()
    for part in _parts(made):
        x, y = part.encoding["x"], part.encoding["y"]
        if str(getattr(x, "shorthand", "")).endswith(":Q"):
            given = {} if x["axis"] is alt.Undefined else x["axis"].to_dict()
            count = {"tickCount": max(2, round(width / TICK))} if "values" not in given else {}
            x["axis"] = alt.Axis(**count | given)
        if shared and isinstance(y, alt.Y) and isinstance(y["sort"], list):
            y["title"] = None
        for side, room in ((x, width), (y, height)):
            if isinstance(side, alt.X | alt.Y):
                side["title"] = _lines(side["title"], room)
    return made


def _lines(title: Any, room: float | int) -> Any:
    """A title that has room beside a panel: in lines, if it is longer than that."""
    parts = textwrap.wrap(title, max(1, int(room / LETTER))) if isinstance(title, str) else []
    return parts if len(parts) > 1 else title


def _parts(chart: alt.Chart | alt.LayerChart) -> list[alt.Chart]:
    """What is drawn over each other, also where a layer has layers."""
    if not isinstance(chart, alt.LayerChart):
        return [chart]
    return [part for layer in chart.layer for part in _parts(layer)]
