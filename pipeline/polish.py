"""What pages need after Sphinx has made them: names that a screen reader can say, places where long
code may break, words for search engines and links, and nothing heavy that nobody sees: a script of
a megabyte for twelve icons.

Each change is one substitution in the page's text, with the reason beside it.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

from lib import files

CHANGES = (
    # The style sheets bring the icons as a font; the theme's script of 1.5 MB does the same again.
    (
        r"\s*<!-- So that users[^>]*-->\s*<script [^>]*fontawesome\.js[^>]*></script>",
        "",
    ),
    # The index of the search is for its own page: the field of the others leads there.
    (
        r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>'
        r'(?!(?s:.*)id="search-results")',
        "",
    ),
    # What a search found is marked by a script of our own (`book/_static/found.js`).
    (r'\s*<script src="[^"]*sphinx_highlight\.js[^"]*"></script>', ""),
    # The label hides what the fold says it holds.
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    # The button is called what it says, which is more than "Search".
    (r'(<button class="btn search-button-field[^>]*) aria-label="Search"', r"\1"),
    # The title of the book stands in the side bar, which is a place to go to.
    (
        r'<div id="pst-primary-sidebar" ',
        '<div id="pst-primary-sidebar" role="region" aria-label="Side bar" ',
    ),
    # A list of citations must hold items of a list, and the role of an entry is one no longer.
    (r' role="doc-biblioentry"', ' role="listitem"'),
    # Every exercise of a page has the same two ids, and nothing links to them.
    (r'<section id="(?:exercise|solution)-content">', "<section>"),
    # A heading without words heads nothing; pandas' others do not say what they head.
    (r"<th(?: class=\"head\")?>(?:<p></p>)?</th>", "<td></td>"),
    (r"<th>", '<th scope="col">'),
    # The site's script makes a stop for the tab key of what does scroll, and gives it a name.
    (r'<div class="bk-scroll" tabindex="0">', '<div class="bk-scroll">'),
    # A box alone does not say where it looks.
    (
        r"<h1>Search</h1>",
        "<h1>Search</h1>\n    <p>In all chapters, claims, rules and appendices; "
        "where the glossary explains the word, its definition comes first.</p>",
    ),
    # The link is the name of the exercise, without the space before it.
    (r"Solution to(<a [^>]*>) ", r"Solution to \1"),
    # The way to the home page is a page too: without an icon a browser asks for one that is not
    # there, and whoever follows no refresh finds nothing.
    (
        r'\A<meta http-equiv="Refresh" content="0; url=([^"]+)" */?>\s*\Z',
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/><title>To the book</title>\n'
        '<meta http-equiv="Refresh" content="0; url=\\1"/>\n'
        '<link rel="icon" href="_static/favicon.svg"/></head>\n'
        '<body><p><a href="\\1">To the book</a></p></body></html>\n',
    ),
)
COMPILED = tuple((re.compile(pattern), new) for pattern, new in CHANGES)
# Code may break after a dot, a bracket, a comma or a sign, and not in the middle of a name.
BREAK = re.compile(r'(<span class="(?:o|p)">[^<]*</span>)(?=<span class="[nmskbo])')
# A name in a cell of a table breaks after a dot or a line, and nowhere else.
CELL = re.compile(r"<td\b.*?</td>", re.S)
NAME = re.compile(r"<code\b.*?</code>", re.S)
JOINT = re.compile(r"(?<=[a-z])([._]+)(?=[a-z])(?![^<]*>)")
# In the title of an exercise, and in that of its solution.
EXERCISE = re.compile(r'(caption-number">|href="#[\w-]+"> ?)Exercise (\d+)')
TITLE = re.compile(r"<title>(.*?)</title>", re.S)
LEAD = re.compile(r'<article class="bd-article">.*?</h1>.*?<p>(.*?)</p>', re.S)
LONGEST = 200  # letters of a description


def site(folder: Path) -> None:
    """Change all pages of a site in place, and drop the scripts that they no longer name."""
    for path in sorted(folder.rglob("*.html")):
        if "_static" not in path.relative_to(folder).parts:
            files.write_whole(path, exercises(page(path.read_text()), path.stem))
    for script in ("scripts/fontawesome.js", "sphinx_highlight.js"):
        (folder / "_static" / script).unlink(missing_ok=True)


def exercises(text: str, name: str) -> str:
    """A chapter's exercises with its own count, 2.1 and so on, where Sphinx counts through the
    book; so a new exercise changes the numbers of no other chapter."""
    chapter, found = re.match(r"\d+(?=_)", name), [int(n) for _, n in EXERCISE.findall(text)]
    if not chapter or not found:
        return text
    before = min(found) - 1
    own = lambda m: f"{m[1]}Exercise {int(chapter[0])}.{int(m[2]) - before}"
    return EXERCISE.sub(own, text)


def page(text: str) -> str:
    """One page, changed."""
    for pattern, new in COMPILED:
        text = pattern.sub(new, text)
    return described(CELL.sub(names, BREAK.sub(r"\1<wbr>", text)))


def names(cell: re.Match[str]) -> str:
    """A cell of a table, in which names in code may break."""
    return NAME.sub(lambda name: JOINT.sub(r"\1<wbr>", name[0]), cell[0])


def described(text: str) -> str:
    """A page with one title, and with its first paragraph as the description that a search engine
    or a link shows."""
    if not (found := TITLE.search(text)):
        return text
    name, _, book = found[1].strip().partition(" &#8212; ")
    whole = name if name == book else found[1].strip()
    head = f"<title>{whole}</title>\n"
    facts = {"og:title": name, "og:site_name": book or name, "og:type": "article"}
    if said := lead(text):
        facts["og:description"] = said
        head += f'    <meta name="description" content="{said}"/>\n'
    head += "".join(f'    <meta property="{k}" content="{v}"/>\n' for k, v in facts.items())
    return text[: found.start()] + head.rstrip("\n") + text[found.end() :]


def lead(text: str) -> str:
    """The first paragraph after a page's title as plain text, cut at a word."""
    if not (found := LEAD.search(text)):
        return ""
    said = " ".join(html.unescape(re.sub(r"<[^>]+>", "", found[1])).split())
    if len(said) > LONGEST:
        said = said[:LONGEST].rpartition(" ")[0] + " …"
    return html.escape(said, quote=True)
