"""Courses of training whose leads, falls and heads are planted: what the rules of chapter 9 say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.analyses import emergence_parts as parts
from lib.analyses.emergence import Course
from lib.analyses.emergence_families import PATTERN, Timing
from lib.measures import emergence
from lib.measures.emergence import Ratio
from lib.report import claims

STEPS = torch.cat([torch.arange(0, 1500, 50.0), torch.arange(1500, 4001, 250.0)])
UNITS, HEADS, RELATIONS = 12, 16, 3
TRUE = [9, 11, 14]  # heads that rise
RULES = claims.load()


def rises(at: float, top: float = 1.0) -> torch.Tensor:
    """A curve that has made half of its way at a step."""
    return top * torch.sigmoid((STEPS - at) / 40)


def course(heads_at: float, pattern_at: float, seed: int = 0, falls: bool = False) -> Course:
    """Three heads that rise at one step, an ability that appears at another, and noise."""
    noise = np.random.default_rng(seed)
    jitter = lambda *shape: torch.from_numpy(noise.normal(0, 0.01, shape)).float()
    index = jitter(UNITS, RELATIONS, HEADS, len(STEPS)) + 0.05
    index[:, :, TRUE] += rises(heads_at, 0.4)
    found = Ratio(index, torch.ones_like(index))
    copying = jitter(UNITS, HEADS, len(STEPS)) + rises(200, 0.3)
    if falls:
        copying[:, 3] -= rises(pattern_at, 0.2)
    copied = Ratio(copying, torch.ones_like(copying))
    prompts = torch.rand(64, generator=torch.Generator().manual_seed(seed))[:, None]
    formed, right = rises(100), 0.5 * rises(100) + 0.5 * rises(pattern_at)
    marks = {"in_format": (prompts < formed).float(), "right": (prompts < right).float()}
    losses = 6 - 3 * rises(150) + 0.1 * jitter(20, 10, len(STEPS))
    every = {"facts, source": found, "syntax, source": found}
    vectors = jitter(16, HEADS, len(STEPS[::8]))
    measured = every, every, every, {"source": copied}, index[:, 0]
    return Course(seed, 8, STEPS, *measured, losses, marks, vectors, vectors)


def timed(made: Course) -> Timing:
    return Timing(made, 3, np.random.default_rng(made.seed), 100)


def runs(heads_at: float, pattern_at: float, **kind) -> list[Timing]:
    return [timed(course(heads_at, pattern_at, seed, **kind)) for seed in range(3)]


def verdict(claim: str, part: str, estimates) -> str:
    return claims.verdict_of(RULES[claim].parts[part], estimates)


@pytest.mark.parametrize("doublings", [-1, 0, 1])
def test_a_planted_lead_comes_out(doublings):
    for run in runs(600 / 2**doublings, 600):
        chosen = run.families["facts, source"].sets
        assert all(set(half[0].nonzero()[:, 0].tolist()) == set(TRUE) for half in chosen)
        lead = emergence.lead(run.onsets["facts, source"], run.levels[PATTERN])
        assert float(lead[0]) == pytest.approx(doublings, abs=0.15)


def test_heads_that_rise_with_the_pattern_hold_and_shifted_ones_do_not():
    given = "facts", "facts, source", PATTERN
    near = [parts.apart(run, *given) for run in runs(600, 600)]
    assert verdict("R8-calibrated", "facts", near) == claims.REPRODUCED
    for step in (280, 1300):
        shifted = [parts.apart(run, *given) for run in runs(step, 600)]
        assert verdict("R8-calibrated", "facts", shifted) == claims.NOT


def test_neither_other_heads_nor_the_loss_pass():
    made = runs(600, 600)
    given = "facts", "facts, source", PATTERN
    drawn = parts.drawn_again(made, *given, trials=20)
    held = [verdict("R8-calibrated", "facts", trial) == claims.REPRODUCED for trial in drawn]
    assert sum(held) <= 1
    loss = [parts.loss_apart(run, "facts", PATTERN) for run in made]
    assert verdict("R8-calibrated", "facts", loss) == claims.NOT


def test_single_heads_are_told_by_when_they_rise():
    for when, step in (("before", 280), ("with", 600), ("after", 1300)):
        for run in runs(step, 600):
            assert parts.share(run, "facts", "facts, source", when).value == 1
            assert sum(int(x.sum()) for x in run.families["facts, source"].rising(0.1)) == 18


def test_a_fall_is_found_where_it_was_planted_and_not_elsewhere():
    made = runs(600, 600, falls=True)
    at = {x: [parts.falls(run, "falls", "copying, source", x) for run in made] for x in (1, 2)}
    assert verdict("R9-calibrated", "falls", at[1]) == claims.REPRODUCED
    assert verdict("R9-calibrated", "falls", at[2]) == claims.NOT
    without = [parts.falls(run, "falls", "copying, source") for run in runs(600, 600)]
    assert verdict("R9-calibrated", "falls", without) == claims.NOT


def test_heads_that_stay_are_kept_and_others_are_not():
    early = [parts.kept(run, "facts", "facts, source") for run in runs(300, 600)]
    assert verdict("R11-kept", "facts", early) == claims.REPRODUCED
    late = [parts.kept(run, "facts", "facts, source") for run in runs(1800, 600)]
    assert verdict("R11-kept", "facts", late) != claims.REPRODUCED


def test_what_never_rises_is_not_judged():
    made = course(600, 600)
    silent = replace(made, marks={**made.marks, "right": torch.zeros_like(made.marks["right"])})
    found = parts.apart(timed(silent), "facts", "facts, source", PATTERN)
    assert verdict("R8-calibrated", "facts", [found]) == claims.UNTESTABLE
