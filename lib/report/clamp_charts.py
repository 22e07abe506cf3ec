"""Charts of chapter 12: clamps that the reader switches on and off."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from lib.report.theme import PALETTE, WIDTH

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
    an exponential with the same start and learning time (dashed).

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
