"""House style of every chart: sizes, colours and type, known to Altair as the theme "book".

Text, axes and rules are `currentColor`, so they follow the page's theme, light or dark; the marks'
palettes are safe for colour-blind readers and keep a contrast of about three to one on both
backgrounds.
"""

from __future__ import annotations

from typing import Any

import altair as alt

WIDTH = 640  # the text column is 720 px wide
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07D00", "#3A8FC4"]  # after Okabe and Ito
GRID = "rgba(128,128,128,0.25)"
ZERO = "#440154"  # the low end of viridis
FONT = "Arial, Liberation Sans, sans-serif"  # metrics that the renderer of static pictures knows

INK: dict[str, Any] = {"labelColor": "currentColor", "titleColor": "currentColor"}
TEXT = INK | {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
LINES = {"gridColor": GRID, "domainColor": "currentColor", "tickColor": "currentColor"}
SYMBOLS = {"symbolStrokeWidth": 2, "symbolBaseFillColor": "currentColor"}
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
    "axis": TEXT | LINES | {"labelLimit": 220},
    "axisX": {"labelAngle": 0, "labelOverlap": True},
    "legend": TEXT | SYMBOLS | {"orient": "top"},
    "header": TEXT,
    "title": {"color": "currentColor", "fontSize": 13, "fontWeight": "bold", "anchor": "start"},
    "range": {"category": PALETTE, "ramp": SCHEME, "heatmap": SCHEME},
    "line": {"strokeWidth": 2},
    "point": {"filled": True, "size": 60},
    "rule": {"color": "currentColor"},
    "text": {"color": "currentColor", "fontSize": 12},
}

alt.data_transformers.disable_max_rows()  # pages limit bytes instead, and name the figure


@alt.theme.register("book", enable=True)
def book() -> alt.theme.ThemeConfig:
    """The theme as Altair asks for it."""
    return {"config": CONFIG}
