"""Few-shot prompts whose labels say something else: dealt anew, or each turned into another.

Two ways to take the answer out of a prompt and leave everything else in its place:

- `shuffled`: the labels of a prompt's examples change places, so that there is no rule to find;
- `turned`: every label becomes another one throughout (0 for 1, 1 for 0), so that the same rule
  gives another answer to the same question.

Labels are found by what they are: tokens that no prompt holds anywhere else.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lib.data.fewshot import Prompts


def places(asked: Prompts) -> Bool[Tensor, "prompt position"]:
    """Where the labels of the examples stand."""
    before = torch.arange(asked.tokens.shape[1]) <= asked.last[:, None]
    return torch.isin(asked.tokens, asked.legal) & before


def used(asked: Prompts) -> Int[Tensor, "class"]:
    """The labels that are right answers of a task, in the order of its legal ones."""
    return asked.legal[torch.isin(asked.legal, asked.label)]


def chance(asked: Prompts) -> float:
    """How often a guess among a task's labels is right."""
    return 1 / len(used(asked))


def shuffled(asked: Prompts, rng: np.random.Generator) -> Prompts:
    """The labels of each prompt's examples in a random order."""
    tokens = asked.tokens.clone()
    for row, where in zip(tokens, places(asked), strict=True):
        row[where] = torch.from_numpy(rng.permutation(row[where].numpy()))
    return replace(asked, tokens=tokens)


def turned(asked: Prompts) -> Prompts:
    """Each label in the place of the one before it, in the examples and in the answer.

    Error: ValueError for a task with fewer than two labels.
    """
    labels = used(asked)
    if len(labels) < 2:
        raise ValueError(f"{asked.task}: labels can only be turned into one another; here is one.")
    following = torch.arange(int(max(asked.tokens.max(), labels.max())) + 1)
    following[labels] = labels.roll(-1)
    tokens = torch.where(places(asked), following[asked.tokens], asked.tokens)
    return replace(asked, tokens=tokens, label=following[asked.label])
