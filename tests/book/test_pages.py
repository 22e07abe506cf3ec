"""What is done to pages, notebooks and words on their way to the site."""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import threading
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from docutils import nodes
from docutils.utils import new_document
from pybtex.database import parse_string

from lib.report import columns
from pipeline import (
    citations,
    downloads,
    folds,
    glossary,
    home,
    mathml,
    meanings,
    numbers,
    pages,
    polish,
    quotes,
    serve,
)

ROOT = Path(__file__).resolve().parents[2]


# --- folds ---


def folded(source: str, *tags: str, **metadata) -> str:
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["hide-input", *tags], **metadata})
    made = folds.named(nbformat.v4.new_notebook(cells=[cell])).cells[0]
    prompts = made.metadata["mystnb"]
    assert prompts["code_prompt_show"] == prompts["code_prompt_hide"]
    assert "fold" not in made.metadata
    return prompts["code_prompt_show"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\nbook.figure(chart, 'a')", "How this figure is drawn"),
        ("book.figure(chart, 'a')\nbook.figure(chart, 'b')", "How these figures are drawn"),
        ("for r in rows:\n    book.table(r, 'a')", "How this table is made"),
        ("book.figure(c, 'a')\nbook.claim('O1', x)", "How this figure is drawn, and the verdict"),
        ("import numpy as np\nfrom lib import x", "Imports and set-up"),
        ("exercises.check(x, 1)", "How the answer is checked"),
        ("book.claim('O1', found)", "How the verdict is reached"),
        ("x = 1", folds.OTHER),
    ],
)
def test_a_fold_is_named_for_what_it_holds(source, said):
    assert folded(source) == said


def test_the_call_that_ends_a_chapter_is_not_shown():
    cells = [nbformat.v4.new_code_cell(source) for source in ("x = 1", "book.close()\n")]
    made = folds.named(nbformat.v4.new_notebook(cells=cells)).cells
    assert [cell.metadata.get("tags", []) for cell in made] == [[], ["remove-input"]]


def test_tags_and_a_name_of_its_own_win():
    assert folded("seed = 0", "parameters") == "Parameters"
    open_cell = nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
    made = folds.named(nbformat.v4.new_notebook(cells=[open_cell])).cells[0]
    assert made.metadata["tags"] == ["parameters", "hide-input"]
    assert folded("seed = 0", "injected-parameters") == "Values of this run"
    assert folded("book.figure(chart, 'a')", fold="The same by hand") == "The same by hand"


def test_no_fold_of_the_book_is_named_for_nothing():
    """Few cells hold neither figure, table, verdict, number, check nor imports."""
    said = []
    for path in sorted((ROOT / "chapters").glob("[0-9]*.ipynb")):
        made = folds.named(nbformat.read(path, 4))
        said += [
            c.metadata["mystnb"]["code_prompt_show"] for c in made.cells if "mystnb" in c.metadata
        ]
    assert len(said) > 150 and said.count(folds.OTHER) < 0.15 * len(said)


# --- words of the glossary ---


def page_of(*words: str) -> tuple[nodes.document, dict]:
    document = new_document("x")
    items = nodes.definition_list()
    for word in words:
        term = nodes.term("", word, ids=[f"term-{word}"])
        items += nodes.definition_list_item(
            "", term, nodes.definition("", nodes.paragraph("", f"What {word} is."))
        )
    document += items
    return document, glossary.meanings(document)


def test_a_page_links_each_word_once_and_not_in_headings_code_or_links():
    _, words = page_of("nat", "residual stream")
    left = dict(words)
    made = list(
        glossary.pieces(
            "Two nats; a nat, an alternation, Residual streams.",
            glossary.pattern(list(words)),
            left,
            "g.html",
        )
    )
    links = [node.astext() for node in made if isinstance(node, nodes.raw)]
    assert [BeautifulSoup(link, "html.parser").a.text for link in links] == [
        "nats",
        "Residual streams",
    ]
    assert 'href="g.html#term-nat"' in links[0] and 'data-meaning="What nat is."' in links[0]
    assert (
        "".join(n.astext() for n in made if isinstance(n, nodes.Text))
        == "Two ; a nat, an alternation, ."
    )
    assert not left


