"""What the search quotes: beside each page a file with its text alone.

Sphinx's search fetches every page that it lists, for two lines of its text; a chapter holds
megabytes of charts. Here it fetches what is left without them.
"""

from __future__ import annotations

import re
from pathlib import Path

from lib import files
from pipeline.markup import ARTICLE

SUFFIX = ".txt"
# What is no text, tags within a sentence, and tags around one.
GONE = re.compile(r'<(svg|script|style)\b.*?</\1>|<a class="headerlink".*?</a>', re.S)
WITHIN = re.compile(r"</?(?:span|wbr|em|strong|code|a)\b[^>]*>")
AROUND = re.compile(r"</?(?:p|tr|td|th|tbody|thead|table|br)\b[^>]*>")
TAG = re.compile(r"<(\w+)([^>]*)>")
KEPT = re.compile(r' id="[^"]*"| class="bk-folds"')  # places that results lead to, and no text


def text(page: str) -> str:
    """The text of a page, as HTML with places in it; empty for a page without any."""
    found = ARTICLE.search(page)
    bare = AROUND.sub(" ", WITHIN.sub("", GONE.sub("", found[1]))) if found else ""
    short = TAG.sub(lambda tag: f"<{tag[1]}{''.join(KEPT.findall(tag[2]))}>", bare)
    return " ".join(short.split())


def site(folder: Path) -> None:
    """Write the texts of a site's pages, and let its search ask for them."""
    for path in sorted(folder.rglob("*.html")):
        if "_static" not in path.relative_to(folder).parts and (said := text(path.read_text())):
            files.write_whole(path.with_suffix(SUFFIX), said)
    options = folder / "_static" / "documentation_options.js"
    asked = options.read_text().replace("FILE_SUFFIX: '.html'", f"FILE_SUFFIX: '{SUFFIX}'")
    files.write_whole(options, asked)
