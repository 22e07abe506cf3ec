"""A Sphinx extension: formulas become MathML while the book is built.

Browsers lay MathML out themselves, so pages need no MathJax: no script of a megabyte, no fonts, no
other host, and formulas are there before any script runs. The conversion is docutils's own.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.locale import get_translation
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

# What TeX reads as one half, and docutils as twelve over what follows.
DIGITS = re.compile(r"\\([td]?frac)\s*(\d)\s*(\d)")
# TeX sets a thin space before a function's name and between it and what it is of; MathML none.
FUNCTION = re.compile(
    r"(</m(?!o>|space>)\w+>\s*)?(<mi>\w+</mi>\s*<mo>&ApplyFunction;</mo>)(\s*<mo[^>]*>\()?"
)
BRACE = re.compile(r"<mo>([{}])</mo>")  # of a set; TeX stretches none of them
THIN = '<mspace width="0.1667em"></mspace>'
LOG = logging.getLogger(__name__)
_ = get_translation("sphinx")


def convert(formula: str, block: bool, place: Any = None) -> str:
    """LaTeX to MathML, with the LaTeX as its text for those who copy it. A formula beyond the
    converter warns."""
    body = (
        f"\\begin{{aligned}}{formula}\\end{{aligned}}"
        if block and "\\\\" in formula and "\\begin" not in formula
        else formula
    )
    body = DIGITS.sub(r"\\\1{\2}{\3}", body)
    try:
        return spaced(tex2mathml(body, as_block=block))
    except (MathError, ValueError, IndexError) as error:
        LOG.warning(
            "formula %r: %s", formula, error, location=place
        )  # -W makes this an error of the build
        return f"<code>{nodes.unescape(formula)}</code>"


def spaced(mathml: str) -> str:
    """MathML with the spaces of TeX around names of functions, braces as high as their letters, and
    stars that do not fly."""

    def told(found: re.Match[str]) -> str:
        before, name, bracket = found[1], found[2], found[3]
        return (before + THIN if before else "") + name + (bracket or THIN)

    mathml = BRACE.sub(r'<mo stretchy="false">\1</mo>', mathml)
    return FUNCTION.sub(told, mathml).replace("<mo>*</mo>", "<mo>\N{ASTERISK OPERATOR}</mo>")


def inline(translator: Any, node: nodes.math) -> None:
    """Formula in a line."""
    translator.body.append(f'<span class="math">{convert(node.astext(), False, node)}</span>')
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    """Formula on lines of its own, with its number when it has a label."""
    translator.body.append(translator.starttag(node, "div", CLASS="math bk-math"))
    translator.body.append(f'<div class="bk-scroll">{convert(node.astext(), True, node)}</div>')
    if node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, _("Link to this equation"))
        translator.body.append("</span>")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer; `html_math_renderer: mathml` in `_config.yml` selects it."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