def test_every_word_of_the_glossary_has_a_meaning_of_a_few_sentences():
    text = (ROOT / "book" / "glossary.md").read_text().split("```{glossary}\n:sorted:\n")[1]
    entries = [entry.strip("`\n").split("\n  ") for entry in text.split("\n\n") if "\n  " in entry]
    assert len(entries) > 30
    for words, meaning in entries:
        assert words.strip() and meaning.count(". ") <= 4 and meaning.endswith((".", ".\n"))


# --- pages ---


HEAD = '<head><title>{}</title></head><article class="bd-article"><h1>T</h1>\n<p>{}</p></article>'


def test_a_page_has_one_title_and_says_what_it_is():
    made = BeautifulSoup(
        polish.page(HEAD.format("Book &#8212; Book", 'It <em>is</em> "so".')), "html.parser"
    )
    assert made.title.text == "Book"
    assert made.find("meta", attrs={"name": "description"})["content"] == 'It is "so".'
    assert made.find("meta", property="og:title")["content"] == "Book"
    made = BeautifulSoup(polish.page(HEAD.format("Page &#8212; Book", 90 * "word ")), "html.parser")
    assert made.title.text == "Page — Book"
    assert made.find("meta", property="og:title")["content"] == "Page"
    assert len(made.find("meta", property="og:description")["content"]) <= polish.LONGEST + 2


def test_code_may_break_after_a_dot_or_bracket_and_copies_as_it_was():
    parts = [("n", "found"), ("o", "."), ("n", "heads"), ("p", "("), ("n", "x"), ("p", ")")]
    line = "".join(f'<span class="{kind}">{said}</span>' for kind, said in parts)
    made = polish.page(line)
    assert made.count("<wbr>") == 2 and BeautifulSoup(made, "html.parser").text == "found.heads(x)"


def test_a_name_in_a_cell_breaks_after_a_dot_or_a_line_and_copies_as_it_was():
    cell = '<td><code class="a_b"><span class="pre">one_layer.mlp</span></code> a_b 0.5</td>'
    made = polish.page(cell)
    assert "one_<wbr>layer.<wbr>mlp" in made and made.replace("<wbr>", "") == cell
    assert made.endswith("a_b 0.5</td>") and 'class="a_b"' in made
    assert polish.page("<p><code>one_layer</code></p>") == "<p><code>one_layer</code></p>"


def test_headings_of_tables_say_what_they_head_and_empty_ones_are_none():
    made = polish.page('<tr><th>a</th><th></th><th class="head"><p></p></th></tr>')
    assert made == '<tr><th scope="col">a</th><td></td><td></td></tr>'


def test_the_link_of_a_solution_is_the_name_of_its_exercise():
    made = polish.page('Solution to<a class="reference" href="#x"> Exercise 7</a>')
    assert made == 'Solution to <a class="reference" href="#x">Exercise 7</a>'


def test_the_script_of_all_icons_is_gone_and_the_others_stay():
    kept = '<script defer src="_static/scripts/bootstrap.js"></script>'
    script = '<script defer src="_static/scripts/fontawesome.js?digest=1"></script>'
    gone = f"\n <!-- So that users can add custom icons -->\n {script}"
    assert polish.page(gone + kept) == kept


def test_parameters_have_headings_that_are_words():
    from lib import profiles

    headings = [
        line for line in pages.parameters(profiles.Profile()).splitlines() if line.startswith("## ")
    ]
    assert headings and not [h for h in headings if any(c.isupper() for c in h[4:])]


# --- formulas ---


