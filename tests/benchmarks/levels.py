"""Few-shot prompts asked in batches against one prompt at a time, on the same untrained model of
the book's world.

Run by hand: `python -m tests.benchmarks.levels`. Only ratios are written, the contenders taking
turns; the plain loop forms the last logits alone too, and marks them in the same way.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch

from lib.analyses import level_parts
from lib.analyses import levels as asking
from lib.data.fewshot import Prompts
from lib.measures import levels
from lib.models import opening, organisms, recipes
from tests.benchmarks.detection import described, interleaved, row

SHOTS = (0, 1, 2, 3, 4, 5, 10, 20)
PROMPTS = 64  # of each task and number of shots


def setting() -> tuple[opening.Opened, list[Prompts]]:
    recipe = recipes.RECIPES["world"]
    world, shape = recipe.make_corpus(), recipe.architecture
    config = organisms.OrganismConfig(
        vocab_size=len(world.words),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        head_dim=shape.d_head,
        max_position_embeddings=world.context,
    )
    torch.manual_seed(0)
    opened = opening.open_model(
        organisms.OrganismForCausalLM(config), tokenizer=organisms.tokenizer(world.words)
    )
    rng = np.random.default_rng(0)
    return opened, asking.questions(world, rng, level_parts.TASKS, SHOTS, PROMPTS)


@torch.no_grad()
def one_at_a_time(opened: opening.Opened, asked: list[Prompts]) -> None:
    """The plain loop."""
    for cell in asked:
        for tokens, label in zip(cell.tokens, cell.label, strict=True):
            logits = opened.module(tokens[None], logits_to_keep=1).logits[:, -1]
            levels.graded(logits, label[None], cell.legal)


def run(repeats: int) -> dict[str, object]:
    opened, asked = setting()
    seconds = interleaved(
        {
            "batches": lambda: asking.answered(opened, asked),
            "one": lambda: one_at_a_time(opened, asked),
        },
        repeats,
    )
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    fastest = {name: min(times) for name, times in seconds.items()}
    rows = [
        row(
            "time: few-shot prompts in batches / the same prompts one at a time",
            median["batches"] / median["one"],
            fastest["batches"] / fastest["one"],
            1 / 10,
        )
    ]
    told = {
        "Input": f"{sum(len(cell.tokens) for cell in asked)} prompts of 0 to 20 shots",
        "Repeats": f"{repeats}, taking turns; ratios are of medians",
    }
    return {"setting": described(repeats, False) | told, "rows": rows}


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 5)))
