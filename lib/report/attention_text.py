"""Attention as text: a row of tokens, each of which shows where a head looks from it.

Idea. The tokens are buttons; hover, tap or focus chooses one, and every token is shaded by how much
the head attends to it from there. One token is chosen already, so that the static page shows
something true, and the words below say it without colour.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

import numpy as np

LEAST = 0.005  # shares that cannot be seen are not kept


def row(pattern: np.ndarray, tokens: Sequence[str], name: str, head: str) -> str:
    """Markup of one head's pattern `[query, key]` on `tokens`; `name` must be unique on its page.

    Chosen at first is the last token whose look is sharpest, other than at itself or at position 0.
    Error: ValueError if there are not as many tokens as rows.
    """
    pattern = np.asarray(pattern, dtype=float)
    if pattern.shape != (len(tokens), len(tokens)):
        raise ValueError(f"Pattern {name!r} is {pattern.shape}, but there are {len(tokens)} tokens")
    chosen = _sharpest(pattern)
    buttons = "".join(
        _token(token, pattern[place], place == chosen, pattern[chosen, place])
        for place, token in enumerate(tokens)
    )
    told = html.escape(said(pattern, tokens, chosen))
    return (
        f'<div class="bk-reader" id="reader-{name}" role="group" aria-label="Head {head}: choose '
        f'a token to see where the head looks from it"><p class="bk-tokens">{buttons}</p>'
        f'<p class="bk-said" aria-live="polite">{told}</p></div>'
    )


def said(pattern: np.ndarray, tokens: Sequence[str], query: int) -> str:
    """Where the head looks from a token, in words: its two largest shares."""
    best = np.argsort(-pattern[query], kind="stable")[:2]
    looks = [f"{tokens[k]} at {k} ({pattern[query, k]:.0%})" for k in best if pattern[query, k]]
    return f"From {tokens[query]} at position {query} the head looks at {' and '.join(looks)}."


def _sharpest(pattern: np.ndarray) -> int:
    elsewhere = pattern - np.diag(np.diag(pattern))
    best = elsewhere[:, 1:].max(1)
    return int(len(best) - 1 - np.argmax(best[::-1]))


def _token(token: str, looks: np.ndarray, chosen: bool, share: float) -> str:
    """A token as a button, shaded by its `share` of the chosen token's look; `looks` are the shares
    of its own."""
    shares = {int(k): round(float(v), 3) for k, v in enumerate(looks) if v >= LEAST}
    data = html.escape(json.dumps(shares, separators=(",", ":")), quote=True)
    return (
        f'<button type="button" class="bk-token" aria-pressed="{str(chosen).lower()}" '
        f'style="--look:{share:.3f}" data-looks="{data}">{html.escape(token)}</button>'
    )
