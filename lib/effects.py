"""What taking heads out costs: in-context learning, loss, and the direction of the phase change (Olsson et al., argument 3).

Idea. A `Bench` holds a model and texts, and the clean pass over them: losses, attention patterns, donors for heads that
are taken out. Any number of sets of heads is then removed in one of six ways (`HOW` x patterns held or free), and what
comes back are losses per token, from which four numbers follow, each a ratio of sums over texts with its interval:

    bench = Bench.of(opened, tokens, *windows(opened.context))
    gone = bench.without([[(1, 2)], [(1, 2), (1, 6)]], how="zero", held=True)    # [set, text, position]
    bench.share_lost(gone, rng)      # of the in-context score
    undone(gone - bench.clean, after - before, rng)     # of the phase change
    recovered(gone[0], with_ideal_pattern, bench.clean, rng)    # of the loss that removing the heads cost

Caveat. The in-context score is a difference of losses: it also "improves" when early tokens get worse. Look at both ends
(`bench.ends`) before calling a rise in the score more learning.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib import ablation, capture, scores
from lib.statistics import Interval

HOW = ("zero", "mean", "resample")
Heads = ablation.Heads
Sets = list[list[tuple[int, int]]]


def windows(context: int) -> tuple[slice, slice]:
    """Early and late positions of per-token losses: of 64 tokens, those from 3 to 8 and from 53 to 62, else in proportion.

    A loss at place i is that of token i + 1. Error: ValueError for a context too short for two windows.
    """
    if context < 16:
        raise ValueError(f"A context of {context} tokens is too short for an early and a late window; at least 16 are needed.")
    at = [round(place * context / 64) for place in (2, 8, 52, 62)]
    return slice(at[0], at[1]), slice(at[2], at[3])


def block_windows(length: int, repeats: int, bos: bool) -> tuple[slice, slice]:
    """Early and late for repeated random tokens: the first block, without its first token, and the last block."""
    first = int(bos)
    return slice(first, first + length - 1), slice(first + (repeats - 1) * length - 1, first + repeats * length - 1)


@dataclass(frozen=True)
class Bench:
    """A model on texts: `clean` losses [text, position], clean patterns, and donors for heads that are taken out."""

    opened: object
    tokens: Int[Tensor, "text token"]
    early: slice
    late: slice
    clean: Float[Tensor, "text position"]
    patterns: Float[Tensor, "layer text head query key"]
    donors: dict[str, Float[Tensor, "layer #text #query head d_head"] | None]

    @classmethod
    def of(cls, opened, tokens: Int[Tensor, "text token"], early: slice, late: slice) -> Bench:
        """Run the clean pass. Donors: nothing (zero), the mean over texts and places, or the same place of the text before.

        Error: ValueError for a single text, which could only be its own donor.
        """
        if len(tokens) < 2:
            raise ValueError("Ablation needs at least two texts: with one, a resampled head would get its own output back.")
        z = ablation.outputs(opened, tokens)
        donors = {"zero": None, "mean": z.mean((1, 2), keepdim=True), "resample": z.roll(1, 1)}
        return cls(opened, tokens, early, late, capture.token_losses(opened, tokens), capture.patterns(opened, tokens), donors)

    def without(self, groups: Sets, how: str = "zero", held: bool = False) -> Float[Tensor, "set text position"]:
        """Losses with each set of heads removed; `held`: all patterns stay as in the clean pass (pattern-preserving)."""
        removed = ablation.sets(groups, self.opened)
        return ablation.run(self.opened, self.tokens, removed, self.donors[how], self.patterns if held else None)

    def putting(self, put: dict[tuple[int, int], Tensor]) -> Float[Tensor, "text position"]:
        """Losses with patterns [#text, query, key] put in place of those of some heads; the rest runs on from there."""
        return ablation.run(self.opened, self.tokens, ablation.sets([[]], self.opened), put=put)[0]

    def score(self, losses: Float[Tensor, "*set text position"]) -> Float[Tensor, "*set text"]:
        """In-context score of each text, in nats."""
        return losses[..., self.late].mean(-1) - losses[..., self.early].mean(-1)

    def share_lost(self, losses: Float[Tensor, "set text position"], rng: np.random.Generator, resamples: int = 2000) -> Interval:
        """Share of the in-context score that is gone, for each set: 1 is all of it, negative is a better score than before."""
        clean = self.score(self.clean)
        return ratio((clean - self.score(losses)).T, clean, rng, resamples)

    def ends(self, losses: Float[Tensor, "set text position"]) -> dict[str, Float[Tensor, "set"]]:
        """Mean change of the loss at the early tokens, the late ones and all, in nats."""
        cost = losses - self.clean
        return {"early": cost[..., self.early].mean((1, 2)), "late": cost[..., self.late].mean((1, 2)), "all": cost.mean((1, 2))}

    def table(self, groups: dict[str, Heads], rng: np.random.Generator, resamples: int, ways=(("zero", False), ("zero", True))) -> pd.DataFrame:
        """One row per named set and way of removing it: share of the in-context score lost, and losses at both ends."""
        parts = []
        for how, held in ways:
            losses = self.without([list(heads) for heads in groups.values()], how, held)
            row = dict(zip(("share_lost", "low", "high"), self.share_lost(losses, rng, resamples), strict=True)) | self.ends(losses)
            columns = {name: values.numpy() for name, values in row.items()}
            parts.append(pd.DataFrame({"heads": list(groups), "how": how, "patterns": "held" if held else "free"} | columns))
        return pd.concat(parts, ignore_index=True)


# --- numbers with intervals over texts ------------------------------------------------------------------------------


def ratio(numerator: Float[Tensor, "text *rest"], denominator: Float[Tensor, "text"], rng: np.random.Generator, resamples: int = 2000) -> Interval:
    """Sum of the numerator over texts divided by that of the denominator, with a 95 % bootstrap interval over texts."""
    n = len(denominator)
    weights = torch.from_numpy(rng.multinomial(n, np.full(n, 1 / n), size=resamples)).to(numerator)
    shape = (-1, *[1] * (numerator.dim() - 1))
    drawn = (weights @ numerator.reshape(n, -1)).reshape(resamples, *numerator.shape[1:]) / (weights @ denominator).reshape(shape)
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=drawn.dtype), dim=0)
    return Interval(numerator.sum(0) / denominator.sum(), low, high)


