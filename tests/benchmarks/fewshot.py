"""A step of few-shot models side by side against one at a time, and a clamped one against a plain
one.

The book's own recipe on its own sequences, one thread, the contenders taking turns on the same
steps. Run-steps per second of this machine stand in the rows' text; limits are on ratios.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from functools import partial

import torch

from lib.data.fewshot_features import Sequences
from lib.models import run_training
from lib.models.run_recipes import RUNS, RunsRecipe
from lib.tracing import clamping
from tests.benchmarks.detection import interleaved, ratio

STEPS, SEED = 5, 100  # steps a turn; a seed that no chapter judges


def some_steps(
    recipe: RunsRecipe, shown: Sequences, clamps: list[clamping.Clamp]
) -> Callable[[], None]:
    """A call that trains the recipe's runs for some steps, on the same sequences."""
    model = run_training.build(recipe, SEED)
    adam = run_training.optimiser(recipe, model)
    step = partial(run_training.train_step, model, adam, shown, clamps)
    return lambda: [step() for _ in range(STEPS)] and None


def run(repeats: int) -> dict[str, object]:
    torch.set_num_threads(1)
    recipe = RUNS["fewshot"]
    one = recipe.model_copy(update={"variants": recipe.variants[:1]})
    task, size = run_training.task_of(recipe, SEED), len(recipe.variants)
    shown = next(run_training.sequences(recipe, SEED, 0, task))
    clamps = clamping.of([variant.clamps for variant in recipe.variants])
    single = some_steps(one, shown[:1], [])
    contenders = {
        "side by side": some_steps(recipe, shown, []),
        "clamped": some_steps(recipe, shown, clamps),
        "one at a time": lambda: [single() for _ in range(size)] and None,
    }
    seconds = interleaved(contenders, repeats)
    rate = {name: size * STEPS / statistics.median(taken) for name, taken in seconds.items()}
    told = f"{rate['side by side']:.0f} run-steps a second against {rate['one at a time']:.0f}"
    first = f"time: {size} few-shot trainings side by side / one at a time ({told})"
    second = "time: the same under clamps through NNsight / without"
    return {
        "rows": [
            ratio(seconds, "side by side", "one at a time", first, 1 / 1.8),
            ratio(seconds, "clamped", "side by side", second, 1.15),
        ]
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]))))
