"""Charts to walk through training with: a slider chooses the moment, and all panels follow.

`answers` (chapter 8) shows one prompt and what a model answers to it; `change` (chapter 2) the
losses, the scores of all heads, and where one head looks. Without script the pictures show the
moments at which they open.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import altair as alt
import pandas as pd

from lib.report import charts, play
from lib.report.theme import PALETTE, WIDTH, ZERO, colors

LEFT = 270  # of the prompt; the answers have the rest
AXES = 70  # room for the axis beside a panel
MAP = 190  # of the maps of heads; where one head looks has what is left

# --- one prompt and its answers ---


def answers(lines: pd.DataFrame, said: pd.DataFrame, shots: int) -> alt.HConcatChart:
    """The prompt's lines beside the most probable next words.

    lines: a row per task, shots and line: `text`. said: a row per task,
    shots and moment (numbered from 0): `step`, and lists `word` and `probability`. shots: shown
    first. Opens at the last moment.
    """
    asked = [play.menu(said.task), play.menu(said.shots, opening=shots)]
    steps = sorted(set(said.step))
    moment = play.slider(steps, "step", float(steps[-1]))
    play.complete(said, *asked, moment)
    made = alt.hconcat(_bars(said, asked, moment), _prompt(lines, asked))
    menus = [control.param for control in asked]
    return made.add_params(*menus).properties(usermeta=play.told(moment))


def _prompt(lines: pd.DataFrame, asked: list[play.Control]) -> alt.Chart:
    """The lines of the chosen prompt, the last one at the bottom."""
    base = alt.Chart(lines, title=alt.Title("the prompt", fontSize=12, anchor="start"))
    return (
        play.shown(base, *asked)
        .mark_text(align="left", baseline="middle", fontSize=11, font="monospace")
        .encode(
            y=alt.Y("line:O", axis=None),  # as many as there are: a fixed height would leave a gap
            x=alt.value(0),
            text="text:N",
            color=alt.value("currentColor"),
        )
        .properties(width=LEFT, height=alt.Step(15), view=alt.ViewBackground(stroke=None))
    )


def _bars(said: pd.DataFrame, asked: list[play.Control], moment: play.Control) -> alt.LayerChart:
    """The most probable next words at the chosen moment, and the step that it is.

    The step brings the slider: a part that does lays a net over its marks, whose tips know no
    words.
    """
    base = play.shown(alt.Chart(said), *asked, moment)
    flat = base.transform_flatten(["word", "probability"])
    bars = flat.mark_bar(color=PALETTE[0]).encode(
        x=alt.X("probability:Q", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y(
            "word:N",
            sort=alt.EncodingSortField("probability", order="descending"),
            title=None,
            axis=alt.Axis(minExtent=60),  # or words longer than those at the opening are cut
        ),
        tooltip=["step:Q", "word:N", alt.Tooltip("probability:Q", format=".3f")],
    )
    step = _step(base).encode(x=alt.value("width"), y=alt.value(0)).add_params(moment.param)
    return alt.layer(step, bars, data=said).properties(width=WIDTH - LEFT - 110, height=150)


def _step(base: alt.Chart) -> alt.Chart:
    """Which step the chosen moment is."""
    said = base.transform_calculate(told="'step ' + format(datum.step, ',')")
    return said.mark_text(align="right", baseline="bottom", fontSize=12, dy=-6).encode(
        text="told:N"
    )


# --- the phase change ---


def change(
    course: pd.DataFrame,
    heads: pd.DataFrame,
    looks: pd.DataFrame,
    words: Sequence[str],
    first: str,
    opening: float,
) -> alt.VConcatChart:
    """Loss and in-context score with a rule at the chosen step, the scores of every head there, and
    where one head looks; a menu chooses the model, and a press on the curves the step, too.

    course: a row per `model` and `step` with `loss` and `in-context score` in nats. heads: one per
    model, step, `layer` and `head` with `prefix matching`, `previous token`, and whether it is the
    one that `looks`. looks: one per model and step with its `name` and lists `query`, `key` (places
    in the text, whose tokens are `words`) and `attention`. It opens at the model `first` and the
    step `opening`.
    Error: ValueError for models of which some have no snapshot at some step.
    """
    steps = sorted(set(course.step))
    moment, model = play.slider(steps, "step", opening), play.menu(course.model, opening=first)
    number = {step: i for i, step in enumerate(steps)}
    frames = [frame.assign(moment=frame.step.map(number)) for frame in (course, heads, looks)]
    for frame in frames:
        play.complete(frame, model, moment)
    course, heads, looks = frames
    chosen = [model, moment]
    maps = _map(heads, "prefix matching", chosen, "looks") & _map(heads, "previous token", chosen)
    below = alt.hconcat(maps, _looks(looks, words, chosen)).resolve_scale(color="independent")
    made = alt.vconcat(_course(course, model, moment), below).add_params(model.param)
    return made.properties(usermeta=play.told(moment)).resolve_scale(color="independent")


def _course(course: pd.DataFrame, model: play.Control, moment: play.Control) -> alt.LayerChart:
    """Both curves, and where on them the chosen moment is."""
    base = play.shown(alt.Chart(course), model)
    told = ["in-context score", "loss"]
    ends = [float(course[told].min(axis=None)), float(course[told].max(axis=None))]
    line = base.transform_fold(told, ["quantity", "nats"]).encode(
        x=alt.X("step:Q", axis=alt.Axis(format=",~f")),
        y=alt.Y("nats:Q", title="nats", scale=alt.Scale(domain=ends, nice=True)),  # of all models
        color=alt.Color("quantity:N", scale=colors(told), title=None),
    )
    here = play.shown(line, moment)
    target = base.mark_point(size=400, opacity=0).encode(
        x="step:Q",
        y=alt.value(75),
        tooltip=["step:Q", *(alt.Tooltip(f"{name}:Q", format=".2f") for name in told)],
    )
    rule = play.shown(base, moment).mark_rule(strokeWidth=1.5).encode(x="step:Q")
    step = _step(play.shown(base, moment)).encode(x=alt.value("width"), y=alt.value(0))
    layers = [line.mark_line(), rule, here.mark_point(size=80, opacity=1), step]
    layers.append(target.add_params(moment.param))
    return alt.layer(*layers, data=course).properties(width=WIDTH - AXES, height=150)


def _map(
    heads: pd.DataFrame, kind: str, chosen: list[play.Control], framed: str | None = None
) -> alt.LayerChart:
    """A cell per head, its number in it, and a frame round the one that is `framed`."""
    said = heads.assign(layer=heads.layer.astype(str))  # a model has as many rows as layers
    made = charts.heatmap(said, kind, framed, domain=(0.0, 1.0), numbers=True)
    made = play.shown(made, *chosen).encode(color=alt.Color(legend=None))
    return made.properties(
        title=alt.Title(f"{kind}, every head", fontSize=12), width=MAP, height=alt.Step(26)
    )


def _looks(looks: pd.DataFrame, words: Sequence[str], chosen: list[play.Control]) -> alt.Chart:
    """The attention of the head that looks at the chosen moment, as far as it is not nothing."""
    names = json.dumps(dict(zip(looks.model, looks.name, strict=True)))
    title = alt.expr(f"'where head ' + {names}[{chosen[0].param.name}] + ' looks'")
    shown = play.shown(alt.Chart(looks, title=alt.Title(title, fontSize=12)), *chosen)
    shown = shown.transform_flatten(["query", "key", "attention"])
    token = json.dumps(list(words))
    for side in ("query", "key"):
        said = f"datum.{side} + ' ' + {token}[datum.{side}]"
        shown = shown.transform_calculate(**{f"{side} token": said})
    sides = {
        "axis": alt.Axis(labelExpr=f"{token}[datum.value]", labelFontSize=9, ticks=False),
        "scale": alt.Scale(domain=[*range(len(words))], paddingInner=0),
    }
    color = alt.Color("attention:Q", scale=alt.Scale(scheme="viridis", domain=[0, 1]))
    marks = shown.mark_rect().encode(
        x=alt.X("key:O", title="key (looked at)", **sides),
        y=alt.Y("query:O", title="query (looks)", **sides),
        color=color.legend(orient="bottom"),
        tooltip=["query token:N", "key token:N", alt.Tooltip("attention:Q", format=".2f")],
    )
    size = WIDTH - MAP - 2 * AXES - 30
    return marks.properties(width=size, height=size, view=alt.ViewBackground(fill=ZERO))
