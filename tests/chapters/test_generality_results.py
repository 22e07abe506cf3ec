"""Chapter 5's verdict follows the truth where the truth is planted: heads that only copy literally
do not reproduce it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from lib.analyses import generality
from lib.data import worlds
from lib.models import opening, organisms, planted
from lib.report import claims

HEAD = [(1, 2)]
WORLD = worlds.World()


@cache
def relations() -> dict[str, torch.Tensor]:
    """Which words an induction head takes for the current one, [word, word]: itself, its category,
    its source."""
    size = len(WORLD.words)
    category, source = torch.zeros(size, size), torch.zeros(size, size)
    for ids in WORLD.categories.values():
        category[np.ix_(ids, ids)] = 1
    for word, foreign in WORLD.translation.items():
        source[foreign, word] = 1
    return {"literal": torch.eye(size), "category": category, "source": source}


def verdicts(*kinds: str) -> dict[str, str]:
    """O12's parts, judged over three planted models whose one induction head matches in the given
    ways."""
    estimates = []
    for seed in range(3):
        space = planted.Space(len(WORLD.words), WORLD.context, torch.Generator().manual_seed(seed))
        alike = sum(relations()[kind] for kind in kinds)
        heads = {
            (0, 0): planted.looks_back(space, 1, space.before),
            HEAD[0]: planted.matches(space, alike @ space.before, space.say),
        }
        model = planted.build(space, heads, n_layers=2, n_heads=4, noise=0.01)
        opened, rng = (
            opening.open_model(model, tokenizer=organisms.tokenizer(WORLD.words)),
            np.random.default_rng(seed),
        )
        lists = generality.matching(opened, generality.world_lists(WORLD, rng, "four", 16, 60))[
            "excess"
        ]
        spoken = generality.translating(opened, *generality.world_translations(WORLD, rng, 40))[
            "excess"
        ]
        for part, excess in (("category", lists), ("translation", spoken)):
            estimates += [
                generality.best_of_half(part, seed, excess, HEAD, rng, 200),
                generality.contrast(f"{part}-heads", seed, excess, HEAD, rng, 200),
            ]
    return {
        name: part["verdict"]
        for name, part in claims.judge(claims.load()["O12"], estimates)["parts"].items()
    }


def test_literal_copying_does_not_reproduce_it():
    found = verdicts("literal")
    assert found["category"] == found["translation"] == claims.NOT
    assert claims.REPRODUCED not in found.values()


def test_a_head_that_also_matches_the_source_translates():
    found = verdicts("literal", "source")
    assert found["translation"] == found["translation-heads"] == claims.REPRODUCED
    assert found["category"] == claims.NOT


@pytest.mark.parametrize("kinds", [("category",), ("literal", "category")])
def test_a_head_that_matches_categories_is_better_at_them_than_others(kinds):
    found = verdicts(*kinds)
    assert found["category-heads"] == claims.REPRODUCED
    assert found["translation"] == claims.NOT
