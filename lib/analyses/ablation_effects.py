"""What taking heads out costs: in-context learning and loss (Olsson et al., argument 3).

Idea. A `CleanRun` holds a model, texts, and the pass in which nothing is touched: its losses, its
attention patterns, donors for heads that are taken out. Any number of sets of heads is then removed
in one of six ways (`HOW` x patterns held or free), and what comes back are losses per token:

    run = on_repeats(opened, rng, length=20, repeats=3, examples=8)
    gone = run.without([[(1, 2)], [(1, 2), (1, 6)]], how="zero", held=True)  # [set, text, position]
    run.share_lost(gone, rng)                                                # of in-context score

Caveat. The in-context score is a difference of losses: it also "improves" when early tokens get
worse. Look at both ends (`CleanRun.table`) before calling a rise in the score more learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, combinations, product
from math import comb, prod

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.analyses import detection
from lib.measures import scores
from lib.measures.statistics import Estimate, Interval, interval, ratio, ratio_draws
from lib.models import opening, training
from lib.tracing import capture, interventions

HOW = ("zero", "mean", "resample")
FREE_AND_HELD = (("zero", False), ("zero", True))
SIX_WAYS = [(how, held) for held in (False, True) for how in HOW]
LOGITS = 100_000_000  # numbers that one pass over several sets of heads may hold as logits
Heads = interventions.Heads
Sets = list[list[tuple[int, int]]]


@dataclass(frozen=True)
class CleanRun:
    """A model, texts, and the losses of the pass in which nothing is touched. Donors and patterns
    of that pass are read when they are first needed."""

    opened: object
    tokens: Int[Tensor, "text token"]
    early: slice
    late: slice
    losses: Float[Tensor, "text position"]

    @classmethod
    def of(cls, opened, tokens: Int[Tensor, "text token"], early: slice, late: slice) -> CleanRun:
        """Run the clean pass. Error: ValueError for a single text, whose resampled heads would get
        their own output back."""
        if len(tokens) < 2:
            raise ValueError(
                "Ablation needs at least two texts: with one, a resampled head would get its own "
                "output back."
            )
        return cls(opened, tokens, early, late, capture.token_losses(opened, tokens))

    @cached_property
    def patterns(self) -> Float[Tensor, "layer text head query key"]:
        """Attention patterns of the clean pass."""
        return capture.patterns(self.opened, self.tokens)

    @cached_property
    def donors(self) -> dict[str, Float[Tensor, "layer #text #query head d_head"]]:
        """What takes a removed head's place: its mean over texts and positions, or its output in
        the text before."""
        z = interventions.outputs(self.opened, self.tokens)
        return {"mean": z.mean((1, 2), keepdim=True), "resample": z.roll(1, 1)}

    def without(
        self, groups: Sets, how: str = "zero", held: bool = False
    ) -> Float[Tensor, "set text position"]:
        """Losses with each set of heads removed; `held`: all patterns stay as in the clean pass
        (pattern-preserving)."""
        return _without(self.opened, self, interventions.sets(groups, self.opened), how, held)

    def under(self, clamps: Sequence[interventions.Clamp]) -> Float[Tensor, "text position"]:
        """Losses under clamps of one set of heads; the rest runs on from there."""
        return interventions.run(self.opened, self.tokens, clamps)[0]

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
        clean = self.score(self.losses)
        return ratio((clean - self.score(losses)).movedim(-1, 0), clean, rng, resamples)

    def row(
        self, groups: Sets, how: str, held: bool, rng: np.random.Generator, resamples: int
    ) -> dict[str, float]:
        """Share of the in-context score lost, and the change of the loss at both ends, averaged
        over sets of heads.

        The interval is that over texts for a single set, and the whole range where there are
        several.
        """
        losses = self.without(groups, how, held)
        share = self.share_lost(losses, rng, resamples)
        ends = share.low, share.high
        if len(groups) > 1:
            ends = share.value, share.value
        cost = (losses - self.losses).mean((0, 1))
        row = {
            "share_lost": share.value.mean(),
            "low": ends[0].min(),
            "high": ends[1].max(),
            "early": cost[self.early].mean(),
            "late": cost[self.late].mean(),
        }
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
            labels = {"how": how, "patterns": "held" if held else "free"}
            for name, sets in groups.items():
                row = self.row(sets, how, held, rng, resamples)
                rows.append({"removed": name, "sets": len(sets)} | labels | row)
        return pd.DataFrame(rows)


@capture.there
def _without(
    opened, run: CleanRun, heads: Bool[Tensor, "set layer head"], how: str, held: bool
) -> Float[Tensor, "set text position"]:
    """`CleanRun.without`, donors and patterns read where the model is."""
    clamps = [taken_out(run, heads, how), *(interventions.held(run.patterns) if held else ())]
    at_once = max(1, LOGITS // (run.tokens.numel() * opened.vocabulary))
    return interventions.run(opened, run.tokens, clamps, side_by_side=min(16, at_once))


def taken_out(
    run: CleanRun, heads: Bool[Tensor, "set layer head"], how: str
) -> interventions.OfHeads:
    """The clamp that takes sets of heads out; `how` says what fills the gap."""
    if how == "zero":
        return interventions.Silence(heads)
    return interventions.Replace(heads, run.donors[how])


def on_own_texts(
    name: str, seed: int, p, rng: np.random.Generator, kind: str | None = None
) -> CleanRun:
    """One of the book's own models after training, on `p.texts` fresh texts like those that it was
    trained on; `kind`: of a world."""
    corpus = training.RECIPES[name].make_corpus()
    drawn = corpus.documents(rng, p.texts, kind).tokens if kind else corpus.batch(rng, p.texts)
    opened = opening.open_organism(name, seed, p)
    return CleanRun.of(opened, torch.from_numpy(drawn), *scores.windows(opened.context))


def before_training(run: CleanRun, name: str, seed: int, p) -> CleanRun:
    """The same texts read by the same model at step 0."""
    opened = opening.open_organism(name, seed, p, step=0)
    return CleanRun.of(opened, run.tokens, run.early, run.late)


def on_repeats(
    opened, rng: np.random.Generator, length: int, repeats: int, examples: int
) -> CleanRun:
    """Any model on repeated random tokens."""
    tokens = detection.random_repeats(opened, rng, length, repeats, examples)
    windows = scores.block_windows(length, repeats, len(opened.front))
    return CleanRun.of(opened, tokens, *windows)


def one_after_another(run: CleanRun, heads: Heads) -> pd.DataFrame:
    """In-context score as heads are removed in their order, patterns held: `heads removed`,
    `score`."""
    sets = [list(heads[:count]) for count in range(len(heads) + 1)]
    left = run.score(run.without(sets, held=True)).mean(1)
    return pd.DataFrame({"heads removed": range(len(sets)), "score": left.numpy()})


# --- which heads beside which ---


def controls(heads: Heads, opened, rng: np.random.Generator, draws: int) -> tuple[Sets, str]:
    """At most `draws` distinct sets of as many heads, and what they are; all such sets where there
    are no more.

    In each layer as many other heads; where it has too few, all of them and, to make up the number,
    some of the heads themselves. If their layers have no other head at all: heads of other layers.
    """
    chosen, layers = set(heads), sorted({layer for layer, _ in heads})
    every = [(i, h) for i in range(opened.n_layers) for h in range(opened.n_heads)]
    others = [head for head in every if head not in chosen]
    if heads and not any(layer in layers for layer, _ in others):
        number = min(len(heads), len(others))
        return _distinct([(others, number)], rng, draws), f"{number} heads of other layers"
    pools, filled = [], False
    for layer in layers:
        own = [head for head in heads if head[0] == layer]
        rest = [head for head in others if head[0] == layer]
        pools.append((rest, min(len(own), len(rest))))
        if len(rest) < len(own):
            pools.append((own, len(own) - len(rest)))
            filled = True
    what = "as many other heads of the same layers"
    return _distinct(pools, rng, draws), what + (", filled up with some of these" if filled else "")


def _distinct(
    pools: list[tuple[list[tuple[int, int]], int]], rng: np.random.Generator, draws: int
) -> Sets:
    """Different sets that take a number of heads from each pool: all of them, or `draws`."""
    if prod(comb(len(pool), n) for pool, n in pools) <= draws:
        picks = product(*(combinations(pool, n) for pool, n in pools))
        return [list(chain(*pick)) for pick in picks]
    found = set()
    while len(found) < draws:
        taken = [(pool, rng.permutation(len(pool))[:n]) for pool, n in pools]
        found.add(tuple(sorted(pool[i] for pool, picks in taken for i in picks)))
    return [list(heads) for heads in sorted(found)]


# --- parts of claims ---


def joint(
    seed: int, run: CleanRun, groups: Sets, rng: np.random.Generator, resamples: int
) -> list[Estimate]:
    """Parts of O10 and O10-same-layers: share of the in-context score lost without a set of heads
    (mean over sets), zeroed with patterns held, or set to their mean with patterns free. Not a
    number where there are no heads."""
    losses = {
        "joint": run.without(groups, held=True).mean(0),
        "joint-mean": run.without(groups, "mean").mean(0),
    }
    none = 0.0 if any(groups) else float("nan")
    return [
        Estimate.of(part, seed, run.share_lost(lost + none, rng, resamples), len(lost))
        for part, lost in losses.items()
    ]


def as_part(estimates: Sequence[Estimate], part: str, null: str = "") -> list[Estimate]:
    """The numbers of `joint` with held patterns as those of another part."""
    return [replace(e, part=part, null=null) for e in estimates if e.part == "joint"]


def better_without(
    part: str, seed: int, run: CleanRun, heads: Heads, rng: np.random.Generator, resamples: int
) -> Estimate:
    """Share of the heads whose removal, one at a time with patterns held, leaves a better
    in-context score."""
    if not heads:
        return Estimate(part, seed, *[float("nan")] * 3, len(run.losses))
    clean = run.score(run.losses)
    lost = clean - run.score(run.without([[head] for head in heads], held=True))
    drawn = ratio_draws(lost.T, clean, rng, resamples)
    return Estimate.of(part, seed, interval((drawn < 0).float().mean(1)), len(clean))


def last_layer(
    part: str, seed: int, run: CleanRun, layers: Sets, rng: np.random.Generator, resamples: int
) -> Estimate:
    """Share of the in-context score lost without the last of some sets of heads, less that without
    the costliest other; each set the heads of a layer, say."""
    clean = run.score(run.losses)
    lost = clean - run.score(run.without(layers, held=True))
    drawn = ratio_draws(lost.T, clean, rng, resamples)
    least = drawn[:, -1] - drawn[:, :-1].amax(1)
    return Estimate.of(part, seed, interval(least), len(clean))


def by_layer(opened, rng: np.random.Generator | None = None) -> Sets:
    """All heads, layer by layer; with `rng` dealt anew, so that the sets mean nothing."""
    every = [(i, h) for i in range(opened.n_layers) for h in range(opened.n_heads)]
    order = range(len(every)) if rng is None else rng.permutation(len(every))
    mixed, size = [every[i] for i in order], opened.n_heads
    return [mixed[i : i + size] for i in range(0, len(mixed), size)]
