"""Figures to play with: a chart whose controls choose what it shows.

Idea. A control is a parameter of the chart that holds one value of a column, bound to a menu, a
slider or a switch; what a part of the chart shows are the rows that have the values chosen. Each
control opens at a value that the chapter names, and so does the static picture, which stands where
no script runs:

    seed = play.menu(frame.seed)
    moment = play.slider(steps, "training step", opening=240)
    play.complete(frame, seed, moment)                  # no choice leaves the figure empty
    chart = play.shown(chart, seed, moment).add_params(seed.param, moment.param)

A slider counts moments from 0 on, in a column `moment`, as they lie at uneven steps; `told` hands
the page what each of them is called.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import altair as alt
import pandas as pd

from lib.report import markup

Chart = TypeVar("Chart", alt.Chart, alt.LayerChart)
DRAGGED = "pointerdown, [pointerdown, window:pointerup] > pointermove"  # a press sets the moment


@dataclass(frozen=True)
class Control:
    """What chooses one of the values of a column; `names` are those of a slider's moments."""

    column: str
    values: Sequence[Any]
    param: alt.Parameter
    names: Sequence[str] = ()

    @property
    def rows(self) -> Any:
        """Of a row: whether it has the value chosen."""
        if self.names:
            return self.param  # a selection, which a press on the chart moves as well
        return f"datum['{self.column}'] === {self.param.name}"


def menu(
    values: pd.Series, label: str | None = None, opening: Any = None, *, buttons: bool = False
) -> Control:
    """A menu of the different values of a column, as they are told, or a row of buttons; opens at
    the first unless another is named. Error: ValueError for an opening value that is none of
    them."""
    options = values.drop_duplicates().tolist()
    value = options[0] if opening is None else opening
    if value not in options:
        raise ValueError(f"{values.name!r} cannot open at {value!r}: there are {options}.")
    bind = alt.binding_radio if buttons else alt.binding_select
    bound = bind(options=options, name=f"{label or values.name} ")
    name = "chosen_" + re.sub(r"\W", "_", str(values.name))
    return Control(str(values.name), options, alt.param(name=name, value=value, bind=bound))


def slider(steps: Sequence[int], label: str, opening: float) -> Control:
    """A slider over moments, the steps of training in their order; opens at the one nearest to a
    step. A part of the chart that adds its parameter lets a press or a drag set it, too."""
    at = min(range(len(steps)), key=lambda i: abs(steps[i] - opening))
    bound = alt.binding_range(min=0, max=len(steps) - 1, step=1, name=f"{label} ")
    pressed = {"nearest": True, "on": DRAGGED, "clear": False, "empty": False}
    param = alt.selection_point("moment", fields=["moment"], bind=bound, value=at, **pressed)
    names = [f"{step:,.0f}" for step in steps]
    return Control("moment", range(len(steps)), param, names)


def shown(chart: Chart, *controls: Control) -> Chart:
    """The chart, with the rows of the values chosen."""
    for control in controls:
        chart = chart.transform_filter(control.rows)
    return chart


def complete(frame: pd.DataFrame, *controls: Control) -> None:
    """Error: ValueError for a choice of which the frame has no row: a reader would see nothing."""
    columns = [control.column for control in controls]
    there = set(frame[columns].itertuples(index=False, name=None))
    for choice in product(*(control.values for control in controls)):
        if choice not in there:
            said = ", ".join(f"{name} {value}" for name, value in zip(columns, choice, strict=True))
            raise ValueError(f"Nothing to show for {said}: give the frame rows for every choice.")


def told(slider: Control) -> dict[str, Any]:
    """What a chart hands the page as `usermeta`: what the moments of a slider are called."""
    return {"told": {f"{slider.param.name}_{slider.column}": list(slider.names)}}


def with_menus(chart: alt.LayerChart, columns: Sequence[str]) -> alt.LayerChart:
    """The chart with a menu for each of some columns; it shows the rows of the values chosen.

    Without a script it shows the first value of each.
    """
    frame = markup.table(chart)
    menus = [menu(frame[column]) for column in columns]
    complete(frame, *menus)
    return shown(chart, *menus).add_params(*(chosen.param for chosen in menus))
