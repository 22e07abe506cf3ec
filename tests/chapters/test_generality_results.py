"""Chapter 5's verdict follows the truth where the truth is planted: heads that only copy literally
do not reproduce it."""

from __future__ import annotations

import numpy as np
import pytest

from lib.analyses import generality
from lib.data import worlds
from lib.report import claims

RULES = claims.load()["O12"].parts
PARTS = ("category", "category-heads", "translation", "translation-heads")


def passed(kinds: tuple[str, ...]) -> dict[str, int]:
    """How many of the planted models pass each part's rule."""
    rng = np.random.default_rng(0)
    trials = generality.planted_trials(worlds.World(topics=1), rng, 200, kinds)
    found = dict.fromkeys(PARTS, 0)
    for trial in trials:
        for e in trial:
            found[e.part] += claims.verdict_of(RULES[e.part], [e], 1) == claims.REPRODUCED
    return found


@pytest.mark.parametrize(
    ("kinds", "holding"),
    [
        (("literal",), ()),
        (("literal", "category"), PARTS[:2]),
        (("literal", "source"), PARTS[2:]),
    ],
)
def test_rules_pass_where_the_thing_is_planted_and_nowhere_else(kinds, holding):
    """At least nine in ten where it is; at most one in ten of so few trials where it is not."""
    for part, count in passed(kinds).items():
        if part in holding:
            assert count >= 0.9 * generality.PLANTED, part
        else:
            assert count <= 0.1 * generality.PLANTED, part
