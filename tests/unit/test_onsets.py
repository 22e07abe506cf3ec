"""Estimators of change, on curves whose truth is known."""

import math

import numpy as np
import pytest
import torch

from lib.measures import onsets, statistics

STEPS = torch.arange(0, 610, 10).float()


def change(middle: float, width: float, height: float = 3.0) -> torch.Tensor:
    """A fall by `height` around a step."""
    return -height * torch.sigmoid((STEPS - middle) / width)


def smooth() -> torch.Tensor:
    """A curve that flattens all the time, as that of a model without a change."""
    return 2 * torch.exp(-STEPS / 150)


def test_crossing_and_at():
    steps, curve = torch.tensor([0.0, 10.0, 30.0, 40.0]), torch.tensor([5.0, 5.0, 1.0, 1.0])
    assert onsets.crossing(steps, curve).item() == pytest.approx(20)
    assert onsets.crossing(steps, curve, 0.25).item() == pytest.approx(15)
    assert onsets.crossing(steps, -3 * curve).item() == pytest.approx(
        20
    )  # direction and scale do not matter
    assert onsets.at(steps, curve, 25).item() == pytest.approx(2)
    assert [onsets.at(steps, curve, s).item() for s in (-5, 0, 10, 99)] == [5, 5, 5, 1]
    assert math.isnan(onsets.crossing(steps, torch.ones(4)).item())


@pytest.mark.parametrize("middle", [120.0, 200.0, 333.0])
def test_the_onset_of_a_known_change_is_found(middle):
    assert onsets.crossing(STEPS, change(middle, 15)).item() == pytest.approx(middle, abs=3)


def test_the_first_crossing_counts():
    curve = torch.tensor([0.0, 1.0, 0.2, 1.0])
    assert onsets.crossing(torch.arange(4.0), curve).item() == pytest.approx(0.5)


def test_window_of_a_change_holds_it_and_no_window_holds_a_smooth_curve():
    start, end = onsets.window(STEPS, change(250, 15))
    assert end == 2 * start and start < 200 and end > 300
    assert onsets.share_within(STEPS, change(250, 15), start, end) > 0.97
    assert onsets.share_within(STEPS, smooth(), *onsets.window(STEPS, smooth())) < 0.3
    assert onsets.window(STEPS, change(250, 15)) == onsets.window(STEPS, -2 * change(250, 15) + 1)


def test_window_is_the_best_of_all_doublings():
    curve = change(230, 40) + 0.3 * torch.sin(STEPS / 37)
    found = onsets.share_within(STEPS, curve, *onsets.window(STEPS, curve))
    others = [onsets.share_within(STEPS, curve, s, 2 * s) for s in np.linspace(10, 300, 400)]
    assert found >= max(others) - 1e-6
    with pytest.raises(ValueError, match="span a factor"):
        onsets.window(torch.tensor([100.0, 150.0]), torch.tensor([1.0, 0.0]))


def test_bump():
    assert onsets.steepening(STEPS, smooth()).item() == pytest.approx(1)
    assert onsets.steepening(STEPS, smooth() + change(250, 15)) > 3
    late = onsets.steepening(STEPS, smooth() + change(50, 10), first=150)
    assert late.item() == pytest.approx(1, abs=0.01)  # what happened before `first` does not count
    assert onsets.steepest(STEPS, smooth() + change(250, 15)).item() == pytest.approx(250, abs=6)
    assert onsets.steepest(STEPS, smooth(), first=100).item() == 105
    with pytest.raises(ValueError, match="600"):
        onsets.steepening(STEPS, smooth(), first=600)


def test_slope_in_log():
    line = 4 - 0.7 * torch.log(torch.arange(1.0, 65.0))
    assert onsets.slope_in_log(line, 6).item() == pytest.approx(-0.7, abs=1e-5)
    bent = torch.cat(
        [torch.linspace(9, 1, 6), line[6:]]
    )  # what comes before `first` does not count
    assert onsets.slope_in_log(bent, 6).item() == pytest.approx(-0.7, abs=1e-5)


