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


def places(values: pd.Series) -> dict[str, Any]:
    """Order and scale of one side of a map: every number from 0 on, or names as they are told."""
    if pd.api.types.is_integer_dtype(values):
        return {"scale": alt.Scale(domain=list(range(int(values.max()) + 1)))}
    return {"sort": list(dict.fromkeys(values))}


def scale(kind: str) -> alt.Scale:
    """A scale that ends where its values end if it is logarithmic: the next power is far away."""
    return alt.Scale(type=kind, nice=False) if kind == "log" else alt.Scale(type=kind)


def numbered(kind: str, values: pd.Series) -> alt.Axis:
    """Numbers written out, whole ones for what is counted; on a logarithmic axis at zero and at 1,
    2 and 5 times powers of ten."""
    if kind == "linear":
        whole = {"tickMinStep": 1} if pd.api.types.is_integer_dtype(values) else {}
        return alt.Axis(format=",~f", **whole)
    high = float(values.max())
    powers = 10.0 ** np.arange(int(np.log10(max(high, 1))) + 1)
    ticks = [float(tick) for tick in np.outer(powers, (1, 2, 5)).ravel() if tick <= high]
    return alt.Axis(format=",~f", values=[0.0, *ticks] if kind == "symlog" else ticks)


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
    chart: alt.Chart | alt.LayerChart, width: float | int, shared: bool
) -> alt.Chart | alt.LayerChart:
    """The chart with as many ticks as a panel holds, and without a title beside rows that have
    names, which an axis that panels share would print over them."""
    made = chart.copy()
    for part in getattr(made, "layer", None) or [made]:
        x, y = part.encoding["x"], part.encoding["y"]
        if str(getattr(x, "shorthand", "")).endswith(":Q"):
            given = {} if x["axis"] is alt.Undefined else x["axis"].to_dict()
            x["axis"] = alt.Axis(**{"tickCount": max(2, round(width / TICK))} | given)
        if shared and isinstance(y, alt.Y) and isinstance(y["sort"], list):
            y["title"] = None
    return made
