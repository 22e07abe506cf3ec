"""Effects of removing heads: known answers on planted heads, and the arithmetic of every share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.analyses import ablation_effects, before_and_after, composition, removal_choices
from lib.measures import scores
from lib.models import opening, planted
from lib.tracing import capture, interventions

PAIR, NOTES = [(1, 2), (1, 6)], [(0, 0)]


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture(scope="module")
def bench() -> ablation_effects.CleanRun:
    made = planted.induction(size=64, context=64)
    opened = opening.open_model(made.model, tokenizer=made.tokenizer)
    return ablation_effects.on_repeats(opened, rng(), length=14, repeats=3, examples=4)


def lost(bench, heads, **how) -> float:
    return float(bench.share_lost(bench.without([heads], **how), rng(), 100).value[0])


def test_nothing_removed_changes_nothing(bench):
    for held in (False, True):
        assert torch.allclose(bench.without([[]], held=held)[0], bench.losses, atol=1e-5)
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
        chosen = interventions.sets([heads], bench.opened)
        gone, put = bench.without([heads])[0], bench.under([interventions.Put(chosen, pattern)])
        return float(
            composition.recovered(
                gone[:, late], put[:, late], bench.losses[:, late], rng(), 50
            ).value
        )

    assert share(PAIR, interventions.spread(scores.prefix_target(bench.tokens))) == pytest.approx(
        1, abs=0.02
    )
    assert share(PAIR, interventions.uniform_pattern(n)) < 0.5
    assert share(NOTES, interventions.previous_pattern(n)) == pytest.approx(1, abs=0.02)
    assert share(NOTES, interventions.uniform_pattern(n)) < 0.5


def test_only_the_planted_previous_token_head_looks_back(bench):
    assert (
        composition.previous_token_heads(bench.opened, bench.tokens, 0.3, before_layer=1) == NOTES
    )
    assert composition.previous_token_heads(bench.opened, bench.tokens, 0.3, before_layer=0) == []


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
        ablation_effects.CleanRun.of(bench.opened, bench.tokens[:1], bench.early, bench.late)


# --- controls ---


def test_controls_come_from_the_same_layer_and_differ_from_each_other(bench):
    sets, what = ablation_effects.controls(PAIR, bench.opened, rng(), 10)
    assert len(sets) == 10 and what == "as many other heads of the same layers"
    assert all(layer == 1 and (layer, head) not in PAIR for heads in sets for layer, head in heads)
    assert all(len(set(heads)) == 2 for heads in sets)
    assert len({frozenset(heads) for heads in sets}) == 10
    every, _ = ablation_effects.controls(PAIR, bench.opened, rng(), 20)
    assert len({frozenset(heads) for heads in every}) == 15, "all pairs of six heads, and no more"


def test_controls_are_filled_up_where_a_layer_has_too_few_other_heads(bench):
    heads, others = [(1, h) for h in range(5)], {(1, 5), (1, 6), (1, 7)}
    sets, what = ablation_effects.controls(heads, bench.opened, rng(), 20)
    assert len(sets) == 10 and what.endswith("filled up with some of these")
    assert all(others < set(group) and len(set(group)) == 5 for group in sets)


def test_controls_say_so_where_a_layer_has_no_other_head(bench):
    whole = [(1, head) for head in range(8)]
    assert ablation_effects.controls(whole, bench.opened, rng(), 6) == (
        [[(0, head) for head in range(8)]],
        "8 heads of other layers",
    )


# --- arithmetic ---


def test_undone_is_minus_one_for_the_way_back_and_zero_across():
    change = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    across = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    across = across - change * (across * change).sum() / (change**2).sum()
    values = before_and_after.undone(
        torch.stack([-change, across, -0.5 * change]), change, rng(), 50
    ).value
    assert torch.allclose(values, torch.tensor([-1.0, 0.0, -0.5]), atol=1e-5)


def test_change_window_surrounds_the_steepest_fall():
    score = -torch.sigmoid(torch.linspace(-8, 8, 33))
    before, after = before_and_after.change_window(score)
    assert before < 16 < after and score[before] > -0.2 and score[after] < -0.8
    assert before_and_after.change_window(torch.tensor([0.0, -1.0])) == (0, 1)
    with pytest.raises(ValueError, match="two snapshots"):
        before_and_after.change_window(torch.tensor([0.0]))


def test_parts_of_claims_on_planted_heads(bench):
    layers = ablation_effects.by_layer(bench.opened)
    assert ablation_effects.last_layer("x", 0, bench, layers, rng(), 50).low > 0.5
    mixed = ablation_effects.by_layer(bench.opened, rng())
    assert sorted(sum(mixed, [])) == sorted(sum(layers, [])) and mixed != layers
    assert ablation_effects.better_without("x", 0, bench, PAIR, rng(), 50).value == 0
    nothing = ablation_effects.joint(0, bench, [[]], rng(), 50)
    nothing.append(ablation_effects.better_without("x", 0, bench, [], rng(), 50))
    assert all(math.isnan(e.value) for e in nothing), (
        "without induction heads there is nothing to judge"
    )


def test_o11_counts_heads_and_separates_them():
    drawn = torch.tensor([[-0.2, -0.1, 0.0, 0.3], [-0.2, 0.1, -0.3, 0.3]])
    heads = torch.tensor([True, True, False, False])
    share = before_and_after.negative("induction", 0, drawn, heads, 4)
    assert (share.value, share.low) == (1, 0.5)
    told = before_and_after.separated("others", 0, drawn, heads, 4)
    assert (told.value, told.low) == (1, 0.5)
    assert before_and_after.mean_effect("induction", 0, drawn, heads, 4).value == pytest.approx(
        -0.15
    )
    assert math.isnan(before_and_after.separated("others", 0, drawn, heads & False, 4).value)


# --- the circuit ---


def test_a_pattern_path_shows_what_a_previous_token_head_does_and_nothing_else(bench):
    n, notes = bench.tokens.shape[1], interventions.sets([NOTES], bench.opened)
    ideal, even = (
        composition.pattern_path(bench, [interventions.Put(notes, pattern)])
        for pattern in (interventions.previous_pattern(n), interventions.uniform_pattern(n))
    )
    gone = composition.pattern_path(bench, [interventions.Silence(notes)])
    recovered = [
        float(composition.recovered(gone, put, bench.losses, rng(), 50).value)
        for put in (ideal, even)
    ]
    assert recovered[0] == pytest.approx(1, abs=0.02) and recovered[1] < 0.5
    later = interventions.sets([[(1, 2)]], bench.opened)
    untouched = composition.pattern_path(bench, [interventions.Silence(later)])
    torch.testing.assert_close(untouched, bench.losses)  # no layer follows whose patterns feel it


def test_induction_heads_read_the_previous_token_head(bench):
    reads = composition.k_composition(bench.opened, 0, 1)
    readers = {2, 4, 6}  # the anti-copying head 1.4 matches, too
    assert set(reads[0].topk(3).indices.tolist()) == readers
    frame = composition.reading_frame(reads, NOTES, PAIR, 0)
    kinds = frame.groupby(["writer", "reader"]).size()
    assert len(frame) == 64 and kinds["previous-token head", "induction head"] == 2


def test_direct_logits_are_all_that_the_logits_hold_beside_the_embedding(bench):
    opened, tokens = bench.opened, bench.tokens
    said = composition.direct_logits(opened, tokens).sum((2, 3))
    logits = capture.logits(opened, tokens)[:, :-1]
    centred = logits - logits.mean(-1, keepdim=True)
    real = centred.gather(2, tokens[:, 1:, None])[..., 0]
    embedded = opened.W_E[tokens[:, :-1]] @ (opened.W_U - opened.unembedding_mean()[:, None])
    rest = embedded.gather(2, tokens[:, 1:, None])[..., 0]
    torch.testing.assert_close(said + rest, real, atol=1e-3, rtol=1e-3)


# --- what a reader may take out ---


def test_a_choice_of_heads_says_what_is_lost_and_where_the_others_then_look(bench):
    named = {"nothing": [[]], "notes": [NOTES], "pair": [PAIR], "drawn": [[(1, 0)], [(1, 7)]]}
    rows = removal_choices.effects(bench, named, PAIR)
    assert len(rows) == len(named) * len(ablation_effects.SIX_WAYS)
    row = rows.set_index(["removed", "how", "patterns"]).loc
    clean = row["nothing", "zero", "free"]
    for name, heads in (("notes", NOTES), ("pair", PAIR)):
        for patterns in ("free", "held"):
            share = lost(bench, heads, held=patterns == "held")
            assert row[name, "zero", patterns]["share lost"] == pytest.approx(share, abs=1e-4)
    assert clean["score"] == pytest.approx(clean["late loss"] - clean["early loss"])
    assert clean["prefix matching"] > 0.9
    assert row["notes", "zero", "free"]["prefix matching"] < 0.3
    assert row["notes", "zero", "held"]["prefix matching"] == clean["prefix matching"]
    assert row["drawn", "mean", "free"].heads == "1 heads at a time, mean over 2 sets"
    assert row["pair", "zero", "held"].heads == "1.2 1.6"
