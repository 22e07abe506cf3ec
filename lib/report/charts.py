"""The book's charts: a few builders over Altair, in the style of `theme`.

A builder takes a tidy `DataFrame` (one row per mark) and returns an ordinary Altair chart that can
be changed further; `markup` turns it into part of a page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from lib.report import axes, markup, play
from lib.report.columns import axis, tooltip
from lib.report.columns import title as titled
from lib.report.theme import BLANK, PALETTE, WIDTH, ZERO

LEAST_CELL = 28  # pixels that a number of two decimals needs

# --- builders ---


def heatmap(
    frame: pd.DataFrame,
    value: str,
    null: str | None = None,
    *,
    x: str = "head",
    y: str = "layer",
    title: str | None = None,
    domain: tuple[float | int, float | int] | None = None,
    height: int | None = None,
    numbers: bool | None = None,
) -> alt.LayerChart:
    """One cell per row of `frame`, layer by head; hover shows every column.

    `numbers` writes the values into the cells (None: if they are few). Cells get a frame if they
    lie above the column `null`, the upper end of a null's interval, or if `null` is a column of
    truth values and says so.
    Values that take both signs get a diverging scale, centred at zero.
    """
    low, high = domain or (float(frame[value].min()), float(frame[value].max()))
    base = alt.Chart(frame).encode(
        x=alt.X(f"{x}:O", title=titled(x), axis=axes.CLOSE, **axes.places(frame[x])),
        y=alt.Y(f"{y}:O", title=titled(y), axis=axes.named(frame[y]), **axes.places(frame[y])),
        tooltip=tooltip(frame),
    )
    color = alt.Color(f"{value}:Q", scale=_scale(low, high), title=title or titled(value))
    layers = [base.mark_rect(strokeWidth=2).encode(color=color)]
    if null is not None:
        layers += _framed(base, frame, value, null)
    if numbers or (numbers is None and len(frame) <= 96):
        layers.append(_written(base, frame, value, low, high))
    height = height or max(40, 34 * frame[y].nunique())
    made = alt.layer(*layers).properties(width=WIDTH, height=height)
    full = frame[x].nunique() * frame[y].nunique()
    blank = frame[value].isna().any() or len(frame) % full
    return made.properties(view=alt.ViewBackground(fill=BLANK)) if blank else made


def _scale(low: float, high: float) -> alt.Scale:
    """From `low` to `high`; diverging and centred at zero where values take both signs."""
    if low >= 0:
        return alt.Scale(scheme="viridis", domain=[low, high])
    bound = max(abs(low), abs(high)) or 1.0
    return alt.Scale(scheme="blueorange", domain=[-bound, bound])


def _framed(base: alt.Chart, frame: pd.DataFrame, value: str, null: str) -> list[alt.Chart]:
    """Frames round the cells that `null` marks, or that lie above it: white in black, seen on
    every colour."""
    told = frame[null].dtype == bool
    above = f"datum['{null}']" if told else alt.datum[value] > alt.datum[null]
    marked = base.transform_filter(above)
    mark = {"filled": False, "fillOpacity": 0}
    inks = (("black", 4), ("white", 2))
    return [marked.mark_rect(stroke=ink, strokeWidth=width, **mark) for ink, width in inks]


def _written(
    base: alt.Chart, frame: pd.DataFrame, value: str, low: float, high: float
) -> alt.Chart:
    """The values in their cells, white on dark ones and black on bright ones."""
    bound = max(abs(low), abs(high)) or 1.0
    diverging = alt.expr.abs(alt.datum[value]) > 0.6 * bound
    dark = alt.datum[value] < (low + high) / 2 if low >= 0 else diverging
    ink = alt.when(dark).then(alt.value("white")).otherwise(alt.value("black"))
    digits = "d" if pd.api.types.is_integer_dtype(frame[value]) else ".2f"
    there = base.transform_filter(alt.expr.isValid(alt.datum[value]))
    return there.mark_text(fontSize=11).encode(
        text=alt.Text(f"{value}:Q", format=digits), color=ink
    )


def pattern(
    patterns: Mapping[str, np.ndarray],
    tokens: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    title: str = "head",
    least: float = 0.005,
) -> alt.Chart:
    """Attention patterns `[query, key]`, one at a time, chosen by name from a menu; tokens, of all
    or of each, on both axes.

    Entries below `least` are left out to keep pages small, and look as zero does.
    """
    names = list(patterns)
    read = tokens if isinstance(tokens, Mapping) else dict.fromkeys(names, tokens)
    rows = [_sparse(name, np.asarray(patterns[name]), read[name], least) for name in names]
    frame = pd.DataFrame(rows)
    menu = play.menu(frame.name, title)
    shown = play.shown(alt.Chart(frame).add_params(menu.param), menu)
    shown = shown.transform_flatten(["query", "key", "attention"])
    for side in ("query", "key"):  # labels begin with their position, by which they are ordered
        place = f"toNumber(split(datum.{side}, ' ')[0])"
        shown = shown.transform_calculate(**{f"{side} place": place})
    marks = shown.mark_rect().encode(
        x=alt.X("key:N", title="key (attended to)", **_tokens("key", labelAngle=-90)),
        y=alt.Y("query:N", title="query (attends)", **_tokens("query")),
        color=alt.Color("attention:Q", scale=alt.Scale(scheme="viridis", domain=[0, 1])),
        tooltip=["name:N", "query:N", "key:N", alt.Tooltip("attention:Q", format=".3f")],
    )
    size = min(540, max(200, 13 * max(map(len, read.values()))))
    return marks.properties(width=size, height=size, view=alt.ViewBackground(fill=ZERO))


def _tokens(side: str, **more: Any) -> dict[str, Any]:
    """Axis, order and scale of the tokens on one side of a pattern."""
    return {
        "axis": alt.Axis(labelOverlap=True, labelFontSize=10, ticks=False, **more),
        "sort": alt.EncodingSortField(f"{side} place", op="min"),
        "scale": alt.Scale(paddingInner=0),
    }


def _room(values: pd.Series, padding: int) -> alt.Scale:
    """A scale on which no mark lies on the edge. Values that begin near zero and are never below it
    have an axis from zero on: padding would add numbers below zero there."""
    if 0 <= values.min() < 0.25 * values.max():
        return alt.Scale(zero=True, nice=True)
    return alt.Scale(zero=False, nice=True, padding=padding)


def scatter(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    color: str | None = None,
    shape: str | None = None,
    label: str | None = None,
    diagonal: bool = False,
    height: int = 340,
) -> alt.LayerChart:
    """One point per row; hover shows every column. `label` names a column written beside the
    points, and a click on the legend leaves one colour alone."""
    base = alt.Chart(frame).encode(
        x=alt.X(f"{x}:Q", scale=_room(frame[x], 10), title=titled(x), axis=alt.Axis(**axis(x))),
        y=alt.Y(f"{y}:Q", scale=_room(frame[y], 10), title=titled(y), axis=alt.Axis(**axis(y))),
    )
    extra: dict[str, Any] = {"tooltip": tooltip(frame)}
    if color:
        extra["color"] = axes.color(frame, color)
    if shape:
        extra["shape"] = alt.Shape(f"{shape}:N", sort=None, title=titled(shape))
    layers: list[alt.Chart] = [_isolated(base.mark_point().encode(**extra), color, y)]
    if diagonal:
        ends = pd.DataFrame(
            {x: [float(frame[[x, y]].min().min()), float(frame[[x, y]].max().max())]}
        )
        line = alt.Chart(ends).mark_line(
            strokeDash=[4, 4], color="currentColor", opacity=0.5, strokeWidth=1
        )
        layers.insert(0, line.encode(x=f"{x}:Q", y=alt.Y(f"{x}:Q", title=titled(y))))
    if label:
        layers.append(base.mark_text(align="left", dx=7, dy=-5).encode(text=f"{label}:N"))
    return alt.layer(*layers, data=frame).properties(width=WIDTH, height=height)


def curves(
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    series: str | None = None,
    seed: str | None = None,
    low: str | None = None,
    high: str | None = None,
    scale: Literal["linear", "log", "symlog"] = "linear",
    rules: Mapping[str, float | int | Sequence[int]] | None = None,
    height: int = 300,
    hover: bool = True,
) -> alt.LayerChart:
    """Lines of `y` over `x` (training steps, say): a colour per `series`, a line per `seed`, a band
    `low` to `high`.

    `rules` draws labelled vertical lines at values of `x`; a click on the legend leaves one series
    alone. Step 0 cannot stand on a log axis: use `symlog`. Without `hover` many lines make up a
    small picture.
    """
    if scale == "log" and (frame[x] <= 0).any():
        raise ValueError(
            f"`{x}` has values <= 0, which a log axis cannot show: use scale='symlog'."
        )
    base = alt.Chart(frame).encode(
        x=alt.X(
            f"{x}:Q",
            scale=axes.scale(scale, frame[x]),
            axis=axes.numbered(scale, frame[x]),
            title=titled(x),
        )
    )
    base = base.encode(color=axes.color(frame, series) if series else alt.value(PALETTE[0]))
    detail = [f"{seed}:N"] if seed else []
    layers: list[alt.Chart] = []
    if low and high:
        ends = {"y": alt.Y(f"{low}:Q", title=titled(y)), "y2": f"{high}:Q", "detail": detail}
        layers.append(base.mark_area(opacity=0.2, strokeWidth=0).encode(**ends))
    line = base.mark_line().encode(
        y=alt.Y(f"{y}:Q", scale=alt.Scale(zero=False), title=titled(y), axis=alt.Axis(**axis(y))),
        detail=detail,
    )
    layers.append(_isolated(line, series, y))
    if hover:  # a wide target for the pointer
        target = base.mark_point(size=110, opacity=0)
        layers.append(target.encode(y=f"{y}:Q", tooltip=tooltip(frame)))
    layers += _rules(frame, rules or {})
    return alt.layer(*layers, data=frame).properties(width=WIDTH, height=height)


def intervals(
    frame: pd.DataFrame,
    value: str,
    low: str,
    high: str,
    group: str,
    *,
    color: str | None = None,
    reference: float | int | None = None,
    height: int | None = None,
) -> alt.LayerChart:
    """A dot and its interval per row, one line of the chart per `group`; `reference` draws a dashed
    vertical line."""
    y = alt.Y(f"{group}:N", title=None, sort=None, axis=axes.named(frame[group]))
    base = alt.Chart(frame).encode(y=y, tooltip=tooltip(frame))
    side = frame.groupby(group)[color].nunique().max() if color else 1  # dots beside each other
    if color:
        base = base.encode(color=axes.color(frame, color))
        if side > 1:
            base = base.encode(yOffset=alt.YOffset(f"{color}:N", sort=None))
    else:
        base = base.encode(color=alt.value(PALETTE[0]))
    room = _room(pd.concat([frame[low], frame[high], frame[value]]), 8)
    layers: list[alt.Chart] = [
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X(f"{low}:Q", title=titled(value), scale=room, axis=alt.Axis(**axis(value))),
            x2=f"{high}:Q",
        ),
        base.mark_point(size=70, opacity=1).encode(x=f"{value}:Q"),
    ]
    if reference is not None:
        layers.insert(
            0,
            alt.Chart(frame)
            .mark_rule(strokeDash=[4, 4], opacity=0.6)
            .encode(x=alt.datum(reference)),
        )
    row = 22 if side == 1 else 15 * side
    return alt.layer(*layers, data=frame).properties(
        width=WIDTH, height=height or max(60, row * frame[group].nunique() + 20)
    )


def small_multiples(
    chart: alt.Chart | alt.LayerChart,
    by: str,
    *,
    columns: int = 3,
    height: int = 140,
    shared: bool = True,
) -> alt.FacetChart:
    """The same chart once per value of the column `by`, on shared axes unless `shared` is False."""
    told = list(dict.fromkeys(markup.table(chart)[by].tolist()))
    columns = min(columns, len(told))
    width = (WIDTH - 60) // columns - 20
    panel = _without_crowded(chart, width).properties(width=width, height=height)
    panel = axes.in_panels(panel, width, height, shared)
    faceted = panel.facet(facet=alt.Facet(f"{by}:N", title=None, sort=told), columns=columns)
    if len(told) % columns:  # or the places that no panel fills would show an axis
        faceted = faceted.resolve_axis(x="independent")
    return faceted if shared else faceted.resolve_scale(x="independent", y="independent")


def _without_crowded(
    chart: alt.Chart | alt.LayerChart, width: float | int
) -> alt.Chart | alt.LayerChart:
    """The chart without numbers in cells that are too narrow to hold them; hover tells them."""
    if not isinstance(chart, alt.LayerChart) or width / _columns(chart) >= LEAST_CELL:
        return chart
    made = chart.copy(deep=False)
    made.layer = [part for part in chart.layer if getattr(part.mark, "type", None) != "text"]
    return made


def _columns(chart: alt.LayerChart) -> int:
    """How many cells stand side by side in a map; 1 in what is none."""
    field = getattr(chart.layer[0].encoding.x, "shorthand", "")
    return markup.table(chart)[field[:-2]].nunique() if str(field).endswith(":O") else 1


def _isolated(marks: alt.Chart, series: str | None, of: str) -> alt.Chart:
    """Marks `of` a quantity that fade while another series is chosen in the legend."""
    if series is None:
        return marks
    chosen = alt.selection_point(
        name=re.sub(r"\W", "_", f"isolated {of}"), fields=[series], bind="legend"
    )
    opacity = alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.1))
    return marks.encode(opacity=opacity).add_params(chosen)


def _rules(
    frame: pd.DataFrame, rules: Mapping[str, float | int | Sequence[int]]
) -> list[alt.Chart]:
    """Labelled vertical lines: one each in every panel, of the chart's own data, or a facet would
    not divide it. What is not a number has none; a label may stand at several values."""
    layers = []
    placed = [(name, float(x)) for name, values in rules.items() for x in np.atleast_1d(values)]
    for name, value in placed:
        if not np.isfinite(value):
            continue
        base = alt.Chart(frame).transform_aggregate(rows="count()").encode(x=alt.datum(value))
        layers.append(base.mark_rule(strokeDash=[4, 4], opacity=0.6))
        text = base.mark_text(align="left", dx=4, baseline="top", fontSize=11)
        layers.append(text.encode(y=alt.value(2), text=alt.value(name)))
    return layers


def _sparse(name: str, matrix: np.ndarray, tokens: Sequence[str], least: float) -> dict[str, Any]:
    """One pattern as a row of three aligned lists, which is a fifth of the bytes of one object per
    entry.

    The diagonal is always there, so that every token has its place on both axes.
    """
    if matrix.shape != (len(tokens), len(tokens)):
        raise ValueError(f"Pattern {name!r} is {matrix.shape}, but there are {len(tokens)} tokens.")
    query, key = np.nonzero((matrix >= least) | np.eye(len(tokens), dtype=bool))
    label = [f"{i} {token}" for i, token in enumerate(tokens)]
    attention = [round(float(v), 3) for v in matrix[query, key]]
    return {
        "name": name,
        "query": [label[i] for i in query],
        "key": [label[i] for i in key],
        "attention": attention,
    }
