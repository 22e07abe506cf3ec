"""One head that carries the label, or two: ablation, patching and function vectors must say so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.analyses import causal_frames as frames
from lib.analyses import causes, function_vectors
from lib.data import fewshot
from lib.data.worlds import ListWorld
from lib.models import opening, planted_labels

WORLD = ListWorld()


def opened(*carriers: tuple[int, int]):
    made = planted_labels.label_carriers(WORLD, carriers=carriers)
    return opening.open_model(made.model, tokenizer=made.tokenizer)


@pytest.fixture(scope="module")
def one():
    return opened((1, 2))


@pytest.fixture(scope="module")
def two():
    return opened((1, 2), (1, 3))


def shares(model) -> dict[tuple[str, str], float]:
    rows = frames.planted(model, WORLD, np.random.default_rng(0), 6, 8)
    return rows.set_index(["heads", "measure"]).share.to_dict()


def test_a_single_carrier_is_needed_and_enough(one):
    found = shares(one)
    assert found["1.2", frames.ABLATED] > 0.8
    assert found["1.2", frames.PATCHED] == pytest.approx(1, abs=0.05)
    for other in ("1.1", "1.3"):
        assert abs(found[other, frames.ABLATED]) < 0.05
        assert abs(found[other, frames.PATCHED]) < 0.05


def test_of_two_carriers_neither_is_needed_alone_and_each_brings_half(two):
    found = shares(two)
    for head in ("1.2", "1.3"):
        assert found[head, frames.ABLATED] < 0.2
        assert found[head, frames.PATCHED] == pytest.approx(0.5, abs=0.05)
    assert found["1.2 and 1.3", frames.ABLATED] > 0.8


def test_the_previous_token_head_is_needed_and_carries_nothing(one):
    found = shares(one)
    assert found["0.0", frames.ABLATED] > 0.5
    assert abs(found["0.0", frames.PATCHED]) < 0.05


def of_one_class(rng, n: int):
    """Prompts whose right label is always the same, so that a mean over them says it."""
    cell = fewshot.questions(WORLD, rng, "binary", 6, 2 * n)
    rows = cell.label == cell.legal[0]
    kept = {name: getattr(cell, name)[rows] for name in ("tokens", "last", "label")}
    return replace(cell, **kept)


@pytest.mark.parametrize("name", ["one", "two"])
def test_the_carrier_of_a_constant_label_is_the_function_vector_head(name, request):
    rng, model = np.random.default_rng(0), request.getfixturevalue(name)
    pairs = [(of_one_class(rng, 6), of_one_class(rng, 6))]
    found = function_vectors.over(model, pairs, rng)
    gain = found.scores
    carriers = {"one": [(1, 2)], "two": [(1, 2), (1, 3)]}[name]
    assert divmod(int(gain.argmax()), 4) in carriers
    assert float(gain[1, 2]) > float(found.null[1, 2]) + 0.05
    rest = gain.clone()
    for place in carriers:
        rest[place] = 0
    assert float(rest.abs().max()) < 0.05


def test_a_way_of_removing_that_there_is_not_is_named(one):
    asked = [fewshot.questions(WORLD, np.random.default_rng(0), "binary", 2, 2)]
    trial = causes.Trial(one, asked, torch.zeros(1, 16, dtype=torch.int64))
    with pytest.raises(ValueError, match="There are zero"):
        trial.without([[(1, 2)]], "gently")


def test_carriers_stand_in_the_second_layer():
    with pytest.raises(ValueError, match="layer 1"):
        planted_labels.label_carriers(WORLD, carriers=((0, 1),))