def undone(effect: Float[Tensor, "*set text position"], change: Float[Tensor, "text position"], rng: np.random.Generator, resamples: int = 2000) -> Interval:
    """Effect on per-token losses along the before-and-after vector, in units of that vector's length.

    effect: losses with heads removed minus clean losses; change: losses after minus before the phase change. The paper's
    dot product with the unit vector, divided by the length of the change: -1 means that all of the change is undone.
    """
    return ratio(torch.einsum("...tp,tp->t...", effect, change), (change**2).sum(1), rng, resamples)


def recovered(gone: Float[Tensor, "text position"], put: Float[Tensor, "text position"], clean: Float[Tensor, "text position"], rng: np.random.Generator, resamples: int = 2000) -> Interval:
    """Share of the loss that removing heads costs which an ideal pattern in their place gives back: 1 is all of it."""
    return ratio((gone - put).mean(1), (gone - clean).mean(1), rng, resamples)


# --- which heads ----------------------------------------------------------------------------------------------------


def controls(heads: Heads, opened, rng: np.random.Generator, draws: int) -> tuple[Sets, str]:
    """Random sets of as many other heads, and what they are; drawn anew, or all of them where there are few.

    From the same layers if each has enough other heads, else from all layers, else all other heads together.
    """
    others = [(layer, head) for layer in range(opened.n_layers) for head in range(opened.n_heads) if (layer, head) not in set(heads)]
    try:
        return ablation.matched_random(heads, opened, rng, draws), "as many other heads of the same layers"
    except ValueError:
        if len(others) <= len(heads):
            return [others], f"all {len(others)} other heads, of any layer"
    every = list(combinations(others, len(heads))) if len(others) <= 12 else []
    if 0 < len(every) <= draws:
        return [list(group) for group in every], "every set of as many other heads, of any layer"
    picks = [rng.choice(len(others), len(heads), replace=False) for _ in range(draws)]
    return [[others[i] for i in pick] for pick in picks], "as many other heads, of any layer"


def looking_back(opened, tokens: Int[Tensor, "text token"], threshold: float, before_layer: int) -> list[tuple[int, int]]:
    """Previous-token heads below a layer: at least `threshold` of their attention on the token before, on average over
    the queries whose token is new. (Where a token has been seen, nothing needs to be noted for later.)"""
    target = scores.previous_target(tokens) & scores.first_occurrence(tokens)[:, :, None]
    weight = scores.weights({"previous": target}).to(opened.device)
    layers = range(before_layer)
    if not layers:
        return []
    found = capture.stream(opened, tokens, lambda layer, z, pattern: {"score": scores.attention_to(pattern, weight)[0].mean(0)}, layers)["score"]
    return [(layer, head) for layer in layers for head in range(opened.n_heads) if found[layer, head] >= threshold]


def uniform_pattern(length: int) -> Float[Tensor, "1 position position"]:
    """Attention spread evenly over all positions so far: a pattern that knows nothing of the text."""
    even = torch.ones(length, length).tril()
    return (even / even.sum(1, keepdim=True))[None]


def change_window(score: Float[Tensor, "snapshot"], share: float = 1 / 3) -> tuple[int, int]:
    """Snapshots just before and after the phase change, from the derivative of the in-context score as in the paper.

    The window grows from the steepest interval between two snapshots to both sides, as long as the fall from one snapshot
    to the next is at least `share` of the steepest. Error: ValueError for fewer than two snapshots.
    """
    if len(score) < 2:
        raise ValueError("A phase change needs at least two snapshots of training.")
    fall = score[:-1] - score[1:]
    before = after = int(fall.argmax())
    least = share * float(fall.max())
    while before > 0 and fall[before - 1] >= least:
        before -= 1
    while after + 1 < len(fall) and fall[after + 1] >= least:
        after += 1
    return before, after + 1
