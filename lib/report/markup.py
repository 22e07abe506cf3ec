"""How a chart becomes part of a page that needs no other host.

`html` gives a static SVG that is always there and the chart's specification beside it, which the
site's one shared script (`bundle`) brings to life: hover, menus. `table` gives the data behind a
chart.
"""

from __future__ import annotations

import html as _html
import json
import re
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

MAX_BYTES = 2_000_000
NEEDLESS = re.compile(r' (?:aria-[a-z]+|role|pointer-events)="[^"]*"| opacity="1"')
PLACES = re.compile(r' (?:d|transform|x|y|x1|x2|y1|y2|width|height)="[^"]*"')
DECIMALS = re.compile(r"(\.\d)\d+")


def table(chart: alt.TopLevelMixin) -> pd.DataFrame:
    """The frame behind a chart: its own data or that of its first part that has any."""
    data = getattr(chart, "data", None)
    if isinstance(data, pd.DataFrame):
        lists = [c for c in data.columns if data[c].map(lambda v: isinstance(v, list)).all()]
        return data.explode(lists, ignore_index=True) if len(data) and lists else data
    for key in ("layer", "hconcat", "vconcat", "concat", "spec"):
        parts = getattr(chart, key, None)
        for part in parts if isinstance(parts, list) else [parts]:
            if isinstance(part, alt.TopLevelMixin) and not (found := table(part)).empty:
                return found
    return pd.DataFrame()


def spec(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The chart's Vega-Lite specification: numbers to five digits, and never wider than `WIDTH`
    with its axes."""
    made = _rounded(chart.to_dict())
    single = not {"facet", "hconcat", "vconcat", "concat", "repeat"} & made.keys()
    if single and isinstance(made.get("width"), int | float):
        made["autosize"] = {"type": "fit-x", "contains": "padding"}
    return made


def html(chart: alt.TopLevelMixin, name: str, description: str) -> str:
    """Markup of a chart: static SVG, specification, and a place for menus. `name` must be unique on
    its page."""
    made = spec(chart)
    made.pop("$schema", None)  # the address of another host, which no page should name
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.replace("</", "<\\/")
    if len(text) > MAX_BYTES:
        raise ValueError(
            f"Figure {name!r} would put {len(text) / 1e6:.1f} MB into the page: draw fewer rows "
            f"(aggregate or sample)."
        )
    picture = _seen(_unique_ids(vl_convert.vegalite_to_svg(made), name))
    label = _html.escape(description, quote=True)
    return (
        f'<div class="bk-chart" id="chart-{name}"><div class="bk-scroll" tabindex="0">'
        f'<div class="bk-canvas" role="img" aria-label="{label}">{picture}</div></div>'
        f'<div class="bk-controls"></div><script type="application/json">{text}</script></div>'
    )


def bundle() -> str:
    """The one script that every page with charts shares: Vega, Vega-Lite and Vega-Embed, in a scope
    of its own."""
    return "(function () {\n" + vl_convert.javascript_bundle() + "\n})();\n"


def _rounded(value: Any) -> Any:
    """Floats to five significant digits; what is not a number (NaN, infinity) becomes null, as JSON
    has none."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else None
    return value


def _unique_ids(svg: str, name: str) -> str:
    """Number the ids inside an SVG anew under `name`: the renderer counts on from chart to chart,
    and pages hold many."""
    ids = {old: f"{name}-{i}" for i, old in enumerate(re.findall(r'\bid="([^"]+)"', svg))}
    svg = re.sub(r'\bid="([^"]+)"', lambda m: f'id="{ids[m[1]]}"', svg)
    return re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{ids[m[1]]})", svg)


def _seen(svg: str) -> str:
    """What is seen of a picture, to a tenth of a pixel, which is a third of the bytes: it stands
    under a name, hidden from screen readers, so that what it tells them of each mark goes too."""
    head, marks = svg.split(">", 1)
    marks = NEEDLESS.sub("", marks)
    return (
        head.replace("<svg", '<svg aria-hidden="true"', 1)
        + ">"
        + PLACES.sub(lambda place: DECIMALS.sub(r"\1", place[0]), marks)
    )
