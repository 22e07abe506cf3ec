"""The page that a host shows where there is none: `404.html`, at the top of a site.

Such a page is shown at any depth, so its text (`book/404.html`) finds the top of the book by a
script, and needs no style sheet of the site.
"""

from __future__ import annotations

import re
import string
from pathlib import Path

import yaml

from lib import files

PAGE = "404.html"
TITLE = re.compile(r"<title>(.*?)</title>", re.S)
PAGES = re.compile(r'<div class="bd-toc-item[^>]*>(.*?)</div>', re.S)


def site(folder: Path, book: Path) -> None:
    """Write the page of a site from its text in the staged book, with the title and the list of
    pages of the home page."""
    home = f"{yaml.safe_load((book / '_toc.yml').read_text())['root']}.html"
    front = (folder / home).read_text()
    filled = string.Template((book / PAGE).read_text()).substitute(
        home=home, title=TITLE.search(front)[1].strip(), pages=PAGES.search(front)[1].strip()
    )
    files.write_whole(folder / PAGE, filled)
