"""What a folded cell is called: by what it holds, so that a reader knows what he would open. The
last cell, `book.close()`, is not shown: it only writes what the chapter has found.

A cell may name its fold itself, in its metadata: `{"fold": "The same by hand"}`.
"""

from __future__ import annotations

import re
from typing import Any

FOLDED = "hide-input"
FIGURE, VERDICT = r"\bbook\.figure\(", r"\bbook\.(?:claim|not_testable)\("
# The first that a cell's code holds names its fold; the second name is for more than one.
NAMES = (
    (
        r"^(?:exercises|predictions)\.check\(",
        "How the answer is checked",
        "How the answers are checked",
    ),
    (FIGURE, "How this figure is drawn", "How these figures are drawn"),
    (r"\bbook\.table\(", "How this table is made", "How these tables are made"),
    (VERDICT, "How the verdict is reached", "How the verdicts are reached"),
    (r"^(import|from) ", "Imports and set-up", "Imports and set-up"),
    (r"\bbook\.expect\(", "Set-up", "Set-up"),
    (r"\bbook\.number\(", "How a number in the text is made", "How numbers in the text are made"),
)
TAGGED = {"injected-parameters": "Values of this run", "parameters": "Parameters"}
OTHER, CLOSING = "The steps between", "book.close()"


def named(notebook: Any) -> Any:
    """The notebook with a name for each fold, in the place where MyST-NB looks for it; parameters
    are always folded."""
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if set(tags) & TAGGED.keys() and FOLDED not in tags:
            cell.metadata["tags"] = tags = [*tags, FOLDED]
        if cell.source.strip() == CLOSING:
            cell.metadata["tags"] = [*tags, "remove-input"]
        if cell.cell_type == "code" and FOLDED in tags:
            said = name(cell)
            cell.metadata["mystnb"] = {"code_prompt_show": said, "code_prompt_hide": said}
    return notebook


def name(cell: Any) -> str:
    """What the fold of a cell is called."""
    if own := cell.metadata.pop("fold", None):
        return own
    tags = cell.metadata.get("tags", [])
    if tagged := [said for tag, said in TAGGED.items() if tag in tags]:
        return tagged[0]
    for pattern, one, more in NAMES:
        if found := re.findall(pattern, cell.source, re.M):
            said = one if len(found) == 1 else more
            judged = pattern == FIGURE and re.search(VERDICT, cell.source)
            return f"{said}, and the verdict" if judged else said
    return OTHER
