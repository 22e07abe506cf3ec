"""Few-shot prompts whose labels say something else: dealt anew, or each turned into another.

Two ways to take the answer out of a prompt and leave everything else in its place:

- `shuffled`: the labels of a prompt's lines change places, so that there is no rule to find;
- `turned`: every label becomes another one throughout (0 for 1, 1 for 0), so that the rule says
  another answer to the same question.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


def shuffled(
    tokens: Int[Tensor, "prompt position"], line: int, rng: np.random.Generator
) -> Int[Tensor, "prompt position"]:
    """The labels of each prompt's examples in a random order; `line`: tokens of a line, the label
    last."""
    mixed = tokens.clone()
    labels = rng.permuted(tokens[:, line::line].numpy(), axis=1)
    mixed[:, line::line] = torch.from_numpy(labels)
    return mixed


def turned(
    tokens: Int[Tensor, "prompt position"],
    label: Int[Tensor, "prompt"],
    line: int,
    used: Int[Tensor, "class"],
) -> tuple[Int[Tensor, "prompt position"], Int[Tensor, "prompt"]]:
    """Prompts and answers in which each label of `used` stands where the one before it stood.

    Error: ValueError for a label outside `used`, or fewer than two of them.
    """
    if len(used) < 2:
        raise ValueError(f"Labels can only be turned into one another; there is {len(used)}.")
    found = torch.cat([tokens[:, line::line], label[:, None]], 1)
    place = (found[..., None] == used).long()
    if not bool((place.sum(-1) == 1).all()):
        raise ValueError(f"Labels stand in the prompts that are none of {used.tolist()}.")
    following = used.roll(-1)[place.argmax(-1)]
    changed = tokens.clone()
    changed[:, line::line] = following[:, :-1]
    return changed, following[:, -1]
