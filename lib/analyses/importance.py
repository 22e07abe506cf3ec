"""How much of an answer passes through each head: exact patching, and attribution as its screen.

Idea. Two prompts ask the same question, but in one the labels of all examples are turned into one
another, so that the right answer is another label. Run the turned prompt, and let one head say what
it says in the clean one: the share of the way from the turned answer to the clean one that this
brings back is the head's importance.

    found = Importance.of(opened, asked)
    found.exact                                            # [layer, head]
    found.screened                                         # the same from one backward pass

The answer is the logit of the clean label less that of the turned one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.data import answers
from lib.data.fewshot import Prompts
from lib.measures import statistics
from lib.tracing import capture, interventions


@dataclass(frozen=True)
class Importance:
    """For each prompt how far each head alone brings the answer, exactly and by attribution, and
    how far there is to go; in logits."""

    moved: Float[Tensor, "prompt layer head"]
    attributed: Float[Tensor, "prompt layer head"]
    distance: Float[Tensor, "prompt"]

    @classmethod
    def of(cls, opened, asked: Sequence[Prompts]) -> Importance:
        """Patch every head of a model on the prompts of some tasks."""
        parts = [_patched(opened, cell) for cell in asked]
        return cls(*(torch.cat(column) for column in zip(*parts, strict=True)))

    @property
    def exact(self) -> Float[Tensor, "layer head"]:
        """Share of the way that each head brings back alone."""
        return self.moved.sum(0) / self.distance.sum()

    @property
    def screened(self) -> Float[Tensor, "layer head"]:
        """The same by attribution."""
        return self.attributed.sum(0) / self.distance.sum()

    def interval(self, rng: np.random.Generator, resamples: int = 2000) -> statistics.Interval:
        """The exact shares with intervals over prompts."""
        return statistics.ratio(self.moved, self.distance, rng, resamples)


@capture.there
def _patched(opened, clean: Prompts) -> tuple[Tensor, Tensor, Tensor]:
    """`moved`, `attributed` and `distance` of the prompts of one task."""
    turned = answers.turned(clean)

    every = torch.arange(len(clean.tokens))

    def answer(logits: Tensor, prompts: Tensor = every) -> Tensor:
        rows = torch.arange(len(prompts))
        return logits[..., rows, clean.label[prompts]] - logits[..., rows, turned.label[prompts]]

    heads = interventions.every_head(opened)
    said, other = (interventions.outputs(opened, cell.tokens) for cell in (clean, turned))
    target = answer(interventions.run(opened, clean.tokens, last=clean.last)[0])
    alone = torch.cat([torch.zeros_like(heads[:1]), heads])  # first: nothing patched
    patch = interventions.Replace(alone, said)
    found = answer(interventions.run(opened, turned.tokens, [patch], turned.last))
    slope = interventions.gradients(opened, turned.tokens, turned.last, answer)
    first_order = (slope * (said - other)).sum((2, 4))
    moved = (found[1:] - found[0]).T.unflatten(1, (opened.n_layers, opened.n_heads))
    return moved, first_order.transpose(0, 1), target - found[0]


def within_layers(score: Float[Tensor, "layer head"]) -> Float[Tensor, "layer head"]:
    """Ranks within each layer, from -1/2 to 1/2: what is left of a score when layers say nothing;
    ties share a rank."""
    below = (score[:, None, :] < score[:, :, None]).float().sum(-1)
    above = (score[:, None, :] > score[:, :, None]).float().sum(-1)
    return (below - above) / (2 * max(1, score.shape[1] - 1))
