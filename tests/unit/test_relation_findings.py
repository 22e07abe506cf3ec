"""Findings are read off the maps as their docstrings say, and choosing the best head does not
flatter it."""

import numpy as np
import pandas as pd
import pytest
import torch

from lib.analyses import relation_findings as findings
from lib.analyses import relation_universes
from lib.analyses.relation_maps import Found
from lib.data.triplets import Encoded
from lib.measures.relation_index import PRINTED
from lib.measures.relation_places import Triplets

CONTROLLED = ("same_class",)


def found_of(
    tail: torch.Tensor, relation: list[int], others: torch.Tensor | None = None, min_events: int = 1
) -> Found:
    """One event per head and triplet, each triplet a fact and a cluster of its own.

    tail [layer, head, n].
    """
    n = tail.shape[-1]
    document, zero = torch.arange(n), torch.zeros(n, dtype=torch.long)
    other = zero[:, None] + 2
    names = tuple(f"r{i}" for i in range(max(relation) + 1))
    place = zero, zero + 1, other, other, other - 3
    triplets = Triplets(names, torch.tensor(relation), document, *place, document, document)
    tokens = torch.arange(3 * n).view(n, 3)
    one = torch.ones_like(tail)
    others = torch.zeros_like(tail) if others is None else others
    sums = {"events": one, "tail": tail, "fake": 0.05 * one, "fake_events": one}
    sums |= {"tail_beside_fake": tail, "random": 0.02 * one, "anywhere": 0.02 * one}
    sums |= {"other_tails": others[..., None], "other_sources": others[..., None]}
    return Found(Encoded(tokens, zero + 3, triplets, {}), PRINTED, sums, min_events)


def test_the_best_head_is_measured_where_it_was_not_chosen():
    """Over many heads luck makes the largest excess large; where it was not chosen it is none."""
    tail = torch.rand(20, 50, 40, generator=torch.Generator().manual_seed(0))
    found = found_of(tail, [0] * 40, 0.5 * torch.ones_like(tail))
    lucky = float(findings.excess(found, CONTROLLED).max())
    best = findings.margin("x", 0, found, CONTROLLED, ["r0"])
    assert lucky > 0.12 and abs(best.value) < 0.12 and best.low < 0 < best.high


def test_a_true_head_is_found_and_its_margin_is_measured():
    tail = torch.full((2, 3, 32), 0.1)
    tail[1, 2] = 0.6
    found = found_of(tail, [0, 0, 1, 1] * 8, torch.full_like(tail, 0.2))
    rows = findings.best_heads(found, ("same_class", "fake"), seed=0)
    assert rows["head"].tolist() == ["1.2", "1.2"]
    assert rows.excess.tolist() == pytest.approx([0.4, 0.4])
    estimate = findings.margin("x", 7, found, CONTROLLED, ["r0", "r1"])
    assert (estimate.part, estimate.seed, estimate.n) == ("x", 7, 32)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.4, 0.4, 0.4))


def test_a_relation_without_events_counts_as_nothing_in_value_and_interval():
    tail = torch.full((1, 2, 12), 0.9)
    found = found_of(tail, [0] * 8 + [1] * 4, min_events=6)
    assert np.isnan(findings.best_heads(found, ("fake",), 0).excess[1])
    estimate = findings.margin("x", 0, found, ("fake",), ["r1"])
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)
    both = findings.margin("x", 0, found, ("fake",), ["r0", "r1"])
    assert both.value == pytest.approx(0.85 / 2)


def test_a_row_of_dealings_less_the_others():
    found = found_of(torch.rand(1, 2, 8), [0] * 4 + [1] * 4)
    dealings = findings.Dealings(found, CONTROLLED, 0, rounds=3)
    values = torch.tensor([5.0, 1.0, 2.0, 3.0])
    first, second = (dealings.beyond("x", values, row) for row in (0, 1))
    assert first.value == pytest.approx(3) and first.low == pytest.approx(2.05)  # sd is 1
    assert second.value == pytest.approx((1 - 2.5) / 0.5**0.5)  # the truth is no dealing
    assert np.isnan(dealings.beyond("x", values * torch.nan).value)


