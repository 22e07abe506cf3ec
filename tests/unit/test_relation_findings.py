"""Findings are read off the maps as their docstrings say, and choosing the best head does not
flatter it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.analyses import relation_findings as findings
from lib.analyses.relation_maps import Found
from lib.data.triplets import Encoded
from lib.measures.relation_index import PRINTED, Triplets


def found_of(
    tail: torch.Tensor,
    relation: list[int],
    names: tuple[str, ...],
    others: torch.Tensor | None = None,
    min_events: int = 2,
) -> Found:
    """Findings with one event per head and triplet, each triplet in a document of its own; tail
    [layer, head, n]."""
    n = tail.shape[-1]
    document, zero = torch.arange(n), torch.zeros(n, dtype=torch.long)
    other = zero[:, None] + 2
    triplets = Triplets(
        names, torch.tensor(relation), document, zero, zero + 1, other, other, other > 2, document
    )
    tokens = torch.arange(3 * n).view(n, 3)
    one = torch.ones_like(tail)
    others = torch.zeros_like(tail) if others is None else others
    sums = {
        "events": one,
        "tail": tail,
        "fake": 0.05 * one,
        "fake_events": one,
        "tail_beside_fake": tail,
        "random": 0.02 * one,
        "other_tails": others[..., None],
        "other_sources": others[..., None],
    }
    return Found(Encoded(tokens, zero + 3, triplets, {}), PRINTED, sums, min_events)


def test_the_best_head_is_measured_where_it_was_not_chosen():
    """Pure luck: over many heads the largest excess on one half is large; on the other half it is
    none."""
    tail = torch.rand(20, 50, 40, generator=torch.Generator().manual_seed(0))
    found = found_of(tail, [0] * 40, ("r",), 0.5 * torch.ones_like(tail))
    lucky = float(findings.excess(findings.half(found, False), ("same_class",)).max())
    best = findings.best_heads(found, ("same_class",), seed=0)["r"]
    assert lucky > 0.18 and abs(best.value) < 0.15 and best.interval[0] < 0 < best.interval[1]


def test_a_true_head_is_found_and_its_margin_is_measured():
    tail = torch.full((2, 3, 32), 0.1)
    tail[1, 2] = 0.6
    found = found_of(tail, [0, 0, 1, 1] * 8, ("a", "b"), torch.full_like(tail, 0.2))
    rows = findings.best_heads(found, ("same_class", "fake"), seed=0)
    assert rows["a"].head == (1, 2) and rows["a"].value == pytest.approx(0.4)
    estimate = findings.margin("x", 7, rows, ["a", "b"])
    assert (estimate.part, estimate.seed, estimate.n) == ("x", 7, 16)  # half of the documents judge
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.4, 0.4, 0.4))


def test_relations_without_enough_events_count_as_nothing():
    found = found_of(torch.full((1, 2, 8), 0.9), [0] * 8, ("a", "b"))
    best = findings.best_heads(found, ("fake",), 0)
    assert best["b"].head == (-1, -1) and findings.margin(
        "x", 0, best, ["a", "b"]
    ).value == pytest.approx(0.85 / 2)


def test_events_without_the_control_do_not_count():
    found = found_of(torch.full((1, 2, 8), 0.9), [0] * 8, ("a",), min_events=4)
    rare = dict(found.sums, fake_events=torch.zeros(1, 2, 8).index_fill(2, torch.arange(3), 1.0))
    found = replace(found, sums=rare)
    assert (
        findings.excess(found, ("random",)).isfinite().all()
        and findings.excess(found, ("random", "fake")).isnan().all()
    )


def test_the_interval_of_a_mean_is_narrower_than_the_mean_of_intervals():
    tail = torch.rand(1, 1, 120, generator=torch.Generator().manual_seed(3))
    best = findings.best_heads(
        found_of(tail, [0, 0, 1, 1, 2, 2] * 20, ("a", "b", "c")), ("random",), 0
    )
    mean = findings.margin("x", 0, best, ["a", "b", "c"])
    assert mean.high - mean.low < 0.8 * np.mean(
        [one.interval[1] - one.interval[0] for one in best.values()]
    )


def test_salient_sparse_and_fewer_by_hand():
    tail = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.08, 0.08, 0.3, 0.3]]])
    found = found_of(tail, [0, 0, 1, 1], ("subj", "obj"))
    held = findings.salient(found)
    assert held.tolist() == [[[True, True], [False, True]]]
    assert findings.sparsity("s", 0, held, np.random.default_rng(0)).value == pytest.approx(0.75)
    assert np.isnan(
        findings.sparsity("s", 0, torch.zeros_like(held), np.random.default_rng(0)).value
    )
    assert findings.fewer("f", 0, found, held).value == -1


def test_overlap_is_measured_against_chance():
    tail = torch.rand(4, 5, 12, generator=torch.Generator().manual_seed(1))
    same = found_of(
        torch.cat([tail, tail], -1), [*range(12)] * 2, tuple(f"r{i}" for i in range(12))
    )
    names = list(same.encoded.triplets.names)
    rng = np.random.default_rng(0)
    assert findings.overlap("o", 0, same, (), [(name, name) for name in names], rng).low > 0.7
    apart = findings.overlap("o", 0, same, (), findings.pairs_of(names), rng)
    assert apart.low < 0 < apart.high  # twelve relations with random maps
    blank = replace(same, min_events=3)
    assert np.isnan(findings.overlap("o", 0, blank, (), findings.pairs_of(names), rng).value)


def test_stability_of_equal_and_of_unrelated_maps():
    generator, rng = torch.Generator().manual_seed(2), np.random.default_rng(0)
    one, two = (
        found_of(torch.rand(4, 8, 6, generator=generator), [0, 0, 1, 1, 2, 2], ("a", "b", "c"))
        for _ in range(2)
    )
    assert findings.stability("s", 0, {2.0: one, 2.2: one}, (), rng).value == pytest.approx(1)
    assert abs(findings.stability("s", 0, {2.0: one, 2.2: one, 2.5: two}, (), rng).value) < 0.4
    blank = found_of(torch.rand(1, 2, 2), [0, 0], ("a",), min_events=5)
    assert np.isnan(findings.stability("s", 0, {2.0: blank, 2.2: blank}, (), rng).value)


def test_most_active_by_hand():
    tail = torch.tensor([[[0.9, 0.1, 0.0], [0.2, 0.3, 0.0]], [[0.1, 0.2, 0.0], [0.0, 0.0, 0.0]]])
    wins = findings.most_active(found_of(tail, [0, 0, 1], ("a", "b")))
    assert (
        wins[..., 0].tolist() == [[0.5, 0.5], [0.0, 0.0]] and wins[..., 1].isnan().all()
    )  # nobody raises the third


def test_each_triplet_once():
    found = found_of(torch.tensor([[[0.8, 0.8]]]), [0, 0], ("a",))
    sums = dict(found.sums, tail=torch.tensor([[[8.0, 0.2]]]), events=torch.tensor([[[10.0, 1.0]]]))
    found = replace(found, sums=sums)
    assert found.summary["index"].item() == pytest.approx(8.2 / 11)
    assert (
        findings.once_a_triplet(found).summary["index"].item()
        == pytest.approx(0.5)
        == found.summary["macro"].item()
    )


def test_universes_are_all_different_and_hold_the_printed_one():
    made = findings.universes(PRINTED)
    assert len(set(made.values())) == len(made) == 36 and PRINTED in made.values()


def test_conclusions_get_stricter_with_the_null():
    tail = torch.tensor([[[0.5, 0.09], [0.0, 0.0]]])
    counts = findings.conclusions(
        found_of(tail, [0, 1], ("a", "b"), torch.full_like(tail, 0.3), min_events=1), ["a", "b"]
    )
    assert counts == {
        "fake tail": 1,
        "random token": 2,
        "same class": 1,
        "same class, other source": 1,
        "these and other relation": 0,
    }
