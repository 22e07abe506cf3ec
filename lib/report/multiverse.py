"""A specification curve: every universe of a multiverse analysis, sorted by what comes out of it,
above a matrix of the choices that it makes (Simonsohn, Simmons and Nelson, 2020).

Menus keep the universes that make a choice, and the curve is drawn anew for these. Without script
the picture shows all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

from lib.report import columns, play
from lib.report.theme import colors

WIDTH, HEIGHT, ROW = 560, 180, 14
ALL = "all"
BETWEEN = " | "  # a row of the matrix is "choice | value"; that of a choice alone is a heading


def specification_curve(
    frame: pd.DataFrame,
    value: str,
    choices: Sequence[str],
    kind: str,
    *,
    levels: Mapping[str, float | int] | None = None,
    scale: str = "linear",
) -> alt.VConcatChart:
    """One dot a universe over its rank by `value`, and below it what it chooses.

    frame: a row per universe: `value`, a column per choice, and `kind`, which colours it. levels:
    dashed lines and their names. The median of what is shown is drawn and named.
    Error: ValueError where two rows make the same choices: they would be one universe.
    """
    choices = list(choices)
    if frame.duplicated(choices).any():
        raise ValueError(f"Rows of a specification curve repeat the choices {choices}: average.")
    rows = sorted_by(frame[[*choices, value, kind]], value, choices)
    menus = [_menu(frame[choice]) for choice in choices]
    kept = alt.Chart().encode(color=_color(frame, kind))
    for menu in menus:
        kept = kept.transform_filter(f"{menu.param.name} === '{ALL}' || {menu.rows}")
    kept = kept.transform_window(place="row_number()", sort=[alt.SortField("order")])
    kept = kept.transform_joinaggregate(alike="count()", groupby=[kind])
    curve = _curve(kept, rows, value, levels or {}, scale)
    made = alt.vconcat(curve, _matrix(kept, frame, choices), spacing=4, data=rows)
    return made.add_params(*(menu.param for menu in menus))


def sorted_by(frame: pd.DataFrame, value: str, choices: Sequence[str]) -> pd.DataFrame:
    """From the smallest value to the largest, numbered by `order`; equal ones by their choices, the
    last one first, each as it is told."""
    frame = frame.reset_index(drop=True)
    keys = frame.assign(**{choice: pd.factorize(frame[choice])[0] for choice in choices})
    rows = frame.loc[keys.sort_values([value, *reversed(choices)]).index]
    return rows.reset_index(drop=True).assign(order=range(len(rows)))


def _menu(values: pd.Series) -> play.Control:
    """A menu that opens at all values of a choice."""
    return play.menu(pd.Series([ALL, *values], name=values.name))


def _color(frame: pd.DataFrame, kind: str) -> alt.Color:
    return alt.Color(f"{kind}:N", title=None, scale=colors(frame[kind]))


def _curve(
    kept: alt.Chart,
    rows: pd.DataFrame,
    value: str,
    levels: Mapping[str, float | int],
    scale: str,
) -> alt.LayerChart:
    """The dots, the median of those shown, and levels to hold them against."""
    room = alt.Scale(type=scale, nice=False, padding=8)
    y = alt.Y(f"{value}:Q", title=columns.title(value), scale=room)
    dots = kept.mark_circle(size=24, opacity=1, aria=False).encode(
        x=alt.X("place:Q", axis=None, scale=_places()),
        y=y,
        order=alt.Order("alike:Q", sort="descending"),  # what is rare lies on top
        tooltip=columns.tooltip(rows),
    )
    median = kept.transform_aggregate(median=f"median({value})").encode(
        color=alt.value("currentColor")
    )
    at = alt.Y("median:Q", title=columns.title(value))
    layers = [median.mark_rule().encode(y=at), dots, _named(median, levels)]
    for level in levels.values():
        line = alt.Chart().transform_aggregate(n="count()").encode(y=alt.datum(level))
        layers.append(line.mark_rule(strokeDash=[4, 4]))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _named(median: alt.Chart, levels: Mapping[str, float | int]) -> alt.Chart:
    """What the lines are, above the plot: in it the names would lie over dots where it is narrow,
    or where few universes are left."""
    rest = "".join(f"\u2003- - {name}" for name in levels)
    told = f"'— median ' + format(datum.median, '.2~f') + {json.dumps(rest)}"
    text = median.transform_calculate(told=told).mark_text(align="right", baseline="bottom", dy=-6)
    return text.encode(x=alt.value("width"), y=alt.value(0), text="told:N")


def _matrix(kept: alt.Chart, frame: pd.DataFrame, choices: Sequence[str]) -> alt.Chart:
    """A row per value of each choice under a heading, and a mark where a universe makes it."""
    names = [
        name
        for choice in choices
        for name in (choice, *(choice + BETWEEN + frame[choice].drop_duplicates()))
    ]
    axis = alt.Axis(
        labelExpr=f"split(datum.label, '{BETWEEN}')[1] || datum.label",
        labelFontWeight=alt.condition(
            f"indexof(datum.label, '{BETWEEN}') < 0", alt.value("bold"), alt.value("normal")
        ),
        ticks=False,
        domain=False,
        grid=False,
        labelPadding=6,
    )
    made = kept.transform_fold(list(choices), as_=["decision", "choice"])
    made = made.transform_calculate(
        row=f"datum.decision + '{BETWEEN}' + datum.choice",
        left="datum.place - 0.5",
        right="datum.place + 0.5",
    )
    return (
        made.mark_rect(aria=False)
        .encode(
            x=alt.X("left:Q", axis=None, scale=_places()),
            x2="right:Q",
            y=alt.Y("row:N", title=None, axis=axis, scale=alt.Scale(domain=names, padding=0.15)),
        )
        .properties(width=WIDTH, height=ROW * len(names))
    )


def _places() -> alt.Scale:
    return alt.Scale(zero=False, nice=False, padding=4)
