"""Onsets, leads, families and overlaps, on cases worked out by hand."""

import numpy as np
import pytest
import torch

from lib.measures import emergence, statistics
from lib.measures.emergence import Ratio

STEPS = torch.tensor([0.0, 100, 200, 300, 400, 500])


def test_an_onset_is_half_of_the_way_to_the_highest_value():
    line = torch.tensor([0.0, 1, 2, 3, 4, 5])
    assert float(emergence.onset(STEPS, line)) == pytest.approx(250)
    assert float(emergence.onset(STEPS, line, 0.2)) == pytest.approx(100)
    falls = torch.tensor([0.0, 3, 6, 6, 6, 0])  # smoothed: 0, 3, 5, 6, 4, 0; half of 6 at 100
    assert float(emergence.onset(STEPS, falls)) == pytest.approx(100)


def test_what_never_rises_has_no_onset():
    assert torch.isnan(emergence.onset(STEPS, -STEPS))
    assert torch.isnan(emergence.onset(STEPS, torch.ones(6)))


def test_smoothing_keeps_the_ends_and_straight_lines():
    line = 2 * STEPS + 1
    assert torch.allclose(emergence.smoothed(line), line)
    peak = torch.tensor([0.0, 3, 0, 0, 6, 9])
    assert emergence.smoothed(peak).tolist() == [0, 1, 1, 2, 5, 9]


def test_a_lead_counts_doublings():
    early, late = torch.tensor([100.0, 400]), torch.tensor([400.0, 100])
    assert emergence.lead(early, late).tolist() == [2, -2]


def test_an_accuracy_counts_from_guessing_on():
    guess = torch.tensor([0.0, 0.5, 0.5, 0.5, 1, 1])
    assert float(emergence.onset(STEPS, guess)) <= 200  # half of the way is guessing
    assert 300 < float(emergence.onset(STEPS, emergence.above_chance(guess, 0.5))) < 400


def test_a_ratio_is_of_sums_and_nothing_over_nothing_is_zero():
    ratio = Ratio(torch.tensor([[1.0, 0], [3, 0]]), torch.tensor([[2.0, 0], [2, 0]]))
    assert ratio.value.tolist() == [1, 0]
    drawn = ratio.draws(np.random.default_rng(0), 50)
    assert drawn.shape == (51, 2) and drawn[0].tolist() == [1, 0]
    assert set(drawn[1:, 0].tolist()) == {0.5, 1.0, 1.5}
    even, odd = emergence.halves(ratio)
    assert even.value.tolist() == [0.5, 0] and odd.value.tolist() == [1.5, 0]


def test_overlap_of_the_highest():
    one = emergence.highest(torch.tensor([5.0, 4, 3, 0, 0]), 3)
    other = emergence.highest(torch.tensor([5.0, 0, 3, 4, 0]), 3)
    assert one.tolist() == [True, True, True, False, False]
    assert float(statistics.jaccard(one, other)) == pytest.approx(0.5)


def test_matched_heads_are_of_the_same_layers_and_others_where_there_are():
    layer = torch.tensor([0] * 4 + [1] * 4)
    chosen = torch.tensor([1, 0, 0, 0, 1, 1, 1, 0]).bool()
    for seed in range(20):
        drawn = emergence.matched(chosen, layer, np.random.default_rng(seed))
        assert [int(drawn[:4].sum()), int(drawn[4:].sum())] == [1, 3]
        assert not drawn[0] and drawn[7]  # in the second layer there is one other


def test_values_are_dealt_within_layers():
    layer = torch.tensor([0, 0, 0, 1, 1, 1])
    dealt = emergence.within_layers(torch.arange(6.0), layer, np.random.default_rng(1))
    assert sorted(dealt[:3].tolist()) == [0, 1, 2] and sorted(dealt[3:].tolist()) == [3, 4, 5]
