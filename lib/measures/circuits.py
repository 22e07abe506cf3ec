"""What a head's weights alone say about copying and matching (Olsson et al. 2022, argument 5;
Elhage et al. 2021).

No vocabulary x vocabulary matrix is ever built: W_E W_OV W_U has the same non-zero eigenvalues as
the d_head x d_head product that starts elsewhere in the cycle.
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
    pure K-composition with previous-token heads: does this head look for its own token in what they
    moved one place on? -1..1, so that layers can be compared.
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


def k_composition(
    W_V: Float[Tensor, "earlier d_model d_head"],
    W_O: Float[Tensor, "earlier d_head d_model"],
    W_Q: Float[Tensor, "later d_model d_head"],
    W_K: Float[Tensor, "later d_model d_head"],
) -> Float[Tensor, "earlier later"]:
    """How much of what an earlier head writes the keys of a later head read, 0..1.

    The Frobenius norm of W_OV W_QK^T over the product of those of the two factors (Elhage et al.
    2021, "K-composition"). Norms are taken of d_head x d_head products: a QR decomposition leaves
    out what does not change them.
    """
    R_V, R_Q = (torch.linalg.qr(w, mode="r").R for w in (W_V, W_Q))
    writes, reads = R_V @ W_O, W_K @ R_Q.transpose(1, 2)
    product = torch.einsum("ade,bek->abdk", writes, reads)
    return product.norm(dim=(2, 3)) / (writes.norm(dim=(1, 2))[:, None] * reads.norm(dim=(1, 2)))
