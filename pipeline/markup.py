"""The one table of all generated pages, and where the text of a page stands."""

import re

ARTICLE = re.compile(r'<article class="bd-article">(.*?)</article>', re.S)


def table(head: tuple[str, ...], rows: list[list[str]], style: str) -> str:
    """An HTML table that scrolls inside the page; cells are markup. On one line, for MyST ends HTML
    at a blank one."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = ""
    for row in rows:
        body += "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    return (
        f'<div class="bk-scroll"><table class="table bk-table {style}">'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>\n"
    )
