"""What taking heads out costs: in-context learning, loss, and the direction of the phase change
(Olsson et al., argument 3).

Idea. A `Bench` holds a model and texts, and the clean pass over them: losses, attention patterns,
donors for heads that
are taken out. Any number of sets of heads is then removed in one of six ways (`HOW` x patterns held
or free), and what
comes back are losses per token, from which four numbers follow, each a ratio of sums over texts
with its interval:

    bench = Bench.of(opened, tokens, *windows(opened.context))
    gone = bench.without([[(1, 2)], [(1, 2), (1, 6)]], how="zero", held=True)    # [set, text,
    position]
    bench.share_lost(gone, rng)      # of the in-context score
    undone(gone - bench.clean, after - before, rng)     # of the phase change
    recovered(gone[0], with_ideal_pattern, bench.clean, rng)    # of the loss that removing the
    heads cost

Caveat. The in-context score is a difference of losses: it also "improves" when early tokens get
worse. Look at both ends
(`bench.table`) before calling a rise in the score more learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.analyses import detection
from lib.measures import scores
from lib.measures.statistics import Estimate, Interval, interval, ratio, ratio_draws
from lib.models import opening, training
from lib.tracing import ablation, capture

HOW = ("zero", "mean", "resample")
FREE_AND_HELD = (("zero", False), ("zero", True))
LOGITS = 100_000_000  # numbers that one pass over several sets of heads may hold as logits
Heads = ablation.Heads
Sets = list[list[tuple[int, int]]]


def windows(context: int) -> tuple[slice, slice]:
    """Early and late positions of per-token losses: of 64 tokens, those from 3 to 8 and from 53 to
    62, else in proportion.

    A loss at place i is that of token i + 1. Error: ValueError for a context too short for two
    windows.
    """
    if context < 16:
        raise ValueError(
            f"A context of {context} tokens is too short for an early and a late window; at least 16 are needed."
        )
    at = [round(place * context / 64) for place in (2, 8, 52, 62)]
    return slice(at[0], at[1]), slice(at[2], at[3])


def block_windows(length: int, repeats: int, bos: bool) -> tuple[slice, slice]:
    """Early and late for repeated random tokens: the first block, without its first token, and the
    last block."""
    first = int(bos)
    return slice(first, first + length - 1), slice(
        first + (repeats - 1) * length - 1, first + repeats * length - 1
    )


@dataclass(frozen=True)
class Bench:
    """A model, texts, and the clean pass over them. Donors and clean patterns are read when they
    are first needed."""

    opened: object
    tokens: Int[Tensor, "text token"]
    early: slice
    late: slice
    clean: Float[Tensor, "text position"]

    @classmethod
    def of(cls, opened, tokens: Int[Tensor, "text token"], early: slice, late: slice) -> Bench:
        """Run the clean pass. Error: ValueError for a single text, whose resampled heads would get
        their own output back."""
        if len(tokens) < 2:
            raise ValueError(
                "Ablation needs at least two texts: with one, a resampled head would get its own output back."
            )
        return cls(opened, tokens, early, late, capture.token_losses(opened, tokens))

    @cached_property
    def patterns(self) -> Float[Tensor, "layer text head query key"]:
        """Attention patterns of the clean pass."""
        return capture.patterns(self.opened, self.tokens)

    @cached_property
    def donors(self) -> dict[str, Float[Tensor, "layer #text #query head d_head"] | None]:
        """What takes a removed head's place: nothing, its mean over texts and positions, its output
        in the text before."""
        z = ablation.outputs(self.opened, self.tokens)
        return {"mean": z.mean((1, 2), keepdim=True), "resample": z.roll(1, 1)}

    def without(
        self, groups: Sets, how: str = "zero", held: bool = False
    ) -> Float[Tensor, "set text position"]:
        """Losses with each set of heads removed; `held`: all patterns stay as in the clean pass
        (pattern-preserving)."""
        removed = ablation.sets(groups, self.opened)
        donor = None if how == "zero" else self.donors[how]
        at_once = max(1, LOGITS // (self.tokens.numel() * self.opened.vocabulary))
        return ablation.run(
            self.opened,
            self.tokens,
            removed,
            donor,
            self.patterns if held else None,
            side_by_side=min(16, at_once),
        )

    def putting(self, put: dict[tuple[int, int], Tensor]) -> Float[Tensor, "text position"]:
        """Losses with patterns [#text, query, key] put in place of those of some heads; the rest
        runs on from there."""
        return ablation.run(self.opened, self.tokens, ablation.sets([[]], self.opened), put=put)[0]

    def score(self, losses: Float[Tensor, "*set text position"]) -> Float[Tensor, "*set text"]:
        """In-context score of each text, in nats."""
        return scores.in_context_score(losses, self.early, self.late)

    def share_lost(
        self,
        losses: Float[Tensor, "*set text position"],
        rng: np.random.Generator,
        resamples: int = 2000,
    ) -> Interval:
        """Share of the in-context score that is gone, for each set: 1 is all of it, negative is a
        better score than before."""
        clean = self.score(self.clean)
        return ratio((clean - self.score(losses)).movedim(-1, 0), clean, rng, resamples)

    def row(
        self, groups: Sets, how: str, held: bool, rng: np.random.Generator, resamples: int
    ) -> dict[str, float]:
        """Share of the in-context score lost, and the change of the loss at both ends, averaged
        over sets of heads.

        The interval is that over texts for a single set, and the middle 95 % of the sets where
        there are several.
        """
        losses = self.without(groups, how, held)
        share = self.share_lost(losses, rng, resamples)
        among = torch.quantile(share.value, torch.tensor([0.025, 0.975]))
        low, high = (share.low[0], share.high[0]) if len(groups) == 1 else among
        cost = (losses - self.clean).mean((0, 1))
        ends = {
            "early": cost[self.early].mean(),
            "late": cost[self.late].mean(),
            "all": cost.mean(),
        }
        row = {
            "share_lost": share.value.mean(),
            "low": low,
            "high": high,
            "score": self.score(losses).mean(),
        } | ends
        return {name: float(value) for name, value in row.items()}

    def table(
        self,
        groups: dict[str, Sets],
        rng: np.random.Generator,
        resamples: int,
        ways: Sequence[tuple[str, bool]] = FREE_AND_HELD,
    ) -> pd.DataFrame:
        """One row for each way (how, held) of removing each of the named sets (or, averaged, lists
        of sets) of heads."""
        rows = []
        for how, held in ways:
            labels = {"how": how, "patterns": "held" if held else "free", "sets": None}
            rows += [
                {"removed": name}
                | labels
                | {"sets": len(sets)}
                | self.row(sets, how, held, rng, resamples)
                for name, sets in groups.items()
            ]
        return pd.DataFrame(rows)


def own_bench(name: str, seed: int, p, rng: np.random.Generator, kind: str | None = None) -> Bench:
    """One of the book's own models after training, on `p.texts` fresh texts like those that it was
    trained on; `kind`: of a world."""
    opened = opening.open_organism(name, seed, p)
    corpus = training.RECIPES[name].make_corpus()
    texts = (
        corpus.batch(rng, p.texts) if kind is None else corpus.documents(rng, p.texts, kind).tokens
    )
    return Bench.of(opened, torch.from_numpy(texts), *windows(opened.context))


def repeats_bench(
    opened, rng: np.random.Generator, length: int, repeats: int, examples: int
) -> Bench:
    """Any model on repeated random tokens."""
    tokens = detection.random_repeats(opened, rng, length, repeats, examples)
    return Bench.of(opened, tokens, *block_windows(length, repeats, opened.bos is not None))


def over_training(
    name: str, seed: int, p, tokens: Int[Tensor, "text token"]
) -> tuple[list[int], Float[Tensor, "snapshot text position"]]:
    """Steps of the snapshots of one of the book's own models, and the losses of each of them on the
    texts."""
    kept = opening.organism_snapshots(name, seed, p)
    opened = opening.open_model(kept[min(kept)])
    losses = [
        capture.token_losses(o, tokens) for _, o in opening.snapshots_in_turn(opened, kept.values())
    ]
    return list(kept), torch.stack(losses)


def checkpoint_losses(p, tokens: Int[Tensor, "text token"]) -> list[Float[Tensor, "text position"]]:
    """Losses of the first and the last of a profile's `checkpoints` (directories, or revisions of
    its `model`)."""
    places = opening.checkpoints(p)
    return [
        capture.token_losses(opening.open_named(p, *place), tokens)
        for place in (places[0], places[-1])
    ]


# --- numbers with intervals over texts ---


def undone(
    effect: Float[Tensor, "*set text position"],
    change: Float[Tensor, "text position"],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Interval:
    """Effect on per-token losses along the before-and-after vector, in units of that vector's
    length.

    effect: losses with heads removed minus clean losses; change: losses after minus before the
    phase change. The paper's
    dot product with the unit vector, divided by the length of the change: -1 means that all of the
    change is undone.
    """
    return ratio(torch.einsum("...tp,tp->t...", effect, change), (change**2).sum(1), rng, resamples)


def recovered(
    gone: Float[Tensor, "text position"],
    put: Float[Tensor, "text position"],
    clean: Float[Tensor, "text position"],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Interval:
    """Share of the loss that removing heads costs which an ideal pattern in their place gives back:
    1 is all of it."""
    return ratio((gone - put).mean(1), (gone - clean).mean(1), rng, resamples)


# --- parts of claims ---


def joint(
    seed: int, bench: Bench, heads: Heads, others: Sets, rng: np.random.Generator, resamples: int
) -> list[Estimate]:
    """Parts of O10 and O10-same-layers: share of the in-context score lost without all `heads`,
    zeroed with patterns held or set to their
    mean with patterns free, and without as many others (mean over the sets). Not a number where
    there are no heads."""
    losses = {
        "joint": bench.without([heads], held=True)[0],
        "joint-mean": bench.without([heads], "mean")[0],
        "others": bench.without(others, held=True).mean(0),
    }
    none = float("nan") if not heads else 0.0
    return [
        Estimate.of(part, seed, bench.share_lost(lost + none, rng, resamples), len(lost))
        for part, lost in losses.items()
    ]


def spared(
    part: str,
    seed: int,
    bench: Bench,
    heads: Heads,
    rng: np.random.Generator,
    resamples: int,
    least: float = 0.1,
) -> Estimate:
    """Share of the heads whose removal, one at a time with patterns held, costs at most `least` of
    the in-context score."""
    losses = bench.without([[head] for head in heads], held=True)
    clean = bench.score(bench.clean)
    draws = ratio_draws((clean - bench.score(losses)).T, clean, rng, resamples)
    return Estimate.of(part, seed, interval((draws <= least).float().mean(1)), len(clean))


def last_layer(
    part: str, seed: int, bench: Bench, rng: np.random.Generator, resamples: int
) -> Estimate:
    """Share of the in-context score lost without the last layer's heads, less that without the
    costliest earlier layer's."""
    layers = [
        [(layer, head) for head in range(bench.opened.n_heads)]
        for layer in range(bench.opened.n_layers)
    ]
    clean = bench.score(bench.clean)
    draws = ratio_draws(
        (clean - bench.score(bench.without(layers, held=True))).T, clean, rng, resamples
    )
    return Estimate.of(part, seed, interval(draws[:, -1] - draws[:, :-1].max(1).values), len(clean))