def said(formula: str) -> str:
    """A formula as one line of MathML, without its outermost tag."""
    return "".join(mathml.convert(formula, False).split("\n")[1:-1]).replace(" ", "")


def test_a_fraction_of_two_digits_is_one_half():
    assert said(r"\tfrac12\, x") == said(r"\tfrac{1}{2}\, x") and "<mn>12</mn>" not in said(
        r"\frac12"
    )


def test_names_of_functions_stand_apart_as_in_tex():
    thin = mathml.THIN.replace(" ", "")
    name = "<mi>ln</mi><mo>&ApplyFunction;</mo>"
    assert said(r"0.4 \ln 2") == f"<mn>0.4</mn>{thin}{name}{thin}<mn>2</mn>"
    assert said(r"\ln (2)").startswith(f'{name}<mostretchy="false">(')
    assert said(r"-\ln p") == f"<mo>−</mo>{name}{thin}<mi>p</mi>"
    assert said(r"\{x\}") == '<mostretchy="false">{</mo><mi>x</mi><mostretchy="false">}</mo>'
    assert said("a^*") == "<msup><mi>a</mi><mo>∗</mo></msup>"


# --- notebooks ---


def test_a_downloaded_notebook_says_what_it_needs_and_holds_no_markup_of_the_site(tmp_path):
    glued = nbformat.v4.new_output(
        "display_data",
        {"application/papermill.record/text/plain": "'0.25'"},
        metadata={"scrapbook": {"name": "mean"}},
    )
    prose = "# 4. A chapter\n\nThe mean is {glue:text}`mean`, as {cite:t}`a1` say {cite}`a1,b1`; "
    exercise = "see {eq}`trace`.\n\n```{exercise}\n:label: one\n\nHow many?\n```\n\n"
    solution = "````{solution} one\n:class: dropdown\n\n```python\nx = 1\n```\n````"
    asked = "````{admonition} Predict\nHow?\n\n```{dropdown} What came out\nSo.\n```\n````"
    text = f"{prose}{exercise}{solution}\n\n{asked}"
    cells = [
        nbformat.v4.new_markdown_cell(text),
        nbformat.v4.new_code_cell("x = 1", outputs=[glued]),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "04_some.ipynb")
    library = tmp_path / "x.bib"
    first, second = "author={Doe, Ann and Roe, Bob}, year={2020}", "author={Poe, Cy}, year={2021}"
    library.write_text(f"@misc{{a1, {first}}}\n@misc{{b1, {second}}}")
    downloads.readable(tmp_path, library, "https://example.org/book")
    made = nbformat.read(tmp_path / "04_some.ipynb", 4)
    nbformat.validate(made)
    first, second = (cell.source for cell in made.cells[:2])
    assert "make install" in first and "https://example.org/book" in first and "chapter 4" in first
    assert (
        "The mean is 0.25, as Doe and Roe (2020) say (Doe and Roe, 2020; Poe, 2021); see trace."
        in second
    )
    assert "**Exercise.** How many?" in second and "```python\nx = 1\n```\n\n</details>" in second
    assert "**Predict.** How?" in second
    assert "<summary>What came out</summary>\n\nSo.\n\n</details>" in second
    assert "{" not in second


def test_citations_are_labelled_as_the_text_cites_them():
    many = "{Doe, Ann and van Roe, Bob and Poe, Cy}"
    entries = parse_string(
        f"@misc{{a, author={many}, year={{2020}}}} @misc{{b, author={many}, year={{2020}}}}"
        "@misc{c, author={Doe, Ann and van Roe, Bob}, year={2021}}",
        "bibtex",
    ).entries.values()
    said = list(citations.Labels().format_labels(list(entries)))
    assert said == ["Doe et al., 2020", "Doe et al., 2020b", "Doe and van Roe, 2021"]


