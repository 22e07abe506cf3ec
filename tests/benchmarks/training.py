"""A training step with fused attention against one with the eager attention that shows its pattern.

The book's own recipes on their own batches, one thread, the contenders taking turns on the same
steps; only ratios are written.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from itertools import count

import torch

from lib.models import training
from lib.models.recipes import RECIPES, Recipe
from tests.benchmarks.detection import interleaved, ratio

STEPS, SEED = 5, 100  # steps a turn; a seed that no chapter judges


def steps(recipe: Recipe, attention: str) -> partial:
    """A call that trains some steps on, with that attention."""
    corpus = recipe.make_corpus()
    model = training.build(recipe, SEED, corpus)
    model.set_attn_implementation(attention)
    adam, turns = training.optimiser(recipe, model), count(0, STEPS)
    return partial(_some_steps, recipe, turns, corpus, model, adam)


def _some_steps(recipe: Recipe, turns: count, *rest: object) -> None:
    first = next(turns)
    for step in range(first, first + STEPS):
        training.train_step(recipe, SEED, step, *rest)


def compared(name: str, repeats: int) -> dict[str, object]:
    """The row of one recipe."""
    recipe = RECIPES[name]
    seconds = interleaved({kind: steps(recipe, kind) for kind in ("fused", "eager")}, repeats)
    what = f"time: a training step of `{name}` with fused attention / with eager attention"
    return ratio(seconds, "fused", "eager", what, 1.0)


def run(repeats: int) -> dict[str, object]:
    torch.set_num_threads(1)
    return {"rows": [compared(name, repeats) for name in ("world", "two_layer")]}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]))))
