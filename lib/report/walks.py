"""A chart to walk through: one prompt, and what a model answers to it as training goes on.

Menus choose the task and the number of shots, a slider the moment. Without script the picture shows
the first task at the last moment.
"""

from __future__ import annotations

import altair as alt
import pandas as pd

from lib.report.theme import PALETTE, WIDTH

LEFT = 270  # of the prompt; the answers have the rest


def answers(lines: pd.DataFrame, said: pd.DataFrame, shots: int) -> alt.HConcatChart:
    """The prompt's lines beside the most probable next words.

    lines: a row per task, shots and line: `text`. said: a row per task,
    shots and moment (numbered from 0): `step`, and lists `word` and `probability`. shots: shown
    first.
    """
    task, moments = said.task.iloc[0], int(said.moment.max())
    menus = [
        alt.param("task", value=task, bind=_menu(said.task, "task ")),
        alt.param("shots", value=shots, bind=_menu(said.shots, "shots ")),
    ]
    slider = alt.binding_range(min=0, max=moments, step=1, name="moment ")
    moment = alt.param("moment", value=moments, bind=slider)
    asked = "datum.task == task && datum.shots == shots"
    prompt = _prompt(lines, asked)
    bars = _bars(said, f"{asked} && datum.moment == moment")
    return alt.hconcat(bars, prompt).add_params(*menus, moment)


def _menu(values: pd.Series, name: str) -> alt.Binding:
    return alt.binding_select(options=list(values.unique()), name=name)


def _prompt(lines: pd.DataFrame, asked: str) -> alt.Chart:
    """The lines of the chosen prompt, the last one at the bottom."""
    count = int(lines.line.max()) + 1
    return (
        alt.Chart(lines, title=alt.Title("the prompt", fontSize=12, anchor="start"))
        .transform_filter(asked)
        .mark_text(align="left", baseline="middle", fontSize=11, font="monospace")
        .encode(
            y=alt.Y("line:O", axis=None, scale=alt.Scale(domain=[*range(count)])),
            x=alt.value(0),
            text="text:N",
            color=alt.value("currentColor"),
        )
        .properties(width=LEFT, height=15 * count, view=alt.ViewBackground(stroke=None))
    )


def _bars(said: pd.DataFrame, asked: str) -> alt.LayerChart:
    """The most probable next words at the chosen moment, and the step that it is."""
    base = alt.Chart(said).transform_filter(asked)
    flat = base.transform_flatten(["word", "probability"])
    bars = flat.mark_bar(color=PALETTE[0]).encode(
        x=alt.X("probability:Q", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y(
            "word:N", sort=alt.EncodingSortField("probability", order="descending"), title=None
        ),
        tooltip=["step:Q", "word:N", alt.Tooltip("probability:Q", format=".3f")],
    )
    step = base.transform_calculate(told="'step ' + datum.step").mark_text(
        align="right", baseline="bottom", fontSize=12, dy=-6
    )
    step = step.encode(text="told:N", x=alt.value(WIDTH - LEFT - 110), y=alt.value(0))
    return alt.layer(bars, step, data=said).properties(width=WIDTH - LEFT - 110, height=150)
