"""`python -m pipeline.paper PROFILE [EDITION]`: a profile's site as one PDF, in that site.

All pages, in the order of the table of contents, become one document without a script, which a
Chromium prints in the light: links within the book, bookmarks and numbers of pages stay. What is
folded on the site is left out. The style of paper is that of the site's own pages when they are
printed (`@media print` in `book/_static/book.css`).
"""

from __future__ import annotations

import datetime
import html
import io
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DictionaryObject, NameObject, TextStringObject

from lib import files
from pipeline import clean, editions
from pipeline.markup import ARTICLE

PDF = "induction-heads.pdf"
PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
# Nothing is fetched but from the disk, so a browser that takes longer has stopped.
MINUTES = 15
TITLE = re.compile(r'<h1>(.*?)<a class="headerlink"', re.S)
HEADING = re.compile(r'<h\d>(.*?)<a class="headerlink"', re.S)
SHEET = re.compile(r'<link [^>]*href="([^"?]*\.css)[^"]*"[^>]*>')
SCRIPT = re.compile(r"<script\b.*?</script>", re.S)
ABOUT = re.compile(
    r'(<section id="about-the-book">.*?<ul class="simple">\n)(<li class="bk-pdf">.*?</li>\n)?', re.S
)


def chapters(toc: Path) -> list[tuple[str, list[str]]]:
    """The pages of a table of contents without their ending, part by part; the home page first, in
    a part without a name."""
    said = yaml.safe_load(toc.read_text())
    parts = [(p["caption"], [c["file"] for c in p["chapters"]]) for p in said["parts"]]
    return [("", [said["root"]]), *parts]


def name(page: str) -> str:
    """What a page, such as `chapters/04_ablation`, is called in the document."""
    return page.replace("/", "-")


def body(site: Path, page: str, pages: list[str]) -> str:
    """The text of a page: names of places get that of the page before them, links lead to other
    places of the document, and those to files that it does not hold are none."""
    found = ARTICLE.search((site / f"{page}.html").read_text())
    if not found:
        raise ValueError(f"{page}.html has no text: build the site again with `make book`.")
    text = SCRIPT.sub("", found[1])
    text = re.sub(r'(\bid="|url\(#)', rf"\g<1>{name(page)}--", text)
    return re.sub(r' href="([^"]*)"', lambda link: _link(link[1], page, pages), text)


def _link(target: str, page: str, pages: list[str]) -> str:
    if re.match(r"[a-z]+:", target):
        return f' href="{target}"'
    place, _, fragment = target.partition("#")
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(page), place)) if place else page
    whole = whole.removesuffix(".html")
    return f' href="#{name(whole)}--{fragment}"' if whole in pages else ""


def title(text: str) -> str:
    """The heading of a page, as HTML."""
    return found[1].strip() if (found := TITLE.search(text)) else ""


def document(site: Path, toc: Path, numbers: dict[str, int] | None = None) -> str:
    """The whole book as one page of HTML; of it the front alone, if `numbers` of pages are given
    for the contents."""
    parts = chapters(toc)
    pages = [page for _, some in parts for page in some]
    texts = {page: body(site, page, pages) for page in pages}
    titles = {page: title(text) for page, text in texts.items()}
    heads, sections = "", ""
    for place, (page, text) in enumerate(texts.items()):
        heads += f"@page p{place} {{ @top-left {{ content: {_quoted(titles[page])}; }} }}\n"
        sections += f'<section class="bk-sheet" id="{name(page)}--" style="page: p{place}">'
        sections += f"{text}</section>"
    home = (site / f"{pages[0]}.html").read_text()
    sheets = "".join(
        f'<link rel="stylesheet" href="../{site.name}/{href}">' for href in SHEET.findall(home)
    )
    front = contents(parts, titles, numbers or {})
    return (
        '<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head>'
        f'<meta charset="utf-8"><title>{titles[pages[0]]}</title>{sheets}<style>{heads}</style>'
        '</head><body class="bk-paper"><main class="bd-content"><div class="bd-article">'
        f"{front}{'' if numbers else sections}</div></main></body></html>"
    )


