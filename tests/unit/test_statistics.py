"""Intervals that cover, p-values that are uniform when nothing is there, and corrections against
literal loops."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.measures import statistics as ours

VALUES = st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=20)  # few values: many ties


def test_the_interval_of_a_mean_covers_as_often_as_it_says():
    """400 experiments of 40 normal samples: 95 % +- 3.3 % would be four standard errors of the
    count."""
    rng = np.random.default_rng(0)
    samples = torch.from_numpy(rng.normal(1.0, 2.0, size=(40, 400)))
    found = ours.bootstrap_mean(samples, rng, resamples=1000)
    covered = ((found.low < 1.0) & (found.high > 1.0)).double().mean()
    assert 0.90 < covered < 0.98  # a percentile interval of 40 is a little too short
    width = (found.high - found.low).mean()
    assert width == pytest.approx(2 * 1.96 * 2 / math.sqrt(40), rel=0.05)
    torch.testing.assert_close(found.value, samples.mean(0))


def test_intervals_keep_their_shape_and_level():
    samples = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 2, 3)))
    wide, narrow = (
        ours.bootstrap_mean(samples, np.random.default_rng(1), level=level) for level in (0.99, 0.5)
    )
    assert wide.low.shape == (2, 3)
    assert (
        (wide.low < narrow.low)
        & (narrow.low < wide.value)
        & (wide.value < narrow.high)
        & (narrow.high < wide.high)
    ).all()


def test_the_same_generator_gives_the_same_bits():
    samples = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 5)))
    a, b, c = (ours.bootstrap_mean(samples, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (
        torch.equal(a.low, b.low) and torch.equal(a.high, b.high) and not torch.equal(a.low, c.low)
    )
    x, y = torch.arange(9.0), torch.tensor([1.0, 0, 2, 3, 5, 4, 6, 8, 7])
    assert ours.spearman_interval(x, y, np.random.default_rng(3)) == ours.spearman_interval(
        x, y, np.random.default_rng(3)
    )


def test_one_unit_has_no_interval():
    with pytest.raises(ValueError, match="at least two independent units, got 1"):
        ours.bootstrap_mean(torch.ones(1, 4), np.random.default_rng(0))


def test_ratio_of_sums_and_its_interval():
    top, bottom = torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0])
    value, low, high = ours.ratio(top, bottom, np.random.default_rng(3), 500)
    assert float(value) == 2 and float(low) == 1 and float(high) == 3


def test_draws_that_are_no_numbers_are_left_out_of_an_interval():
    drawn = torch.tensor([[1.0, 5.0], [0.0, torch.nan], [2.0, 6.0]])
    assert ours.interval(drawn, level=1.0).high.tolist() == [2, 6]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_against_a_literal_loop(values):
    m, largest, expected = len(values), 0.0, [0.0] * len(values)
    for rank, i in enumerate(sorted(range(m), key=values.__getitem__)):
        largest = max(largest, min(1.0, (m - rank) * values[i]))
        expected[i] = largest
    assert ours.holm(torch.tensor(values, dtype=torch.float64)).tolist() == pytest.approx(expected)


@given(VALUES, st.randoms(use_true_random=False))
def test_spearman_against_scipy_with_ties(a, random):
    b = [x + random.choice([-1.0, 0.0, 1.0]) for x in a]
    found = ours.spearman(torch.tensor(a), torch.tensor(b))
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-9)


def test_the_interval_of_a_rank_correlation():
    rng = np.random.default_rng(0)
    x = rng.normal(size=80)
    y = x + rng.normal(size=80)
    value, low, high = ours.spearman_interval(torch.from_numpy(x), torch.from_numpy(y), rng)
    assert value == pytest.approx(scipy.stats.spearmanr(x, y).statistic) and low < value < high
    assert 0.1 < high - low < 0.4


def test_a_correlation_within_groups_leaves_out_what_differs_between_them():
    group = torch.arange(2).repeat_interleave(4)
    a = torch.tensor([1.0, 2, 3, 4, 11, 12, 13, 14])
    b = torch.tensor([4.0, 3, 2, 1, 24, 23, 22, 21])
    assert ours.spearman(a, b) > 0.4
    assert ours.spearman_within(a, b, group) == pytest.approx(-1)
    b[4:] = b[4:].flip(0)
    assert ours.spearman_within(a, b, group) == pytest.approx(0)


def test_auc_is_one_for_a_perfect_separator_a_half_for_none_and_counts_ties_half():
    score = torch.tensor([3.0, 2.0, 1.0, 0.0])
    up = torch.tensor([True, True, False, False])
    rng = np.random.default_rng(0)
    assert [float(x) for x in ours.auc_interval(score, up, rng, 100)] == [1, 1, 1]
    assert float(ours.auc_interval(torch.ones(4), up, rng, 100).value) == 0.5
    assert float(ours.auc_interval(-score, up, rng, 100).value) == 0
    assert math.isnan(ours.auc_interval(score, up & ~up, rng, 100).value)


def test_jaccard():
    a, b = torch.tensor([True, True, False]), torch.tensor([True, False, False])
    assert ours.jaccard(a, b) == 0.5 and ours.jaccard(a, a) == 1.0
    assert math.isnan(ours.jaccard(~a & a, ~b & b))


def test_wilson_agrees_with_scipy_and_has_a_width_at_the_ends():
    for right, n in ((0, 10), (7, 10), (48, 48)):
        found = ours.wilson(torch.arange(n) < right)
        exact = scipy.stats.binomtest(right, n).proportion_ci(method="wilson")
        assert float(found.value) == right / n
        assert found.low == pytest.approx(exact.low, abs=1e-4)
        assert found.high == pytest.approx(exact.high, abs=1e-4)