def test_stability_of_equal_and_of_unrelated_maps():
    generator = torch.Generator().manual_seed(2)
    one, two = (
        findings.Dealings(
            found_of(torch.rand(4, 8, 6, generator=generator), [0, 0, 1, 1, 2, 2]), (), 0, rounds=2
        )
        for _ in range(2)
    )
    assert findings.stability("s", 0, [one, one]).value == pytest.approx(1)
    assert abs(findings.stability("s", 0, [one, one, two]).value) < 0.4
    few = findings.Dealings(found_of(torch.rand(1, 2, 2), [0, 0], min_events=5), (), 0, rounds=2)
    assert np.isnan(findings.stability("s", 0, [few, few]).value)


def test_breadth_counts_heads_by_their_excess():
    """Four equal heads carry the first relation, one the second."""
    tail = torch.zeros(1, 4, 16)
    tail[..., :8], tail[:, 0, 8:] = 0.8, 0.8
    found = found_of(tail, [0] * 8 + [1] * 8)
    true, *dealt = findings.breadth("b", 0, found, ("same_class",), dealings=3)
    assert true.value == pytest.approx(3) and len(dealt) == 3


def test_most_active_by_hand():
    tail = torch.tensor([[[0.9, 0.1, 0.0], [0.2, 0.3, 0.0]], [[0.1, 0.2, 0.0], [0.0, 0.0, 0.0]]])
    wins = findings.most_active(found_of(tail, [0, 0, 1]))
    assert wins[..., 0].tolist() == [[0.5, 0.5], [0.0, 0.0]]
    assert wins[..., 1].isnan().all()  # nobody raises the third


def test_each_triplet_once():
    found = found_of(torch.tensor([[[0.8, 0.8]]]), [0, 0])
    found.sums["tail"], found.sums["events"] = (
        torch.tensor([[[8.0, 0.2]]]),
        torch.tensor([[[10.0, 1.0]]]),
    )
    once = relation_universes.once_a_triplet(found)
    assert found.summary["index"].item() == pytest.approx(8.2 / 11)
    assert once.summary["index"].item() == pytest.approx(0.5) == found.summary["macro"].item()


def test_universes_are_all_different_and_hold_the_printed_one():
    made = relation_universes.universes(PRINTED)
    assert len(set(made.values())) == len(made) == 36 and next(iter(made.values())) == PRINTED


def test_conclusions_get_stricter_with_the_null():
    tail = torch.tensor([[[0.5, 0.5, 0.09, 0.09], [0.0] * 4]])
    made = found_of(tail, [0, 0, 1, 1], torch.full_like(tail, 0.3))
    variants = {"one": PRINTED}
    counted = relation_universes.conclusions({"one": made}, variants, dealings=2)
    pooled = counted.query("averaging == 'pooled' and row == 0").set_index("null").relations
    expected = {"10th token": 1, "any token": 2, "same class": 1, "same class, other source": 1}
    assert pooled.to_dict() == expected | {"these and other relation": 0}
    assert set(counted.row) == {0, 1, 2}


def test_shares_of_universes():
    rows = {"null": ["any token", "same class, other source"] * 2, "row": 0, "filled": True}
    rows |= {"relations": [7, 0, 7, 4], "input": ["current", "current", "source", "source"]}
    counted = pd.DataFrame(rows)
    assert relation_universes.share(counted, "s", 0).value == 0.75
    assert relation_universes.former_share(counted, "s", 0).value == 1
    assert relation_universes.possible(counted) == 0.75


def test_the_richest_result_is_not_the_most_right_one():
    rows = pd.DataFrame({"planted found": [4, 3, 4], "others flagged": [0, 9, 8]})
    richest = relation_universes.most_lenient(rows)
    assert richest["others flagged"] == 9 and richest["share planted"] == 0.25


def test_the_paper_s_own_universe_stands_once_beside_each_null():
    universes = relation_universes.universes(PRINTED).values()
    made = pd.DataFrame([relation_universes.described(one) for one in universes])
    rows = pd.concat(
        made.assign(averaging=averaging, null=null)
        for averaging in ("pooled", "triplets")
        for null in relation_universes.NULLS
    )
    own = rows[relation_universes.as_printed(rows)]
    assert own.null.tolist() == list(relation_universes.NULLS)
    assert set(own.averaging) == {"pooled"} and set(own.sharpness) == {"ratio 2.2"}
