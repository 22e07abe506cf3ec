"""Times, plateaus and changes of learning curves worked out by hand."""

import math

import pytest
import torch

from lib.measures import learning
from lib.measures.learning import LEARNT, LN2


def steps(*pieces: tuple[int, float]) -> learning.Curve:
    """A curve of flat pieces, (steps, loss)."""
    flat = torch.cat([torch.full((size,), loss) for size, loss in pieces])
    return learning.smoothed(flat, window=1)


def test_means_and_their_bands():
    losses = torch.tensor([1.0, 3.0, 5.0, 7.0])
    curve = learning.smoothed(losses, window=2)
    assert curve.mean.tolist() == [2, 4, 6] and curve.start == 1
    torch.testing.assert_close(curve.half, torch.full((3,), 1.96, dtype=torch.double))
    assert len(learning.smoothed(losses, window=50).mean) == 1


def test_a_time_and_the_ends_of_its_interval():
    """Falls by 1 a step, with a band of 1 to either side: known to a step."""
    mean = torch.arange(10.0, 0, -1).double()
    curve = learning.Curve(mean, torch.ones_like(mean), start=4)
    assert [float(t) for t in learning.first_below(curve, 5.5)] == [10, 9, 11]
    never = learning.first_below(curve, -5.0)
    assert all(math.isinf(t) for t in never)


def test_a_plateau_and_a_change_in_doublings():
    curve = steps((99, 1.8), (300, LN2), (400, 0.5), (100, 0.1))
    assert float(learning.plateau(curve).value) == pytest.approx(2)  # from step 100 to step 400
    assert float(learning.change(curve).value) == pytest.approx(1)  # from step 400 to step 800
    assert float(learning.plateau(steps((99, 1.8), (10, 0.0))).value) == 0
    assert math.isnan(learning.plateau(steps((10, 1.8))).value)


def test_the_exponential_has_the_same_start_and_learning_time():
    curve = steps((100, 1.6), (300, LN2), (50, 0.1))
    smooth = learning.exponential(curve)
    assert smooth.mean[0] == pytest.approx(1.6)
    assert abs(float(learning.first_below(smooth, LEARNT).value) - 401) <= 1
    ratios = smooth.mean[1:] / smooth.mean[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))
    assert float(learning.plateau(smooth).value) < 0.5
