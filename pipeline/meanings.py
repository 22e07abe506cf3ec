"""What the columns of a chapter's data mean, as `book/columns.yml` says it today: pages and their
files are filled in when the site is built, so that a better word needs no chapter to run again.
"""

from __future__ import annotations

import html
import io
import re
from typing import Any

import pandas as pd

from lib.report import columns

LIST = re.compile(re.escape(columns.LISTED) + r"<dl>(.*?)</dl>", re.S)
COLUMN = re.compile(r"<dt>(.*?)</dt>")


def listed(notebook: Any) -> Any:
    """The notebook with today's meanings under its figures and tables."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data:
                data["text/html"] = LIST.sub(_list, data["text/html"])
    return notebook


def _list(found: re.Match[str]) -> str:
    names = [html.unescape(name) for name in COLUMN.findall(found[1])]
    return columns.listed(pd.DataFrame(columns=names))


def table(text: str) -> str:
    """A chapter's `columns.csv` with today's units and meanings."""
    kept = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)[["file", "column"]]
    known = columns.dictionary(pd.DataFrame(columns=kept["column"]))
    return kept.assign(unit=known["unit"], means=known["means"]).to_csv(index=False)
