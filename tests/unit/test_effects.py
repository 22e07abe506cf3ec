"""Effects of removing heads: known answers on planted heads, and the arithmetic of every share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.analyses import ablation_effects
from lib.measures import scores
from lib.models import opening, planted
from lib.tracing import ablation

PAIR, NOTES = [(1, 2), (1, 6)], [(0, 0)]


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture(scope="module")
def bench() -> ablation_effects.Bench:
    made = planted.induction(size=64, context=64)
    opened = opening.open_model(made.model, tokenizer=made.tokenizer)
    return ablation_effects.repeats_bench(opened, rng(), length=14, repeats=3, examples=4)


def lost(bench, heads, **how) -> float:
    return float(bench.share_lost(bench.without([heads], **how), rng(), 100).value[0])


def test_nothing_removed_changes_nothing(bench):
    for held in (False, True):
        assert torch.allclose(bench.without([[]], held=held)[0], bench.clean, atol=1e-5)
    assert lost(bench, []) == pytest.approx(0, abs=1e-6)


def test_held_patterns_hide_the_previous_token_head(bench):
    assert lost(bench, NOTES) > 0.8
    assert abs(lost(bench, NOTES, held=True)) < 0.01


@pytest.mark.parametrize("how", ablation_effects.HOW)
@pytest.mark.parametrize("held", [False, True])
def test_induction_heads_jointly_carry_the_score(bench, how, held):
    alone = [lost(bench, [head], how=how, held=held) for head in PAIR]
    together = lost(bench, PAIR, how=how, held=held)
    assert together > 0.9 and together > max(alone)
    assert abs(lost(bench, [(1, 0), (1, 7)], how=how, held=held)) < 0.1


def test_resampled_heads_speak_of_another_text(bench):
    """The mean says nothing of this text; a donor says something wrong."""
    assert lost(bench, PAIR, how="resample") > lost(bench, PAIR, how="mean") + 0.1


def test_ideal_pattern_gives_back_what_the_head_did(bench):
    """Judged late in the text: in the first block there is nothing to match, and an ideal pattern
    has to look somewhere."""
    n, late = bench.tokens.shape[1], bench.late

    def share(heads, pattern):
        gone, put = bench.without([heads])[0], bench.putting(dict.fromkeys(heads, pattern))
        return float(
            ablation_effects.recovered(
                gone[:, late], put[:, late], bench.clean[:, late], rng(), 50
            ).value
        )

    assert share(PAIR, ablation.spread(scores.prefix_target(bench.tokens))) == pytest.approx(
        1, abs=0.02
    )
    assert share(PAIR, ablation_effects.uniform_pattern(n)) < 0.5
    assert share(NOTES, ablation.previous_pattern(n)) == pytest.approx(1, abs=0.02)
    assert share(NOTES, ablation_effects.uniform_pattern(n)) < 0.5


def test_only_the_planted_previous_token_head_looks_back(bench):
    assert ablation_effects.looking_back(bench.opened, bench.tokens, 0.3, before_layer=1) == NOTES
    assert ablation_effects.looking_back(bench.opened, bench.tokens, 0.3, before_layer=0) == []


def test_table_averages_over_sets(bench):
    others, _ = ablation_effects.controls(PAIR, bench.opened, rng(), 3)
    table = bench.table({"pair": [PAIR], "others": others}, rng(), 100)
    assert list(table.patterns) == ["free", "free", "held", "held"] and list(table.sets) == [
        1,
        3,
        1,
        3,
    ]
    each = [lost(bench, heads) for heads in others]
    assert table.share_lost[1] == pytest.approx(np.mean(each), abs=1e-5)
    assert table.late[0] > 1 > abs(table.early[0])


def test_one_text_is_refused(bench):
    with pytest.raises(ValueError, match="at least two texts"):
        ablation_effects.Bench.of(bench.opened, bench.tokens[:1], bench.early, bench.late)


# --- controls ---


def test_controls_come_from_the_same_layers_where_they_can(bench):
    sets, what = ablation_effects.controls(PAIR, bench.opened, rng(), 20)
    assert len(sets) == 20 and "same layers" in what
    assert all(layer == 1 and (layer, head) not in PAIR for heads in sets for layer, head in heads)
    assert all(len(set(heads)) == 2 for heads in sets)


def test_controls_say_so_where_a_layer_is_full(bench):
    whole = [(1, head) for head in range(8)]
    sets, what = ablation_effects.controls(whole[:5], bench.opened, rng(), 6)
    assert "any layer" in what and all(
        len(set(heads)) == 5 and not set(heads) & set(whole[:5]) for heads in sets
    )
    assert ablation_effects.controls(whole, bench.opened, rng(), 6) == (
        [[(0, head) for head in range(8)]],
        "all 8 other heads, of any layer",
    )


# --- arithmetic ---


def test_undone_is_minus_one_for_the_way_back_and_zero_across():
    change = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    across = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    across = across - change * (across * change).sum() / (change**2).sum()
    values = ablation_effects.undone(
        torch.stack([-change, across, -0.5 * change]), change, rng(), 50
    ).value
    assert torch.allclose(values, torch.tensor([-1.0, 0.0, -0.5]), atol=1e-5)


def test_change_window_surrounds_the_steepest_fall():
    score = -torch.sigmoid(torch.linspace(-8, 8, 33))
    before, after = ablation_effects.change_window(score)
    assert before < 16 < after and score[before] > -0.2 and score[after] < -0.8
    assert ablation_effects.change_window(torch.tensor([0.0, -1.0])) == (0, 1)
    with pytest.raises(ValueError, match="two snapshots"):
        ablation_effects.change_window(torch.tensor([0.0]))


def test_parts_of_claims_on_planted_heads(bench):
    assert ablation_effects.last_layer("x", 0, bench, rng(), 50).low > 0.5
    assert ablation_effects.spared(
        "x", 0, bench, [(1, 0), (1, 7), (0, 3), (1, 2)], rng(), 50
    ).value == pytest.approx(0.75)
    nothing = ablation_effects.joint(0, bench, [], [[(0, 0)]], rng(), 50)
    assert all(math.isnan(e.value) for e in nothing), (
        "without induction heads there is nothing to judge"
    )
