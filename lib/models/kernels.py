"""Operations of the few-shot model with their gradients written out: norm, rotation, attention.

Built from torch's own elementwise operations they took most of a training step, as each passes over
all activations several times, forward and backward, and matrices of five by eight numbers are too
small for its products of matrices. All of them act on [run, axis, …, batch].
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

EPSILON = 1e-5


class _Norm(Function):
    """Mean 0 and variance 1 along the second axis, then gain and shift."""

    @staticmethod
    def forward(ctx, x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = torch.linalg.vecdot(centred, centred, dim=1).unsqueeze(1) / x.shape[1]
        scale = (variance + EPSILON).rsqrt_()
        normed = centred.mul_(scale)
        ctx.save_for_backward(normed, scale, gain)
        return torch.addcmul(shift, normed, gain)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normed, scale, gain = ctx.saved_tensors
        each = grad * normed
        along = each.sum((2, 3), keepdim=True), grad.sum((2, 3), keepdim=True)
        size = grad.shape[1]
        pulled = torch.linalg.vecdot(each, gain, dim=1).unsqueeze(1) / size
        level = torch.linalg.vecdot(grad, gain, dim=1).unsqueeze(1) / size
        back = torch.addcmul(grad * gain, normed, pulled, value=-1).sub_(level).mul_(scale)
        return back, *along


class _Turn(Function):
    """The first half of the third axis and the second are turned into one another by an angle."""

    @staticmethod
    def forward(ctx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return _turned(grad, *ctx.saved_tensors, -1), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    left, right = x.chunk(2, 2)
    made = x * torch.cat([cos, cos])
    made[:, :, : len(cos)].addcmul_(right, sin, value=-sign)
    made[:, :, len(cos) :].addcmul_(left, sin, value=sign)
    return made


class _Products(Function):
    """Every query with every key, summed over the numbers of a head."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor) -> Tensor:
        ctx.save_for_backward(query, key)
        return _pairs(query, key)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        query, key = ctx.saved_tensors
        return _weighed(grad, key), _weighed(grad.transpose(2, 3), query)


class _Mixture(Function):
    """What each query collects: the values of all keys, weighed by its pattern."""

    @staticmethod
    def forward(ctx, pattern: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(pattern, value)
        return _weighed(pattern, value)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        pattern, value = ctx.saved_tensors
        return _pairs(grad, value), _weighed(pattern.transpose(2, 3), grad)


def _pairs(a: Tensor, b: Tensor) -> Tensor:
    """[run, head, d_head, i, batch] and [..., j, batch] -> [run, head, i, j, batch]"""
    made = a[:, :, 0, :, None] * b[:, :, 0, None]
    for number in range(1, a.shape[2]):  # added up in place: no table of all products
        made.addcmul_(a[:, :, number, :, None], b[:, :, number, None])
    return made


def _weighed(weight: Tensor, x: Tensor) -> Tensor:
    """[run, head, i, j, batch] and [run, head, d_head, j, batch] -> [..., d_head, i, batch]"""
    made = weight[:, :, None, :, 0] * x[:, :, :, :1]
    for place in range(1, x.shape[3]):
        made.addcmul_(weight[:, :, None, :, place], x[:, :, :, place : place + 1])
    return made


def norm(
    x: Float[Tensor, "run width position batch"],
    gain: Float[Tensor, "run width 1 1"],
    shift: Float[Tensor, "run width 1 1"],
) -> Float[Tensor, "run width position batch"]:
    """LayerNorm over the width, for each run, position and sequence apart."""
    return _Norm.apply(x, gain, shift)


def turn(
    x: Float[Tensor, "run head d_head position batch"],
    cos: Float[Tensor, "half position 1"],
    sin: Float[Tensor, "half position 1"],
) -> Float[Tensor, "run head d_head position batch"]:
    """Rotary positions: number i of the first half and of the second, turned by angle i."""
    return _Turn.apply(x, cos, sin)


def products(
    query: Float[Tensor, "run head d_head query batch"],
    key: Float[Tensor, "run head d_head key batch"],
) -> Float[Tensor, "run head query key batch"]:
    """Inner products of queries and keys."""
    return _Products.apply(query, key)


def mixture(
    pattern: Float[Tensor, "run head query key batch"],
    value: Float[Tensor, "run head d_head key batch"],
) -> Float[Tensor, "run head d_head query batch"]:
    """Values under a pattern: z."""
    return _Mixture.apply(pattern, value)