def plain(text: str) -> str:
    """HTML as plain text."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())


def _quoted(text: str) -> str:
    """HTML as a string of CSS."""
    return '"' + plain(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def contents(
    parts: list[tuple[str, list[str]]], titles: dict[str, str], numbers: dict[str, int]
) -> str:
    """The title page: what the book is called, when it was printed, and where each page begins."""
    lines = []
    for part, pages in parts[1:]:
        lines.append(f"<p><strong>{html.escape(part)}</strong></p>")
        for page in pages:
            number = numbers.get(page, 0)
            lines.append(
                f'<p class="bk-entry"><a href="#{name(page)}--">{titles[page]}</a>'
                f"<span></span>{number}</p>"
            )
    today = datetime.date.today().isoformat()
    root = parts[0][1][0]
    return (
        f'<section class="bk-contents"><div class="bk-title">{titles[root]}</div>'
        f"<p>Printed on {today} from the book's site. What is folded there is left out here: code "
        f"that only draws or records, descriptions, hints and solutions.</p>{''.join(lines)}"
        "</section>"
    )


def chromium() -> str:
    """The program that prints. Error: FileNotFoundError with the cure where there is none."""
    named = os.environ.get("CHROMIUM", "")
    found = next(filter(None, map(shutil.which, [named] if named else PROGRAMS)), None)
    if not found:
        raise FileNotFoundError(
            f"A PDF is printed by a Chromium, and {named or 'one'} was not found on this machine: "
            "install Chromium or Chrome, or name its program: CHROMIUM=/path/to/chrome make pdf"
        )
    return found


def printed(program: str, text: str, run: Path) -> PdfReader:
    """Print a page of HTML that names files of a run's folder. Error: RuntimeError with what the
    browser says where it fails."""
    with tempfile.TemporaryDirectory(dir=run, prefix=".paper-") as folder:
        page, pdf = Path(folder).absolute() / "page.html", Path(folder).absolute() / "page.pdf"
        page.write_text(text)
        command = [program, "--headless", "--disable-gpu", f"--user-data-dir={folder}"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []  # which root cannot have
        command += ["--no-pdf-header-footer", "--generate-pdf-document-outline"]
        command += [f"--print-to-pdf={pdf}", page.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES)
        except subprocess.TimeoutExpired:
            raise RuntimeError(
                f"{program} did not print the book in {MINUTES:g} minutes: it may need more memory "
                "than there is. Free some, and run `make pdf` again."
            ) from None
        if done.returncode or not pdf.is_file():
            raise RuntimeError(f"{program} did not print the book:\n{done.stderr[-2000:]}")
        return PdfReader(io.BytesIO(pdf.read_bytes()))


def starts(pdf: PdfReader, pages: list[str]) -> dict[str, int]:
    """The number of the sheet, from 1, on which each page of the site begins."""
    places = pdf.named_destinations
    return {
        page: pdf.get_destination_page_number(place) + 1
        for page in pages
        if (place := places.get(f"{name(page)}--") or places.get(f"/{name(page)}--"))
    }


def finished(pdf: PdfReader, front: PdfReader, heads: list[str], author: str) -> bytes:
    """The PDF with its author, the sheets of `front` in the place of its first ones, whose links
    stay, and bookmarks that say what the headings say: Chromium says twice what it moves to the
    next sheet, and drops a space where a line ends."""
    known = {_squeezed(head): head for head in heads}
    known |= {2 * short: head for short, head in known.items()}
    writer = PdfWriter(clone_from=pdf)
    for mark in _marks(writer.root_object["/Outlines"].get_object()):
        said = known.get(_squeezed(mark["/Title"]), mark["/Title"])
        mark[NameObject("/Title")] = TextStringObject(said)
    for old, new in zip(writer.pages, front.pages, strict=False):
        for part in ("/Contents", "/Resources"):
            old[NameObject(part)] = new.raw_get(part).clone(writer)
    writer.add_metadata({"/Author": author})
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def _squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def _marks(above: DictionaryObject) -> Iterator[DictionaryObject]:
    """All bookmarks below one, in order."""
    mark = above.get("/First")
    while mark is not None:
        mark = mark.get_object()
        yield mark
        yield from _marks(mark)
        mark = mark.get("/Next")


def linked(site: Path, root: str, sheets: int) -> None:
    """Name the PDF on the home page, under "About the book"."""
    home = site / f"{root}.html"
    size = (site / PDF).stat().st_size / 1e6
    line = f'<li class="bk-pdf"><p>The whole book <a href="{PDF}">as one PDF</a> '
    line += f"({sheets} pages, {size:.0f} MB).</p></li>\n"
    files.write_whole(home, ABOUT.sub(lambda found: found[1] + line, home.read_text(), count=1))


def make(run: Path, edition: str = "") -> Path:
    """Print the site of a run. Errors: FileNotFoundError where there is no site or no browser."""
    site, book = (run / editions.folder(part, edition) for part in ("site", "book"))
    if not (site / "index.html").is_file():
        asked = f" EDITION={edition}" if edition else ""
        raise FileNotFoundError(f"No site in {run.name} yet: make book PROFILE={run.name}{asked}")
    program, toc = chromium(), book / "_toc.yml"
    pages = [page for _, some in chapters(toc) for page in some]
    whole = document(site, toc)
    read = printed(program, whole, run)
    front = printed(program, document(site, toc, starts(read, pages)), run)
    heads = [plain(head) for head in HEADING.findall(whole)]
    author = yaml.safe_load((book / "_config.yml").read_text())["author"]
    files.write_whole(site / PDF, finished(read, front, heads, author))
    linked(site, pages[0], len(read.pages))
    return site / PDF


def main(profile: str, edition: str = "") -> None:
    """Make the PDF and say where it is."""
    try:
        made = make(files.runs(clean.named(profile)), editions.named(edition))
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        raise SystemExit(f"{error}") from None
    print(f"The book on paper: {made} ({made.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main(*sys.argv[1:])
