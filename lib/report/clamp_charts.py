"""Charts of interventions that the reader switches on and off: heads taken out of a trained model
(chapter 4), clamps during training (chapter 12)."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from lib.report import play
from lib.report.theme import GREY, ORANGE, PALETTE, WIDTH

NAMES = 64  # pixels of the longest of these
NATS = ["early loss", "late loss", "score"]

# Switch -> what it says; together they choose a run by the name that the frame has.
SWITCHES = {
    "previous": "1: look at the token before ",
    "layer": "1, 2: all of layer 1 ",
    "match": "1 to 4: match ",
    "copy": "5: copy ",
}
CHOSEN = (
    "match && copy ? 'all' : match ? 'match' : layer && copy ? 'layer 1 and copy' : "
    "layer ? 'layer 1' : copy && previous ? 'untrained' : copy ? 'copy' : "
    "previous ? 'previous token' : 'none'"
)


def switchboard(frame: pd.DataFrame, left: Mapping[str, str]) -> alt.LayerChart:
    """Loss over sequences of the runs that the switches choose, over a span of its own each, beside
    an exponential that is learnt at the same time (dashed).

    frame: sequences, loss, exponential, clamp, seed. left: what to say of each choice.
    """
    switches = [
        alt.param(name=name, value=False, bind=alt.binding_checkbox(name=said))
        for name, said in SWITCHES.items()
    ]
    shown = alt.param(name="shown", expr=CHOSEN)
    base = alt.Chart(frame).transform_filter("datum.clamp == shown")
    base = base.encode(
        x=alt.X("sequences:Q", title="sequences", axis=alt.Axis(format=",~f")),
        detail="seed:N",
    )
    told = pd.DataFrame([{"clamp": name, "free": said} for name, said in left.items()])
    words = alt.Chart(told).transform_filter("datum.clamp == shown").mark_text(align="right", dy=8)
    lines = base.mark_line(color=PALETTE[0]).encode(
        y=alt.Y("loss:Q", title="loss (nats)"), tooltip=["clamp:N", "seed:N", "sequences:Q"]
    )
    smooth = base.mark_line(color=PALETTE[1], strokeDash=[4, 4], strokeWidth=1)
    layers = [
        lines.add_params(*switches, shown),
        smooth.encode(y="exponential:Q"),
        words.encode(x=alt.value("width"), y=alt.value(0), text="free:N"),
    ]
    return alt.layer(*layers).properties(width=WIDTH, height=280)


def removals(effects: pd.DataFrame, first: Mapping[str, str]) -> alt.VConcatChart:
    """What is left without the heads that the reader chooses, in grey what there was with all of
    them; all choices on one scale.

    effects: a row per `seed`, `removed`, `how` and `patterns`: the numbers `early loss`, `late
    loss` and `score` in nats, `share lost`, `prefix matching`, and which `heads` these are; where
    `nothing` is removed, what there was. first: what the controls open at, by column. Error:
    ValueError for a choice without a row.
    """
    asked = {
        "removed": play.menu(effects.removed, "take out", first["removed"]),
        "how": play.menu(effects.how, "put in", first["how"], buttons=True),
        "patterns": play.menu(effects.patterns, "patterns", first["patterns"], buttons=True),
        "seed": play.menu(effects.seed),
    }
    play.complete(effects, *asked.values())
    removed, *rest = asked.values()
    some = play.shown(alt.Chart(effects), *rest)
    said = _told(play.shown(some, removed))
    some = some.transform_filter(f"datum.removed === 'nothing' || {removed.rows}")
    told = "datum.removed === 'nothing' ? 'untouched' : 'heads removed'"
    some = some.transform_calculate(which=told)
    ends = effects[NATS].min(axis=None), effects[NATS].max(axis=None)
    panels = [
        _bars(some, NATS, ends, "losses and in-context score (nats)"),
        _bars(some, ["prefix matching"], (0.0, 1.0), "prefix matching, induction heads"),
    ]
    made = alt.vconcat(said, *panels, data=effects, spacing=16)
    return made.add_params(*(control.param for control in asked.values()))


def _told(chosen: alt.Chart) -> alt.Chart:
    """In words, which heads are gone and what it costs."""
    lost = "format(100 * datum['share lost'], '.0f') + ' % of the in-context score is lost'"
    words = chosen.transform_calculate(told=f"['out: ' + datum.heads, {lost}]")
    words = words.mark_text(align="left", baseline="top", fontSize=13, lineHeight=18, dx=-NAMES)
    words = words.encode(text="told:N", x=alt.value(0), y=alt.value(0))
    return words.properties(width=WIDTH - 90, height=36, view=alt.ViewBackground(stroke=None))


def _bars(
    some: alt.Chart, columns: list[str], ends: tuple[float, float], title: str
) -> alt.LayerChart:
    """A pair of bars for each column, with their values at the right."""
    low, high = min(0.0, float(ends[0])), float(ends[1])
    domain = [low, high + 0.12 * (high - low)]  # the last part is for the values
    axis = alt.Axis(tickCount=6)
    alone = len(columns) == 1  # the title says what it is
    colors = alt.Scale(domain=["untouched", "heads removed"], range=[GREY, ORANGE])
    base = some.transform_fold(columns, ["what", "value"]).encode(
        y=alt.Y("what:N", sort=columns, title=None, axis=None if alone else alt.Axis()),
        yOffset=alt.YOffset("which:N", sort=colors.domain),
        color=alt.Color("which:N", scale=colors, title=None),
        tooltip=["what:N", "which:N", "heads:N", alt.Tooltip("value:Q", format=".3f")],
    )
    bars = base.mark_bar().encode(
        x=alt.X("value:Q", title=None, scale=alt.Scale(domain=domain, nice=False), axis=axis)
    )
    values = base.mark_text(align="right", fontSize=11).encode(
        x=alt.value("width"),
        text=alt.Text("value:Q", format=".2f"),
        color=alt.value("currentColor"),
    )
    height = 38 * len(columns)
    title = alt.Title(title, fontSize=12, dx=-NAMES if alone else 0)
    return alt.layer(bars, values).properties(width=WIDTH - 90, height=height, title=title)
