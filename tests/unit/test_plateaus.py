"""Learning times, plateaus and the toy product, on cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.measures import learning, plateaus, product


def curve(values) -> learning.Curve:
    """A loss without noise, one value a step from the first on."""
    mean = torch.as_tensor(values, dtype=torch.double)
    return learning.Curve(mean, torch.zeros_like(mean), 0)


def decay(steps: int, begin: float, tau: float) -> torch.Tensor:
    return begin * torch.exp(-torch.arange(1, steps + 1, dtype=torch.double) / tau)


def test_an_exponential_spends_what_the_formula_says_near_ln_2():
    one = curve(decay(4000, 2 * learning.LN2, 600))
    assert float(plateaus.share(one).value) == pytest.approx(
        math.log(1.1 / 0.9) / math.log(2 / 0.4), abs=0.005
    )


def test_a_run_that_waits_has_its_wait_as_a_share():
    # 100 steps high, 300 steps at ln 2, 100 a little below, then learnt.
    values = [1.5] * 100 + [learning.LN2] * 300 + [0.5] * 100 + [0.1] * 50
    assert float(plateaus.share(curve(values)).value) == pytest.approx(300 / 501, abs=0.01)
    assert float(plateaus.learnt(curve(values)).value) == 501


def test_a_run_that_never_learns_counts_as_learnt_at_its_end():
    stuck, fast = curve([learning.LN2] * 400), curve([learning.LN2] * 99 + [0.1] * 301)
    assert float(plateaus.learnt(stuck).value) == 400
    assert float(plateaus.later(stuck, fast).value) == pytest.approx(2.0)


def test_the_exponential_beside_a_run_is_learnt_at_the_same_step():
    waited = curve([1.5] * 100 + [learning.LN2] * 300 + [0.1] * 100)
    smooth = plateaus.exponential(waited)
    assert abs(float(plateaus.learnt(smooth).value) - 401) <= 1
    assert float(plateaus.share(smooth).value) < 0.15


def test_the_gradient_of_the_toy_is_that_of_the_full_tensors():
    torch.manual_seed(0)
    now = torch.randn(3, 2, 5, dtype=torch.double, requires_grad=True)
    target = torch.randn(3, 2, 5, dtype=torch.double)
    whole = [torch.einsum("ni,nj,nk->nijk", *vectors) for vectors in (now, target)]
    loss = ((whole[0] - whole[1]) ** 2).mean((1, 2, 3)) / 2
    (wanted,) = torch.autograd.grad(loss.sum(), now)
    assert torch.allclose(product.loss(now, target), loss)
    assert torch.allclose(product.gradient(now, target), wanted)


def test_with_two_vectors_held_the_toy_decays_exponentially():
    losses = product.descend(np.random.default_rng(0), held=2, draws=4, steps=12)
    ratios = losses[:, 1:] / losses[:, :-1]
    assert torch.allclose(ratios, ratios[:, :1].expand_as(ratios), atol=1e-9)


def test_until_is_read_between_two_steps():
    losses = torch.tensor([[1.0, 0.8, 0.2], [1.0, 1.0, 1.0]])
    assert product.until(losses, 0.5).tolist() == pytest.approx([1.5, 3.0])
