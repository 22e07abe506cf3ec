"""Chapter 10's verdicts follow the truth where the truth is planted: R10 holds of the heads that
carry the label, together, and of no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.analyses import causes
from lib.data import fewshot
from lib.data.worlds import ListWorld
from lib.measures import statistics
from lib.measures.statistics import Estimate
from lib.models import opening, planted_labels
from lib.report import claims

WORLD, CARRIERS = ListWorld(), [(1, 2), (1, 3)]


@pytest.fixture(scope="module")
def trials() -> list[causes.Trial]:
    made = [planted_labels.label_carriers(WORLD, seed, CARRIERS) for seed in range(3)]
    opened = [opening.open_model(one.model, tokenizer=one.tokenizer) for one in made]
    rng = np.random.default_rng(0)
    asked = [fewshot.questions(WORLD, rng, "binary", 6, 48)]
    texts = torch.from_numpy(WORLD.batch(rng, 2))[:, :16]
    return [causes.Trial(one, asked, texts) for one in opened]


@pytest.mark.parametrize(
    ("heads", "expected"),
    [(CARRIERS, claims.REPRODUCED), (CARRIERS[:1], claims.NOT), ([(1, 0), (1, 1)], claims.NOT)],
)
def test_r10_holds_for_all_that_carry_the_label_together(trials, heads, expected):
    rng, found = np.random.default_rng(1), []
    for seed, trial in enumerate(trials):
        drawn = causes.shares(trial, trial.without([heads], "mean"), "pattern", rng, 200)
        interval = statistics.interval(drawn[:, 0])
        found.append(Estimate.of("lost", seed, interval, 48))
    rule = claims.load()["R10-semantic-pattern"].parts["lost"]
    assert claims.verdict_of(rule, found) == expected


def test_later_work_stands_beside_claims_that_there_are():
    every = claims.load()
    contested = {target for claim in every.values() for target in claim.contests}
    assert contested and contested <= set(every)
    assert {"Y1", "K1", "E1"} <= {name for name, claim in every.items() if claim.contests}
