"""Answers turned and dealt anew, families of heads, and shares of levels that are lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib import profiles
from lib.analyses import causal_study, cause_parts
from lib.analyses.causal_study import Removed
from lib.analyses.head_families import Families
from lib.data import answers, fewshot
from lib.data.worlds import World


@pytest.fixture(scope="module")
def asked():
    return fewshot.questions(World(), np.random.default_rng(0), "binary", 6, 8)


def test_turned_labels_change_places_and_nothing_else_does(asked):
    turned = answers.turned(asked)
    where = answers.places(asked)
    assert where.sum(1).tolist() == [6] * 8
    assert torch.equal(turned.tokens[~where], asked.tokens[~where])
    assert bool((turned.tokens[where] != asked.tokens[where]).all())
    assert bool((turned.label != asked.label).all())
    assert torch.equal(answers.turned(turned).tokens, asked.tokens)  # two labels: there and back


def test_shuffled_prompts_keep_their_labels_and_their_words(asked):
    mixed = answers.shuffled(asked, np.random.default_rng(1))
    where = answers.places(asked)
    assert torch.equal(mixed.tokens[~where], asked.tokens[~where])
    labels = [cell.tokens[where].unflatten(0, (8, 6)).sort(1).values for cell in (mixed, asked)]
    assert torch.equal(*labels) and not torch.equal(mixed.tokens, asked.tokens)


def test_chance_counts_the_labels_that_are_answers(asked):
    assert answers.chance(asked) == 0.5


def test_one_label_alone_cannot_be_turned(asked):
    few = replace(asked, label=asked.label[:1].expand(8))
    with pytest.raises(ValueError, match="one"):
        answers.turned(few)


def families() -> Families:
    up = torch.arange(8.0).view(2, 4)
    return Families({"semantic": up, "induction": up.flip(1), "entropy": up})


def test_the_best_heads_of_a_family_and_those_that_no_other_has():
    found = families()
    assert found.best("semantic", 2) == [(1, 3), (1, 2)]
    assert found.best("induction", 3) == [(1, 0), (1, 1), (1, 2)]
    assert found.best("semantic", 2, "induction") == [(1, 3), (1, 2)]
    assert found.best("semantic", 3, "induction") == [(1, 3), (0, 3), (0, 2)]
    assert found.shared(("semantic", "induction"), 3) == [(1, 2), (1, 1)]


def test_sets_of_like_entropy_are_other_heads_and_near():
    found = families().like([(0, 0), (0, 1)], np.random.default_rng(0), 5)
    assert len(found) == 5 and len({tuple(heads) for heads in found}) == 5
    for heads in found:
        assert len(set(heads)) == 2 and not {(0, 0), (0, 1)} & set(heads)


def removed(own: float, others: list[float], spread: float = 0.01) -> Removed:
    """Shares of pattern discovery lost without a family and beside it."""
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, spread, (200, 1 + len(others))))
    noise[0] = 0
    drawn = torch.tensor([own, *others]) + noise
    places = {"semantic": slice(0, 1), "semantic: same layers": slice(1, 1 + len(others))}
    return Removed({"pattern": drawn}, places, {"pattern": 40})


def test_what_is_lost_beyond_random_sets_is_a_difference():
    gone = removed(0.7, [0.1, 0.3])
    drawn = causal_study.beyond(gone, "pattern", "semantic", "semantic: same layers")
    assert float(drawn[0]) == pytest.approx(0.5)


def test_a_random_set_that_stands_out_in_every_model_is_a_false_alarm():
    def names(one: Removed) -> Removed:
        same = one.places["semantic: same layers"]
        every = {f"{family}: same layers": same for family in cause_parts.FAMILIES}
        return Removed(one.shares, every, one.units)

    quiet = {s: names(removed(0.0, [0.1, 0.1, 0.1])) for s in (0, 1)}
    loud = {s: names(removed(0.0, [0.9, 0.1, 0.1])) for s in (0, 1)}
    rates = [cause_parts.false_alarms("pattern", gone, 0.25) for gone in (quiet, loud)]
    assert [rate.passed for rate in rates] == [0, 4] and rates[0].of == 12


def test_a_second_recipe_without_relations_is_refused_before_any_work():
    causal_study.check_second(profiles.Profile(second_recipe="world_three_layer"))
    with pytest.raises(ValueError, match="learns no relations"):
        causal_study.check_second(profiles.Profile(second_recipe="lists"))
    with pytest.raises(ValueError, match="No recipe"):
        causal_study.check_second(profiles.Profile(second_recipe="worlds"))