def test_a_chapter_says_under_its_question_how_long_it_takes(tmp_path):
    cell = nbformat.v4.new_markdown_cell("# Title\n\n*Is it so?*\n\n" + 360 * "word ")
    (tmp_path / "provenance.json").write_text(json.dumps({"wall_seconds": 30}))
    lines = (
        home.timed(nbformat.v4.new_notebook(cells=[cell]), tmp_path).cells[0].source.splitlines()
    )
    assert lines[2] == "*Is it so?*" and "2 min to read, 0.5 min to run" in lines[4]


def test_pages_outside_the_chapters_link_them_by_number():
    said = numbers.linked("See chapter 2 and chapter 9.", ["02_b"], "chapters/")
    assert said == "See [chapter 2](chapters/02_b.ipynb) and chapter 9."


# --- serving ---


def test_text_is_served_compressed_and_unchanged(tmp_path):
    page = tmp_path / "a.html"
    page.write_text("<p>" + 1000 * "word " + "</p>")
    (tmp_path / "a.png").write_bytes(b"picture")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        place = f"http://127.0.0.1:{server.server_port}"
        asked = urllib.request.Request(f"{place}/a.html", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(asked) as answer:
            body = answer.read()
            assert answer.headers["Content-Encoding"] == "gzip"
            assert len(body) < 500 and gzip.decompress(body) == page.read_bytes()
        with urllib.request.urlopen(f"{place}/a.html") as answer:  # a client that takes no gzip
            assert answer.read() == page.read_bytes()
        asked = urllib.request.Request(f"{place}/a.png", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(asked) as answer:
            assert answer.read() == b"picture"
    finally:
        server.shutdown()


def test_a_place_that_is_none_is_answered_by_the_site_s_own_page(tmp_path):
    (tmp_path / "404.html").write_text("<p>No such page</p>")
    handler = functools.partial(Quiet, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/deep/none.html")
        assert refused.value.code == 404 and refused.value.read() == b"<p>No such page</p>"
    finally:
        server.shutdown()


class Quiet(serve.Handler):
    def log_message(self, *_: object) -> None:
        pass


# --- what is light ---


def test_pages_and_files_say_what_columns_mean_today():
    """In a run of long ago a seed had another meaning, and a column that is gone had one."""
    rest = "<p>Before.</p>{}<dl><dt>other</dt><dd>kept</dd></dl>"
    old = f"{columns.LISTED}<dl><dt>seed</dt><dd>of old</dd><dt>a &amp; b</dt><dd>of old</dd></dl>"
    output = nbformat.v4.new_output("display_data", {"text/html": rest.format(old)})
    cells = [nbformat.v4.new_code_cell("1", outputs=[output]), nbformat.v4.new_markdown_cell("2")]
    made = meanings.listed(nbformat.v4.new_notebook(cells=cells))
    today = columns.entry("seed")["means"]
    new = f"{columns.LISTED}<dl><dt>seed</dt><dd>{today}</dd><dt>a &amp; b</dt><dd></dd></dl>"
    assert made.cells[0].outputs[0].data["text/html"] == rest.format(new)
    lines = meanings.table("file,column,unit,means\na.csv,seed,days,of old\n").splitlines()
    assert lines[0] == "file,column,unit,means" and lines[1].startswith("a.csv,seed,,")
    assert today in lines[1] and len(lines) == 2


def test_the_search_quotes_the_text_of_a_page_with_its_places():
    page = '<title>T</title><article class="bd-article"><section id="a"><h1>Title</h1><p>Some '
    page += '<em>null</em>, here.</p><div class="bk-folds"><p>CSV</p></div>'
    page += '<svg class="marks"><text>9</text></svg><script>{}</script></section></article> Menu'
    said = quotes.text(page)
    assert "Some null, here." in said and '<section id="a">' in said
    assert 'class="bk-folds"' in said and not [w for w in ("svg", "9", "{}", "Menu") if w in said]
    assert quotes.text("<p>a page without a text</p>") == ""