# --- which heads ---


def controls(heads: Heads, opened, rng: np.random.Generator, draws: int) -> tuple[Sets, str]:
    """Random sets of as many other heads, and what they are; drawn anew, or all of them where there
    are few.

    From the same layers if each has enough other heads, else from all layers, else all other heads
    together.
    """
    others = [
        (layer, head)
        for layer in range(opened.n_layers)
        for head in range(opened.n_heads)
        if (layer, head) not in set(heads)
    ]
    try:
        return ablation.matched_random(
            heads, opened, rng, draws
        ), "as many other heads of the same layers"
    except ValueError:
        if len(others) <= len(heads):
            return [others], f"all {len(others)} other heads, of any layer"
    every = list(combinations(others, len(heads))) if len(others) <= 12 else []
    if 0 < len(every) <= draws:
        return [list(group) for group in every], "every set of as many other heads, of any layer"
    picks = [rng.choice(len(others), len(heads), replace=False) for _ in range(draws)]
    return [[others[i] for i in pick] for pick in picks], "as many other heads, of any layer"


def looking_back(
    opened, tokens: Int[Tensor, "text token"], threshold: float, before_layer: int
) -> list[tuple[int, int]]:
    """Previous-token heads below a layer: at least `threshold` of their attention on the token
    before, on average over
    the queries whose token is new. (Where a token has been seen, nothing needs to be noted for
    later.)"""
    target = scores.previous_target(tokens) & scores.first_occurrence(tokens)[:, :, None]
    weight = scores.weights({"previous": target}).to(opened.device)
    layers = range(before_layer)
    if not layers:
        return []
    found = capture.stream(
        opened,
        tokens,
        lambda layer, z, pattern: {"score": scores.attention_to(pattern, weight)[0].mean(0)},
        layers,
    )["score"]
    return [
        (layer, head)
        for layer in layers
        for head in range(opened.n_heads)
        if found[layer, head] >= threshold
    ]


def uniform_pattern(length: int) -> Float[Tensor, "1 position position"]:
    """Attention spread evenly over all positions so far: a pattern that knows nothing of the
    text."""
    even = torch.ones(length, length).tril()
    return (even / even.sum(1, keepdim=True))[None]


def change_window(score: Float[Tensor, "snapshot"], share: float = 1 / 3) -> tuple[int, int]:
    """Snapshots just before and after the phase change, from the derivative of the in-context score
    as in the paper.

    The window grows from the steepest interval between two snapshots to both sides, as long as the
    fall from one snapshot
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
