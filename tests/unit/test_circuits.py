"""The short products say what the vocabulary x vocabulary matrices would."""

import pytest
import torch

from lib.measures import circuits
from tests import tiny


def explicit(opened, layer):
    """(W_E W_OV W_U of every head, W_Q, W_K), in float64: the whole matrices."""
    w = opened.head_weights(layer)
    E, U = opened.W_E.double(), opened.W_U.double()
    return (
        [E @ v @ o @ U for v, o in zip(w.W_V.double(), w.W_O.double(), strict=True)],
        w.W_Q.double(),
        w.W_K.double(),
    )


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "llama", "organism"])
def test_ov_eigenvalues_are_those_of_the_whole_matrix(family):
    opened = tiny.opened(family)
    UE = opened.W_U.double() @ opened.W_E.double()
    for layer in range(opened.n_layers):
        w = opened.head_weights(layer)
        found = circuits.ov_eigenvalues(w.W_V.double(), w.W_O.double(), UE)
        for head, whole in enumerate(explicit(opened, layer)[0]):
            largest = torch.linalg.eigvals(whole)
            largest = largest[largest.abs().argsort(descending=True)][: opened.d_head]
            score = largest.sum().real / largest.abs().sum()
            torch.testing.assert_close(
                found[head].abs().sort().values, largest.abs().sort().values, rtol=1e-6, atol=1e-8
            )
            torch.testing.assert_close(found[head].sum().real, torch.trace(whole))
            torch.testing.assert_close(circuits.eigenvalue_score(found)[head], score.float())


@pytest.mark.parametrize("family", ["gpt2", "llama", "organism"])
def test_qk_trace_is_that_of_the_whole_matrix(family):
    opened = tiny.opened(family)
    E, previous = opened.W_E.double(), torch.tensor([0.9, 0.1, 0.0, 0.5], dtype=torch.float64)
    early, late = opened.head_weights(0), opened.head_weights(1)
    through = circuits.composed(previous, early.W_V.double(), early.W_O.double())
    by_hand = sum(
        p * v @ o for p, v, o in zip(previous, early.W_V.double(), early.W_O.double(), strict=True)
    )
    torch.testing.assert_close(through, by_hand)
    Q, K, EE = late.W_Q.double(), late.W_K.double(), E.T @ E
    share = circuits.qk_trace_normalised(Q, K, through, EE)
    for head in range(opened.n_heads):
        whole = (E @ Q[head]) @ (
            E @ through @ K[head]
        ).T  # rows: query's token, columns: the token that was moved
        expected = torch.trace(whole) / torch.linalg.eigvals(whole).abs().sum()
        torch.testing.assert_close(share[head], expected.float(), atol=1e-4, rtol=1e-4)


def test_scores_of_heads_that_copy_and_that_do_not():
    same = torch.eye(6)
    W_V, W_O = same[None, :, :4].repeat(2, 1, 1), torch.stack([same[:4], -same[:4]])
    score = circuits.eigenvalue_score(circuits.ov_eigenvalues(W_V, W_O, same))
    assert score.tolist() == [1.0, -1.0]
    assert circuits.eigenvalue_score(torch.zeros(1, 4, dtype=torch.complex64)).tolist() == [0.0]


def test_without_heads_before_it_a_layer_composes_with_nothing():
    opened = tiny.opened("llama")
    w, E = opened.head_weights(0), opened.W_E
    assert (
        circuits.qk_trace_normalised(w.W_Q, w.W_K, torch.zeros(16, 16), E.T @ E).tolist()
        == [0.0] * 4
    )


def test_k_composition_against_whole_matrices():
    generator = torch.Generator().manual_seed(0)
    W_V, W_Q, W_K = (torch.randn(2, 12, 3, generator=generator) for _ in range(3))
    W_O = torch.randn(2, 3, 12, generator=generator)
    found = circuits.k_composition(W_V, W_O, W_Q, W_K)
    for a in range(2):
        for b in range(2):
            writes, reads = W_V[a] @ W_O[a], W_K[b] @ W_Q[b].T
            expected = (writes @ reads).norm() / (writes.norm() * reads.norm())
            assert float(found[a, b]) == pytest.approx(float(expected), rel=1e-4)
