"""What claims ask of the timing of heads: each function measures one part, with its interval.

    apart(run, "facts", "facts, source", "pattern discovery")
    apart_at_random(run, "facts", "facts, source", "pattern discovery")    # on heads drawn anew

Distances are in doublings of training, as training has no other clock that serves all models. What
makes an interval are topics, verbs, documents, sequences and prompts, each of them drawn apart;
where labels are dealt anew it leaves out 95 % of the dealings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.analyses.emergence_families import PATTERN, Sets, Timing
from lib.measures import emergence, onsets, statistics
from lib.measures.emergence import Ratio
from lib.measures.statistics import Estimate, Interval

NEAR = 0.5  # doublings: half of the paper's "1 to 2 thousand steps" to either side
RISES = 0.1  # the paper's line between a salient index and none
DEALINGS = 1000
When = Callable[[Tensor], Tensor]  # leads -> who is counted
WHEN: dict[str, When] = {
    "before": lambda lead: lead > NEAR,
    "with": lambda lead: lead.abs() <= NEAR,
    "after": lambda lead: lead < -NEAR,
}

# --- onsets of families (R8, R9) ---


def apart(run: Timing, part: str, name: str, level: str) -> Estimate:
    """Doublings of training between the onsets of a family and of a level."""
    return _apart(run, part, run.onsets[name], run.levels[level], run.families[name].units)


def apart_at_random(run: Timing, part: str, name: str, level: str) -> Estimate:
    """The same for heads drawn from the same layers."""
    family = run.families[name]
    drawn = family.drawn_from(run.course.layer, run.rng)
    return _apart(run, part, family.onset(run.course.steps, drawn), run.levels[level], family.units)


def loss_apart(run: Timing, part: str, level: str) -> Estimate:
    """The same for the plain loss curve."""
    return _apart(run, part, run.levels["loss"], run.levels[level], len(run.course.losses))


def apart_from_other(run: Timing, part: str, name: str, other: Timing, level: str) -> Estimate:
    """The same for the level of another run."""
    return _apart(run, part, run.onsets[name], other.levels[level], run.families[name].units)


def _apart(run: Timing, part: str, one: Tensor, other: Tensor, n: int) -> Estimate:
    distance = emergence.lead(one, other).abs()
    return Estimate.of(part, run.course.seed, statistics.interval(distance), n)


# --- copying falls (R9) ---


def falls(run: Timing, part: str, name: str, later: float | int = 1) -> Estimate:
    """Largest fall of a head's copying over the doubling around pattern discovery's onset.

    The head is chosen on half of the documents and measured on the rest, both ways. later: factor
    on the doubling, for one that is not that of pattern discovery.
    """
    curves = run.families[name].curves
    lost = [_lost(run, drawn, later) for drawn in curves]
    measured = [on[:, int(by[0].argmax())] for on, by in zip(lost, reversed(lost), strict=True)]
    found = statistics.interval(torch.stack(measured).mean(0))
    return Estimate.of(part, run.course.seed, found, run.families[name].units)


def _lost(
    run: Timing, drawn: Float[Tensor, "draw head snapshot"], later: float | int
) -> Float[Tensor, "draw head"]:
    smooth, middle = emergence.smoothed(drawn), run.at_pattern(later)
    start, end = (
        onsets.at(run.course.steps, smooth, step) for step in (middle / 2**0.5, middle * 2**0.5)
    )
    return start - end


# --- single heads (R11) ---


def share(run: Timing, part: str, name: str, when: str, sets: Sets | None = None) -> Estimate:
    """Share of the heads that rise, counted by relation, that do so before, with or after pattern
    discovery; or of other sets of them."""
    family = run.families[name]
    members = family.rising(RISES) if sets is None else sets
    leads = family.leads(run.course.steps, run.levels[PATTERN], members)
    found = statistics.interval(WHEN[when](leads).float().mean(1))
    return Estimate.of(part, run.course.seed, found, family.units)


def share_at_random(run: Timing, part: str, name: str, when: str) -> Estimate:
    """The same of as many others of the same layers and relations."""
    family = run.families[name]
    drawn = family.drawn_from(run.course.layer, run.rng, family.rising(RISES))
    return share(run, part, name, when, drawn)


# --- the same heads? ---


def kept(run: Timing, part: str, name: str, row: int = 0, other: Timing | None = None) -> Estimate:
    """Overlap of the heads highest at pattern discovery's onset and at the end, less dealt ones.

    The early set is read on one half of the units and the final one on the other half, both ways.
    row: 0 asks of the truth, others of that dealing of heads within layers; other: a run whose
    final heads are asked for.
    """
    ratio = run.course.indexes[name]
    early = _early(run, ratio)
    last = _final((other or run).course.indexes[name])
    observed = _overlaps(run, early, last, DEALINGS)
    dealt = observed[1:].quantile(torch.tensor([0.5, 0.975, 0.025], dtype=observed.dtype))
    value = observed[row] - torch.stack([observed[1:].mean(), *dealt[1:]])
    return Estimate.of(part, run.course.seed, Interval(*value), len(ratio.above))


def _early(run: Timing, ratio: Ratio) -> list[Tensor]:
    """Values at pattern discovery's onset on either half, [cell, head]."""
    steps, place = run.course.steps, run.at_pattern()
    curves = (emergence.smoothed(part.value) for part in emergence.halves(ratio))
    return [onsets.at(steps, curve, place) for curve in curves]


def _final(ratio: Ratio) -> list[Tensor]:
    """Values over the last three snapshots on the other half, [cell, head]."""
    return [part.value[..., -3:].mean(-1) for part in reversed(emergence.halves(ratio))]


def _overlaps(
    run: Timing, early: list[Tensor], last: list[Tensor], dealings: int
) -> Float[Tensor, " row"]:
    """Mean overlap of the k highest heads over cells and halves; row 0 is the truth, in the others
    the early values are dealt anew within layers."""
    rng, layer = np.random.default_rng(run.course.seed), run.course.layer
    rows = []
    for row in range(dealings + 1):
        dealt = [emergence.within_layers(x, layer, rng) for x in early] if row else early
        pairs = zip(dealt, last, strict=True)
        found = [emergence.overlap(*(emergence.highest(x, run.k) for x in pair)) for pair in pairs]
        rows.append(torch.stack(found).mean())
    return torch.stack(rows)


# --- function vectors (Y) ---


def vectors_start(run: Timing, part: str, unknowing: bool = False) -> Estimate:
    """Doublings by which prefix matching of the highest function-vector heads rises before that
    score does. unknowing: the score with means over prompts that have no rule."""
    samples = run.course.unknowing if unknowing else run.course.vectors
    scored = Ratio(samples, torch.ones_like(samples))
    made = run.family(scored)
    carried = run.families["prefix matching"].onset(run.course.steps, made.sets)
    found = statistics.interval(emergence.lead(carried, made.onset(run.course.some)))
    return Estimate.of(part, run.course.seed, found, made.units)