def test_bootstrap_interval_covers_and_shrinks(rng):
    """Noisy copies of a change at 250: the interval covers it about as often as it says, and
    shrinks with more of them."""
    generator, covered, widths = torch.Generator().manual_seed(0), 0, []
    for n in (16,) * 60 + (160,) * 20:
        samples = change(250, 40) + 0.5 * torch.randn(n, 1, generator=generator) * torch.sigmoid(
            (STEPS - 300) / 40
        )
        found = statistics.bootstrapped(
            lambda curves: onsets.crossing(STEPS, curves), samples, rng, 300
        )
        truth = onsets.crossing(STEPS, change(250, 40))
        covered += bool(found.low <= truth <= found.high)
        widths.append(float(found.high - found.low))
    assert covered >= 66 and np.mean(widths[60:]) < 0.5 * np.mean(widths[:60])


def test_corner_and_angle_of_known_paths():
    path = torch.tensor([[0.0, 0], [1, 0], [2, 0], [3, 0], [3, 1], [3, 2]])
    index = onsets.corner(path)
    assert index == 3 and onsets.angle(path, index).item() == pytest.approx(90)
    straight = torch.stack([torch.arange(5.0), 0.01 * torch.tensor([0.0, 1, 0, -1, 0])], 1)
    assert onsets.angle(straight, onsets.corner(straight)) < 2
    turned = torch.stack([path, path.flip(-1) * 4 - 2])  # batched; mirrored, scaled, moved
    assert onsets.corner(turned).tolist() == [3, 3]
    assert onsets.angle(turned, onsets.corner(turned)).tolist() == pytest.approx([90, 90])
    back = torch.tensor([[0.0, 0], [2, 0.001], [1, 0]])
    assert onsets.angle(back, onsets.corner(back)) > 175


def test_plane_finds_the_two_directions_that_vary():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(30, 2, generator=generator)).Q
    points = (
        torch.randn(40, 2, generator=generator) @ torch.diag(torch.tensor([3.0, 1.0])) @ basis.T + 7
    )
    found = onsets.plane(points + 1e-4 * torch.randn(40, 30, generator=generator))
    torch.testing.assert_close(found.T @ found, torch.eye(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis @ (basis.T @ found), found, atol=1e-2, rtol=0)
    torch.testing.assert_close(found, onsets.plane(points.flip(0)), atol=1e-2, rtol=0)


def test_bends_of_known_paths_hang_on_no_projection_and_no_pace():
    """A right angle in the middle of a path in fifty dimensions, walked at two paces."""
    basis = torch.linalg.qr(torch.randn(50, 2, generator=torch.Generator().manual_seed(0))).Q.T
    ways = torch.cat([torch.arange(0, 10.0), torch.linspace(10, 20, 41)])
    there = ways.clamp(max=10)[:, None] * basis[0] + (ways - 10).clamp(min=0)[:, None] * basis[1]
    steps = torch.arange(len(ways)).float()
    gram = there.double() @ there.double().T
    at, degrees = onsets.bends(gram, steps)
    where = degrees.argmax()
    assert degrees[where].item() == pytest.approx(90, abs=6)
    assert at[where].item() == pytest.approx(10, abs=2)
    assert degrees[[0, -1]].max() < 0.1
    batched = onsets.bends(torch.stack([gram, 9 * gram]), steps)[1]
    torch.testing.assert_close(batched[0], batched[1], atol=1e-3, rtol=0)


def test_reaching_a_level_is_interpolated_and_never_is_the_last_step():
    steps = torch.tensor([0.0, 100, 200, 400])
    curves = torch.tensor([[0.0, 0.2, 0.6, 0.9], [0.0, 0.1, 0.2, 0.3], [0.7, 0.7, 0.7, 0.7]])
    assert onsets.reaching(steps, curves, 0.4).tolist() == [150, 400, 0]
