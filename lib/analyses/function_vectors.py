"""Function-vector heads (Todd et al. 2024; Yin & Steinhardt 2025): who carries what a task is?

Idea. Show a model examples whose labels are shuffled, so that it cannot know the rule. Then let one
head say, at the last token, what it says *on average* over prompts of the task that are in order.
If the right label becomes more probable, that head carries the task: its score is the gain in
probability, mean over tasks.

    vectors = measure(opened, world, rng, shots=10, n=32)
    vectors.scores                                       # [layer, head]
    vectors.null                                         # the same with a mean that knows nothing

Caveat. The average over prompts keeps the task and loses the question. Where the right label hangs
on the question, as in a classification with balanced classes, a head alone can raise it only
through what others make of the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.data import answers, fewshot
from lib.data.worlds import World
from lib.tracing import capture, patching

TASKS = ("binary", "binary-2", "four", "nine", *fewshot.JUSTIFY)


@dataclass(frozen=True)
class Prompts:
    """Prompts of one task with their answers.

    tokens [prompt, position], label [prompt], legal: tokens that are labels of the task, used:
    those of them that stand in its prompts, line: tokens of an example's line, its label last.
    """

    task: str
    tokens: Tensor
    label: Tensor
    legal: Tensor
    used: Tensor
    line: int

    @property
    def chance(self) -> float:
        """How often a guess among the labels in use is right."""
        return 1 / len(self.used)


def prompts(world: World, rng: np.random.Generator, task: str, shots: int, n: int) -> Prompts:
    """Few-shot prompts of a task (`fewshot.prompts`) as tensors. Errors: those of
    `fewshot.prompts`."""
    tokens, label, legal = (
        torch.as_tensor(part) for part in fewshot.prompts(world, rng, task, shots, n)[:3]
    )
    classes = (fewshot.TASKS | fewshot.SINGLES).get(task, (2,))[0]
    line = fewshot.words_in_line(task) + 1
    return Prompts(task, tokens, label, legal, legal[:classes], line)


@dataclass(frozen=True)
class Vectors:
    """Gains in probability of the right label [task, layer, head], for mean outputs over prompts in
    order, and (null) over other shuffled prompts; `samples`: the gain on each prompt, [task,
    prompt, layer, head]."""

    tasks: tuple[str, ...]
    samples: Float[Tensor, "task prompt layer head"]
    null_samples: Float[Tensor, "task prompt layer head"]

    @property
    def scores(self) -> Float[Tensor, "layer head"]:
        """The function-vector score of each head: mean over prompts and tasks."""
        return self.samples.mean((0, 1))

    @property
    def null(self) -> Float[Tensor, "layer head"]:
        """The same with means that know nothing of the rule."""
        return self.null_samples.mean((0, 1))


def measure(
    opened,
    world: World,
    rng: np.random.Generator,
    tasks: Sequence[str] = TASKS,
    shots: int = 10,
    n: int = 32,
) -> Vectors:
    """Score every head of a model on `n` shuffled prompts a task, with means over as many others."""
    given = [[prompts(world, rng, task, shots, n) for _ in range(2)] for task in tasks]
    return over(opened, given, rng)


def over(opened, given: Sequence[Sequence[Prompts]], rng: np.random.Generator) -> Vectors:
    """Score every head on pairs of prompts of a task: means are taken on the first, and asked is
    the second, shuffled."""
    gains, nulls = [], []
    for told, asked in given:
        mixed = answers.shuffled(asked.tokens, asked.line, rng)
        ignorant = answers.shuffled(told.tokens, told.line, rng)
        means = [_last(opened, tokens).mean(1, keepdim=True) for tokens in (told.tokens, ignorant)]
        found = [_gain(opened, mixed, asked.label, mean) for mean in means]
        gains.append(found[0])
        nulls.append(found[1])
    return Vectors(tuple(told.task for told, _ in given), torch.stack(gains), torch.stack(nulls))


def function_vector_scores(
    opened,
    world: World,
    rng: np.random.Generator,
    tasks: Sequence[str] = TASKS,
    shots: int = 10,
    n: int = 32,
) -> Float[Tensor, "layer head"]:
    """The function-vector score of every head: mean gain in probability of the right label."""
    return measure(opened, world, rng, tasks, shots, n).scores


def _last(opened, tokens: Tensor) -> Float[Tensor, "layer prompt 1 head d_head"]:
    """What each head says at the last token."""
    kept = capture.stream(opened, tokens, lambda layer, z, pattern: {"z": z[:, -1:]})
    return kept["z"]


def _gain(
    opened, tokens: Tensor, label: Tensor, mean: Float[Tensor, "layer 1 1 head d_head"]
) -> Float[Tensor, "prompt layer head"]:
    """Gain in probability of the right label when one head at a time says the mean at the last
    token."""
    heads = patching.every_head(opened)
    sets = torch.cat([torch.zeros_like(heads[:1]), heads])  # first: nothing touched
    logits = patching.run(opened, tokens, sets, mean, patching.LAST)
    right = logits.softmax(-1)[:, torch.arange(len(label)), label]
    return (right[1:] - right[0]).T.unflatten(1, (opened.n_layers, opened.n_heads))
