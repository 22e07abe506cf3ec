"""Mistakes by label, and orders of clamps, on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.analyses import clamp_orders, label_mistakes
from lib.measures.statistics import Interval


def mistakes(wrong: list[list[int]], labels: list[int]) -> label_mistakes.Mistakes:
    shown = torch.nn.functional.one_hot(torch.tensor(labels)).double()
    return label_mistakes.Mistakes(3, torch.tensor(wrong).bool(), shown)


def test_mistakes_by_the_label_that_would_have_been_right():
    found = mistakes([[1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]], [0, 0, 1, 1, 2, 2])
    assert found.by_label().tolist() == [[2, 1, 0], [0, 0, 0]]
    table = label_mistakes.shares(found).pivot(index="head", columns="label")["wrong answers"]
    assert table.loc["1.0"].tolist() == [1, 0.5, 0] and table.loc["1.1"].tolist() == [0, 0, 0]
    worst = label_mistakes.worst(found.by_label())
    assert float(worst[0]) == pytest.approx(2 / 3) and bool(worst[1].isnan())


def test_planted_mistakes_on_one_label_stand_out_and_others_do_not(rng):
    labels = np.resize(np.arange(5), 500).tolist()
    one = [int(label == 3 and i % 2 == 0) for i, label in enumerate(labels)]
    spread = [int(i % 50 < 5) for i in range(500)]  # ten mistakes on each label
    table = label_mistakes.gathered([mistakes([one, spread], labels)], rng, rounds=200)
    assert table["mistakes"].tolist() == [50, 50]
    assert table["worst label"].tolist() == pytest.approx([1, 0.2])
    # The worst of five is above a fifth by chance: about .28 of 50 mistakes.
    assert table["dealt anew"].tolist() == pytest.approx([0.28] * 2, abs=0.02)
    assert (table["worst label"] > table["rarely above"]).tolist() == [True, False]


def times(*steps: float) -> clamp_orders.Times:
    each = zip(clamp_orders.ORDER, steps, strict=True)
    return clamp_orders.Times(3, {name: Interval(*torch.full((3,), s)) for name, s in each})


def test_the_order_is_as_good_as_its_worst_neighbours():
    assert float(times(64.0, 32.0, 16.0, 8.0, 2.0, 4.0).smallest().value) == 1
    assert float(times(64.0, 32.0, 16.0, 8.0, 16.0, 1.0).smallest().value) == -1


def test_every_other_order_of_names_and_none_that_asks_the_same():
    dealt = clamp_orders.dealt_anew()
    assert len(set(dealt)) == 718 and clamp_orders.ORDER not in dealt
    kept = times(64.0, 32.0, 16.0, 8.0, 2.0, 4.0)
    passed = [trial[0].low > 0 for trial in clamp_orders.trials("order", [kept])]
    assert len(passed) == 718 and not any(passed)
