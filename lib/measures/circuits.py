"""What a head's weights alone say about copying and matching (Olsson et al. 2022, argument 5;
Elhage et al. 2021).

No vocabulary x vocabulary matrix is ever built: W_E W_OV W_U has the same non-zero eigenvalues as
the
d_head x d_head product that starts elsewhere in the cycle.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def ov_eigenvalues(
    W_V: Float[Tensor, "head d_model d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
    UE: Float[Tensor, "d_model d_model"],
) -> Complex[Tensor, "head d_head"]:
    """Complex eigenvalues of each head's W_E W_V W_O W_U, given UE = W_U @ W_E (computed once per
    model)."""
    return torch.linalg.eigvals(W_O @ UE @ W_V)


def eigenvalue_score(eigenvalues: Tensor) -> Float[Tensor, "head"]:
    """Sum of the eigenvalues over the sum of their absolute values, -1..1; near 1 = copying (Elhage
    et al. 2021)."""
    return (eigenvalues.sum(-1).real / eigenvalues.abs().sum(-1).clamp(min=1e-12)).float()


def qk_trace_normalised(
    W_Q: Float[Tensor, "head d_model d_head"],
    W_K: Float[Tensor, "head d_model d_head"],
    through: Float[Tensor, "d_model d_model"],
    EE: Float[Tensor, "d_model d_model"],
) -> Float[Tensor, "head"]:
    """Trace over the vocabulary of W_E W_Q (W_E through W_K)^T over the sum of its absolute
    eigenvalues, given EE = W_E^T @ W_E.

    With through = sum of previous_score(h) * W_V^h W_O^h over heads of earlier layers, it measures
    pure K-composition
    with previous-token heads: does this head look for its own token in what they moved one place
    on? -1..1, so that
    layers can be compared.
    """
    small = W_K.transpose(1, 2) @ through.T @ EE @ W_Q
    eigenvalues = torch.linalg.eigvals(small)
    return eigenvalue_score(eigenvalues)


def composed(
    previous: Float[Tensor, "head"],
    W_V: Float[Tensor, "head d_model d_head"],
    W_O: Float[Tensor, "head d_head d_model"],
) -> Float[Tensor, "d_model d_model"]:
    """sum over heads of previous_score(h) * W_V^h W_O^h: what the previous-token heads of a layer
    move."""
    return torch.einsum("h,hdk,hke->de", previous, W_V, W_O)
