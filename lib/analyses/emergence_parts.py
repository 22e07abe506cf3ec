"""What claims ask of the timing of heads: each function measures one part, with its interval.

    apart(run, "facts", "facts, source", "pattern discovery")
    apart_at_random(run, "facts", "facts, source", "pattern discovery")    # on heads drawn anew

Distances are in doublings of training, as training has no other clock that serves all models. What
makes an interval are topics, verbs, documents, sequences and prompts, each of them drawn apart;
where labels are dealt anew it leaves out 95 % of the dealings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

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
DEALINGS, TRIALS = 400, 40
RANDOM, LOSS, OTHER = "random heads", "loss curve", "level of another seed"
ANYWHERE = "onsets at any snapshot"
# Claim, part, family, level: who should rise near what.
NEAR_LEVEL = (
    *(("R8-printed", part, f"{part}, printed", PATTERN) for part in ("facts", "syntax")),
    *(("R8-calibrated", part, f"{part}, source", PATTERN) for part in ("facts", "syntax")),
    ("R8-induction", "heads", "prefix matching", PATTERN),
    ("R9-printed", "with-loss", "copying, printed", "loss reduction"),
    ("R9-printed", "with-format", "copying, printed", "format compliance"),
    ("R9-calibrated", "with-loss", "copying, source", "loss reduction"),
    ("R9-calibrated", "with-format", "copying, source", "format compliance"),
)
FALLING = {"R9-printed": "copying, printed", "R9-calibrated": "copying, source"}
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


def beside(run: Timing, part: str, name: str, level: str, other: Timing) -> list[Estimate]:
    """The distance of a family from a level, and what the same code finds on each null."""
    return [
        apart(run, part, name, level),
        apart_at_random(run, part, name, level).on(RANDOM),
        loss_apart(run, part, level).on(LOSS),
        apart_from_other(run, part, name, other, level).on(OTHER),
    ]


def all_beside(runs: Sequence[Timing], part: str, name: str, level: str) -> list[Estimate]:
    """The same of all runs, each beside the level of the next one."""
    found = []
    for run, other in zip(runs, _next(runs), strict=True):
        found += beside(run, part, name, level, other)
    return found


def _next(runs: Sequence[Timing]) -> list[Timing]:
    return [*runs[1:], runs[0]]


def drawn_again(
    runs: Sequence[Timing], part: str, name: str, level: str, trials: int = TRIALS
) -> list[list[Estimate]]:
    """The distances of heads drawn from the same layers, of every run, again and again."""
    found = []
    for _ in range(trials):
        found.append([apart_at_random(run, part, name, level) for run in runs])
    return found


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


def all_falls(runs: Sequence[Timing], part: str, name: str) -> list[Estimate]:
    """The fall of each run, and that over the doublings before and after."""
    found = []
    for run in runs:
        found += [
            falls(run, part, name),
            falls(run, part, name, 0.5).on("a doubling earlier"),
            falls(run, part, name, 2).on("a doubling later"),
        ]
    return found


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


def share_of_snapshots(run: Timing, part: str, name: str, when: str) -> Estimate:
    """The same of as many onsets, each at a snapshot that is drawn: what no preference gives on
    this grid."""
    family, event = run.families[name], run.levels[PATTERN]
    count = sum(int(chosen.sum()) for chosen in family.rising(RISES))
    dealt = run.rng.choice(run.course.steps[1:].numpy(), (len(event), count))
    leads = emergence.lead(torch.from_numpy(dealt).to(event), event[:, None])
    found = statistics.interval(WHEN[when](leads).float().mean(1))
    return Estimate.of(part, run.course.seed, found, family.units)


# --- the same heads? ---


def kept(run: Timing, part: str, name: str, row: int = 0, other: Timing | None = None) -> Estimate:
    """Overlap of the heads highest at pattern discovery's onset and at the end, less dealt ones, in
    standard deviations of these.

    The early set is read on one half of the units and the final one on the other half, both ways.
    row: 0 asks of the truth, others of that dealing of the early values among the heads of their
    layer; other: a run whose final heads are asked for.
    """
    found = overlaps(run, name, other or run)
    edges = torch.tensor([0.975, 0.025], dtype=found.dtype)
    dealt = torch.cat([found[1:].mean()[None], found[1:].quantile(edges)])
    interval = Interval(*(found[row] - dealt) / found[1:].std().clamp(min=1e-6))
    return Estimate.of(part, run.course.seed, interval, len(run.course.indexes[name].above))


def all_kept(runs: Sequence[Timing], part: str, name: str) -> list[Estimate]:
    """The overlap of each run, and what the same code finds on each null."""
    found = []
    for run, other in zip(runs, _next(runs), strict=True):
        found += [
            kept(run, part, name),
            kept(run, part, name, row=1).on("dealt heads"),
            kept(run, part, name, other=other).on("final heads of another seed"),
        ]
    return found


def kept_of_dealt(
    runs: Sequence[Timing], part: str, name: str, trials: int = 100
) -> list[list[Estimate]]:
    """The overlaps of dealt heads, of every run, again and again."""
    found = []
    for row in range(1, trials + 1):
        found.append([kept(run, part, name, row) for run in runs])
    return found


@cache
def overlaps(run: Timing, name: str, other: Timing) -> Float[Tensor, " row"]:
    """Mean overlap over relations and halves; row 0 is the truth, others are dealt anew."""
    rng, layer = np.random.default_rng(run.course.seed), run.course.layer
    early = _at(run, name, run.at_pattern())
    last = [emergence.highest(x, run.k) for x in _final(other, name)]
    rows = []
    for row in range(DEALINGS + 1):
        dealt = [emergence.within_layers(x, layer, rng) for x in early] if row else early
        pairs = zip((emergence.highest(x, run.k) for x in dealt), last, strict=True)
        rows.append(torch.stack([statistics.jaccard(*pair) for pair in pairs]).mean())
    return torch.stack(rows)


def ends(run: Timing, name: str) -> dict[str, Sets]:
    """The heads highest at the end and at pattern discovery on the half that chooses, and all."""
    early, last = _at(run, name, run.at_pattern()), list(reversed(_final(run, name)))
    return {
        "highest at the end": tuple(emergence.highest(x, run.k) for x in last),
        "highest at pattern discovery": tuple(emergence.highest(x, run.k) for x in early),
        "all heads": tuple(torch.ones_like(x, dtype=torch.bool) for x in last),
    }


def _at(run: Timing, name: str, step: float) -> list[Tensor]:
    """Values at a step on either half, [cell, head]."""
    parts = emergence.halves(run.course.indexes[name])
    smooth = (emergence.smoothed(part.value) for part in parts)
    return [onsets.at(run.course.steps, curve, step) for curve in smooth]


def _final(run: Timing, name: str) -> list[Tensor]:
    """Values over the last three snapshots on the other half, [cell, head]."""
    parts = emergence.halves(run.course.indexes[name])
    return [part.value[..., -3:].mean(-1) for part in reversed(parts)]


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
