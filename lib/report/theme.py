"""House style of every chart: sizes, colours and type, known to Altair as the theme "book".

Text, axes and rules are `currentColor`, so they follow the page's theme, light or dark; the marks'
palettes are safe for colour-blind readers and keep a contrast of three to one on both backgrounds.
What has a colour in `OWN` has it in every figure of the book.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import altair as alt

WIDTH = 640  # the text column is 720 px wide
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00", "#3A8FC4"]  # after Okabe and Ito
BLUE, ORANGE, GREEN, PINK, OCHRE, SKY = PALETTE
MORE = ["#8A63D2", "#9C5B2E", "#6B8A1E"]  # for more than six series
GREY = "#7F7F7F"
OWN: dict[str, str] = {  # models, quantities and kinds of heads, each with one colour everywhere
    "1 layer": BLUE,
    "2 layers": ORANGE,
    "3 layers": GREEN,
    "2 layers, MLP": PINK,
    "1 layer, MLP": SKY,
    "in-context score": BLUE,
    "prefix matching": ORANGE,
    "previous token": GREEN,
    "loss": PINK,
    "loss reduction": BLUE,
    "format compliance": OCHRE,
    "pattern discovery": GREEN,
    "induction head": ORANGE,
    "induction heads": ORANGE,
    "previous-token head": GREEN,
    "previous-token heads": GREEN,
    "weak induction head": PINK,
    "positional copier": OCHRE,
    **dict.fromkeys(("other", "other head", "other heads", "controls", "a control"), GREY),
    **dict.fromkeys(("another universe", "misses or adds pairs"), GREY),
    "the paper's own": ORANGE,
}
BLANK = "#9A9A9A"  # a cell that holds nothing: no colour of viridis, and none of the page's grounds
GRID = "rgba(128,128,128,0.25)"
ZERO = "#440154"  # the low end of viridis
FONT = "Arial, Liberation Sans, sans-serif"  # metrics that the renderer of static pictures knows

INK: dict[str, Any] = {"labelColor": "currentColor", "titleColor": "currentColor"}
TEXT = INK | {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
LINES = {"gridColor": GRID, "domainColor": "currentColor", "tickColor": "currentColor"}
SYMBOLS = {"symbolStrokeWidth": 2, "symbolBaseFillColor": "currentColor", "symbolOpacity": 1}
GRADIENT = {"gradientHorizontalMinLength": 200, "gradientHorizontalMaxLength": 200}
STACKED = {"direction": "vertical", "anchor": "start", "margin": 6}  # two legends run into one
SCHEME = {"scheme": "viridis"}

CONFIG: dict[str, Any] = {
    "background": "transparent",
    "padding": 8,
    "font": FONT,
    "view": {
        "stroke": None,
        "continuousWidth": WIDTH,
        "discreteWidth": WIDTH,
        "continuousHeight": 280,
    },
    "axis": TEXT | LINES | {"labelLimit": 260},
    "axisX": {"labelAngle": 0, "labelOverlap": True, "labelSeparation": 6},
    "legend": TEXT | SYMBOLS | GRADIENT | {"orient": "top", "layout": {"top": STACKED}},
    "header": TEXT,
    "title": {"color": "currentColor", "fontSize": 13, "fontWeight": "bold", "anchor": "start"},
    "range": {"category": PALETTE, "ramp": SCHEME, "heatmap": SCHEME},
    "line": {"strokeWidth": 2},
    "point": {"filled": True, "size": 60},
    "rule": {"color": "currentColor"},
    "text": {"color": "currentColor", "fontSize": 12},
}


def colors(names: Iterable[Any]) -> alt.Scale:
    """The colours of a figure's series, in the order in which they are told: their own in `OWN`,
    the rest what is left of the palette."""
    told = list(dict.fromkeys(names))
    taken = {OWN[name] for name in told if name in OWN}
    free = [color for color in PALETTE + MORE if color not in taken]
    rest = [name for name in told if name not in OWN]
    given = {name: free[i % len(free)] for i, name in enumerate(rest)}
    return alt.Scale(domain=told, range=[(OWN | given)[name] for name in told])


alt.data_transformers.disable_max_rows()  # pages limit bytes instead, and name the figure


@alt.theme.register("book", enable=True)
def book() -> alt.theme.ThemeConfig:
    """The theme as Altair asks for it."""
    return {"config": CONFIG}
