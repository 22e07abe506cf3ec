"""The lists organism's corpus: the world's own documents of five kinds, in shares of its own."""

from __future__ import annotations

import numpy as np
import pytest

from lib.data import worlds
from lib.models import recipes


def test_batch_is_the_worlds_documents_in_these_shares():
    world = worlds.ListWorld()
    tokens = world.batch(np.random.default_rng(0), 400)
    assert tokens.shape == (400, world.context) and tokens.dtype == np.int64
    assert (tokens[:, 0] == 0).all() and tokens.max() < len(world.words)
    # Only lines `w1 ... = v1 ... .` and repeats (which draw from all words) can hold the mark of a
    # translation early on.
    foreign = np.isin(tokens, list(world.translation.values())).mean(1)
    assert 0.1 < (foreign > 0.3).mean() < 0.2, "fifteen per cent are translations"
    assert sum(worlds.LIST_SHARES.values()) == pytest.approx(1)
    assert np.array_equal(tokens, world.batch(np.random.default_rng(0), 400))


def test_blocks_are_as_long_as_the_literal_test_asks():
    made = worlds.ListWorld().documents(np.random.default_rng(0), 200, "repeats")
    assert made.detail["length"].min() == 6 and made.detail["length"].max() == 30


def test_recipe_names_this_corpus():
    assert type(recipes.RECIPES["lists"].make_corpus()) is worlds.ListWorld
