"""Chapter 4's verdicts follow the truth where the truth is planted: right heads reproduce a claim,
wrong heads do not."""

from __future__ import annotations

import numpy as np
import pytest

from lib.analyses import ablation_effects
from lib.measures import scores, statistics
from lib.models import opening, planted
from lib.report import claims
from lib.tracing import ablation

PAIR, NOISE = [(1, 2), (1, 6)], [(1, 0), (1, 7)]


@pytest.fixture(scope="module")
def benches() -> list[ablation_effects.Bench]:
    made = [planted.induction(seed=seed, size=64, context=64) for seed in range(3)]
    opened = [opening.open_model(m.model, tokenizer=m.tokenizer) for m in made]
    return [
        ablation_effects.repeats_bench(
            o, np.random.default_rng(0), length=14, repeats=3, examples=4
        )
        for o in opened
    ]


def verdicts(claim: str, estimates: list[statistics.Estimate]) -> dict[str, str]:
    return {
        name: part["verdict"]
        for name, part in claims.judge(claims.load()[claim], estimates)["parts"].items()
    }


def o10(benches, heads) -> dict[str, str]:
    rng, estimates = np.random.default_rng(1), []
    for seed, bench in enumerate(benches):
        others, _ = ablation_effects.controls([*PAIR], bench.opened, rng, 4)
        rest = [
            (layer, head) for layer in range(2) for head in range(8) if (layer, head) not in PAIR
        ]
        estimates += ablation_effects.joint(seed, bench, heads, others, rng, 100) + [
            ablation_effects.spared("most-others", seed, bench, rest, rng, 100)
        ]
    return verdicts("O10", estimates)


def test_o10_holds_for_planted_induction_heads(benches):
    assert set(o10(benches, PAIR).values()) == {claims.REPRODUCED}


def test_o10_fails_for_heads_that_are_noise(benches):
    found = o10(benches, NOISE)
    assert found["joint"] == found["joint-mean"] == claims.NOT


def test_o17_holds_for_planted_heads_and_fails_for_a_wrong_pattern(benches):
    rng, right, wrong = np.random.default_rng(1), [], []
    for seed, bench in enumerate(benches):
        n = bench.tokens.shape[1]
        exact = {
            "previous": ([(0, 0)], ablation.previous_pattern(n)),
            "induction": (PAIR, ablation.spread(scores.prefix_target(bench.tokens))),
        }
        for (part, (heads, pattern)), estimates in [
            (item, made) for item in exact.items() for made in (right, wrong)
        ]:
            put = pattern if estimates is right else ablation_effects.uniform_pattern(n)
            share = ablation_effects.recovered(
                bench.without([heads])[0],
                bench.putting(dict.fromkeys(heads, put)),
                bench.clean,
                rng,
                100,
            )
            estimates.append(statistics.Estimate.of(part, seed, share, len(bench.tokens)))
    assert set(verdicts("O17", right).values()) == {claims.REPRODUCED}
    assert claims.REPRODUCED not in verdicts("O17", wrong).values()
