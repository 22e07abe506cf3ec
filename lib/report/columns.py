"""What the columns of the book's data are called, their units and what they mean: one dictionary,
`book/columns.yml`, for axes, for the tips of marks, for the list under a figure, and for whoever
reads the CSV files.
"""

from __future__ import annotations

import html
from fnmatch import fnmatchcase
from functools import cache

import altair as alt
import pandas as pd
import yaml

from lib.files import ROOT

PATH = ROOT / "book" / "columns.yml"
LISTED = "<p>The columns of its data:</p>"


@cache
def load() -> dict[str, dict[str, str]]:
    """Column, or a pattern of columns -> what it `means`, and where there is more to say its
    `title`, `unit` and the `format` of its numbers."""
    return yaml.safe_load(PATH.read_text())


def entry(column: str) -> dict[str, str]:
    """What is known of a column; empty where nothing is."""
    known = load()
    fits = (known[name] for name in known if fnmatchcase(column, name))
    return known.get(column) or next(fits, {})


def title(column: str) -> str:
    """What a reader sees instead of the column's name; nothing where another place names it."""
    return entry(column).get("title", column)


def axis(column: str) -> dict[str, str]:
    """How its numbers are written on an axis and in tips: as the prose writes them."""
    return {"format": entry(column)["format"]} if "format" in entry(column) else {}


def tooltip(frame: pd.DataFrame) -> list[alt.Tooltip]:
    """A tip of every column of plain values, numbers to three digits."""
    made = []
    for column in frame.columns:
        real = pd.api.types.is_float_dtype(frame[column])
        kind, more = ("Q", {"format": ".3~g"} | axis(column)) if real else ("N", {})
        made.append(alt.Tooltip(f"{column}:{kind}", title=title(column) or column, **more))
    return made


def dictionary(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per column of some data: `column`, `unit`, and what it `means`; nothing where nobody
    has said so in `book/columns.yml`."""
    rows = [{"column": str(name), **entry(str(name))} for name in frame.columns]
    return pd.DataFrame(rows, columns=["column", "unit", "means"], dtype=object).fillna("")


def listed(frame: pd.DataFrame) -> str:
    """The columns of some data as a list for the page, units in parentheses."""
    items = []
    for column, unit, means in dictionary(frame).itertuples(index=False):
        said = f"{means} ({unit})" if unit else means
        items.append(f"<dt>{html.escape(column)}</dt><dd>{html.escape(said)}</dd>")
    return f"{LISTED}<dl>{''.join(items)}</dl>"
