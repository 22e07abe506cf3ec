"""The toy of Singh et al. (2024), figure 5a: three vectors whose product must match another.

Idea. L = mean (a* x b* x c* - a x b x c)^2 / 2 over all entries of the two tensors, by gradient
descent on a, b and c. As long as two of them are small, the gradient on the third is smaller still:
a plateau. With two of them held at a* and b*, the third follows an exponential.

The tensors themselves are never made: everything follows from inner products of the vectors.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

DIMENSION = 20
SCALE = 0.3  # of the first values beside those of the target: ours, the paper names none
RATE = 1.0
STEPS = 1200


def descend(
    rng: np.random.Generator, held: int, draws: int, steps: int = STEPS
) -> Float[Tensor, "draw step"]:
    """Loss at each step of `draws` trainings, as a share of the first; the last `held` of the three
    vectors are those of the target from the start on."""
    target, start = torch.from_numpy(rng.normal(size=(2, 3, draws, DIMENSION)))
    free = 3 - held
    now = torch.cat([SCALE * start[:free], target[free:]])
    losses = []
    for _ in range(steps):
        losses.append(loss(now, target))
        now[:free] -= RATE * gradient(now, target)[:free]
    curves = torch.stack(losses, 1)
    return curves / curves[:, :1]


def until(losses: Float[Tensor, "draw step"], level: float) -> Float[Tensor, "draw"]:
    """Steps until a loss lies below a level, between two steps along the line; the number of steps
    where it never does."""
    below = losses < level
    right = below.double().argmax(1).clamp(min=1)[:, None]
    before, after = losses.gather(1, right - 1), losses.gather(1, right)
    step = (right - 1 + (before - level) / (before - after))[:, 0]
    return torch.where(below.any(1), step, float(losses.shape[1]))


def loss(
    now: Float[Tensor, "3 draw dimension"], target: Float[Tensor, "3 draw dimension"]
) -> Float[Tensor, "draw"]:
    """Half the mean square difference of the two products."""
    own, both, wanted = (
        torch.linalg.vecdot(a, b).prod(0) for a, b in ((now, now), (now, target), (target, target))
    )
    return (own - 2 * both + wanted) / (2 * now.shape[-1] ** 3)


def gradient(
    now: Float[Tensor, "3 draw dimension"], target: Float[Tensor, "3 draw dimension"]
) -> Float[Tensor, "3 draw dimension"]:
    """Of that loss, by each of the three vectors."""
    own, both = (_of_others(torch.linalg.vecdot(now, x)) for x in (now, target))
    return (own[..., None] * now - both[..., None] * target) / now.shape[-1] ** 3


def _of_others(products: Float[Tensor, "3 draw"]) -> Float[Tensor, "3 draw"]:
    """For each of three numbers, the product of the two others."""
    return torch.stack(
        [products[[1, 2]].prod(0), products[[0, 2]].prod(0), products[[0, 1]].prod(0)]
    )
