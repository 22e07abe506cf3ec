"""The numbers behind the claims on causes: R10 by level and family, R12, R13, and what later work
says (Y, K, E).

Each function gives the estimates of one claim from one model, on its subject and on its nulls.
Intervals are over prompts or texts, or over heads where heads are compared, and corrected for the
four families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.analyses.causal_study import (
    APART,
    ENTROPY,
    LAYERS,
    LEVEL,
    SHUFFLED,
    UNTRAINED,
    Removed,
    Study,
    beyond,
)
from lib.analyses.causes import COUNTED, FORMAT, LOSS, PATTERN
from lib.analyses.head_families import FAMILIES, INDUCTION, PRINTED, SEMANTIC, VECTORS
from lib.analyses.importance import within_layers
from lib.measures import statistics
from lib.measures.statistics import Estimate, Rate

Nulls = Mapping[str, Removed]
SCORES = {"index": SEMANTIC, "printed": PRINTED}
OTHERS = {"prefix": INDUCTION, "copying": "copying", "vectors": VECTORS}
DEALT = "shuffled heads"


def _estimate(part: str, seed: int, drawn: Float[Tensor, "draw"], n: int) -> Estimate:
    return Estimate.of(part, seed, statistics.interval(drawn, LEVEL), n)


def needed(seed: int, family: str, level: str, gone: Removed, nulls: Nulls) -> list[Estimate]:
    """R10 for a family and a level: what is lost without its heads, what of that is more than
    without others of their layers, and what is lost without those that are in this family alone."""
    asked = {UNTRAINED} | ({SHUFFLED} if level == PATTERN else set())
    others = family + LAYERS
    parts = {"lost": (level, family), "apart": (level, family + APART)}
    parts |= {"answers": (COUNTED, family)} if level == PATTERN else {}
    found = []
    for part, (counted, group) in parts.items():
        named = {"": (gone, group), "other heads": (gone, others)}
        named |= {null: (nulls[null], group) for null in asked}
        for null, (one, heads) in named.items():
            drawn = one.mean(counted, heads)
            found.append(_estimate(part, seed, drawn, gone.units[counted]).on(null))
    for null, one in {"": gone, **{null: nulls[null] for null in asked}}.items():
        drawn = beyond(one, level, family, others)
        found.append(_estimate("beyond", seed, drawn, gone.units[level]).on(null))
    return found


def false_alarms(level: str, gone: Mapping[int, Removed], tolerance: float) -> Rate:
    """How often a random set, one a model, is found to lose more of a level than the others."""
    passed = trials = 0
    for family in FAMILIES:
        drawn = [one.of(level, family + LAYERS) for one in gone.values()]
        for i in range(min(d.shape[1] for d in drawn)):
            trials += 1
            passed += all(_stands_out(d, i) > tolerance for d in drawn)
    return Rate("beyond", "false alarms on random sets of heads", passed, trials)


def _stands_out(drawn: Float[Tensor, "draw set"], i: int) -> float:
    """The low end of what one set loses more than the rest of its group."""
    rest = torch.cat([drawn[:, :i], drawn[:, i + 1 :]], 1).mean(1)
    return float(statistics.interval(drawn[:, i] - rest, LEVEL).low)


def more_than_the_rest(seed: int, gone: Removed) -> list[Estimate]:
    """R10-levels: how much more of pattern discovery is lost than of each other level."""
    found = []
    for part, level in (("format", FORMAT), ("loss", LOSS)):
        for null, group in (("", SEMANTIC), ("other heads", SEMANTIC + LAYERS)):
            drawn = gone.mean(PATTERN, group) - gone.mean(level, group)
            found.append(_estimate(part, seed, drawn, gone.units[level]).on(null))
    return found


def vectors_or_induction(seed: int, gone: Removed) -> list[Estimate]:
    """Y1: who costs more, of accuracy the function-vector heads, of loss reduction the induction
    heads; each without the best of the other."""
    found = []
    sides = {"accuracy": (PATTERN, VECTORS, INDUCTION), "loss": (LOSS, INDUCTION, VECTORS)}
    for part, (level, more, less) in sides.items():
        for null, kind in (("", APART), ("other heads", LAYERS)):
            drawn = gone.mean(level, more + kind) - gone.mean(level, less + kind)
            found.append(_estimate(part, seed, drawn, gone.units[level]).on(null))
    return found


def carried(seed: int, vectors, rng: np.random.Generator, resamples: int) -> list[Estimate]:
    """Y1: the gain in probability that the best heads bring, chosen on every second task and
    measured on the rest; and the same by means that know nothing of the rule."""
    found = []
    for null, samples in (("", vectors.samples), ("shuffled means", vectors.null_samples)):
        chosen = samples[::2].mean((0, 1)).flatten().argmax()
        units = samples[1::2].flatten(2)[..., chosen].flatten()
        drawn = statistics.bootstrap_mean(units, rng, resamples)
        found.append(Estimate.of("vectors", seed, drawn, len(units)).on(null))
    return found


def knocked_out(
    seed: int, removed: Removed, blinded: Removed, elsewhere: Removed
) -> list[Estimate]:
    """K1: how far what is lost when induction heads do not see what matches is from what is lost
    without them; and the same when they do not see what matches in another prompt."""
    found = []
    for part, level in (("pattern", PATTERN), ("loss", LOSS)):
        for null, one in (("", blinded), ("keys of another prompt", elsewhere)):
            drawn = (one.mean(level, INDUCTION) - removed.mean(level, INDUCTION)).abs()
            found.append(_estimate(part, seed, drawn, removed.units[level]).on(null))
    return found


def like_entropy(seed: int, gone: Removed, untrained: Removed) -> list[Estimate]:
    """E1: what more is lost of pattern discovery than without heads of like attention entropy."""
    found = []
    for part, family in (("semantic", SEMANTIC), ("induction", INDUCTION)):
        for null, one in (("", gone), (UNTRAINED, untrained)):
            drawn = beyond(one, PATTERN, family, family + ENTROPY)
            found.append(_estimate(part, seed, drawn, gone.units[PATTERN]).on(null))
    return found


# --- R13: which score tells how important a head is ---


def predicts(
    study: Study, exact: Tensor, names: Mapping[str, str], rng: np.random.Generator, resamples: int
) -> list[Estimate]:
    """R13 and R13-others: rank correlation over all heads of scores with exact patching importance,
    and (`…-within`) within layers."""
    found = []
    for part, score in names.items():
        value = study.heads.scores[score]
        for null, given in (("", value), (DEALT, dealt(value, rng))):
            pairs = {part: (given, exact)}
            pairs[part + "-within"] = within_layers(given), within_layers(exact)
            for name, (a, b) in pairs.items():
                drawn = statistics.spearman_interval(a.flatten(), b.flatten(), rng, resamples)
                found.append(Estimate(name, study.seed, *drawn, a.numel(), null))
    return found


def dealt(score: Tensor, rng: np.random.Generator) -> Tensor:
    """A score's values given to other heads."""
    order = torch.from_numpy(rng.permutation(score.numel()))
    return score.flatten()[order].view_as(score)


def chance_correlations(
    part: str,
    pairs: Sequence[tuple[Tensor, Tensor]],
    tolerance: float,
    rng: np.random.Generator,
    trials: int = 100,
) -> Rate:
    """How often scores dealt to other heads pass the rule of R13, in all models at once."""
    passed = 0
    for _ in range(trials):
        lows = []
        for score, exact in pairs:
            mixed = dealt(score, rng).flatten()
            lows.append(statistics.spearman_interval(mixed, exact.flatten(), rng, 200)[1])
        passed += min(lows) > tolerance
    return Rate(part, "false alarms on shuffled heads", passed, trials)
