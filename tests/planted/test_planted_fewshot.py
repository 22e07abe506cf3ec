"""What the analyses of the few-shot circuit say where the circuit is set by hand."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.analyses import fewshot_circuit as circuit
from lib.analyses.fewshot_parts import Parts
from lib.data.fewshot_features import Task
from lib.models.run_recipes import RunsRecipe, Variant
from lib.models.runs import Runs

RECIPE = RunsRecipe(name="planted", variants=(Variant(name="all"),), steps=1, snapshots=(0, 1))
P = SimpleNamespace(seed=0, fewshot_sequences=200)
INDUCTION = {"match": {"head": 3}}
PREVIOUS = {"previous_token": {"heads": [1, 6]}}


class Planted(circuit.Trained):
    """Fresh weights; what a clamp sets is the truth."""

    def open(self, names, step=None) -> Runs:
        return Runs(512, 5, [torch.Generator().manual_seed(0)] * len(names)).requires_grad_(False)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return Planted(RECIPE, 0, Path(), Task.generated(0))


def test_strength_is_one_where_a_match_is_planted(planted):
    shown = planted.sequences(P)
    said = [{}, INDUCTION, {"match": {"head": 3, "strength": 0.25}}]
    came = circuit.outcome(planted, ["all"] * 3, shown, said, ["second.pattern"])
    strength = came.strengths().mean(2)
    assert strength[1, 3] == 1 and strength[2, 3] == -0.5
    assert strength[0].abs().max() < 0.1 and circuit.by_strength(came.strengths()[1])[0] == 3


def test_previous_token_heads_are_found(planted, monkeypatch):
    outcome = circuit.outcome
    with_heads = lambda t, names, shown, said=None, **more: outcome(
        t, names, shown, [PREVIOUS], **more
    )
    monkeypatch.setattr(circuit, "outcome", with_heads)
    looks = circuit.previous_token(planted, planted.sequences(P))
    assert looks[[1, 6]].tolist() == [1, 1] and looks[[0, 2, 3, 4, 5, 7]].max() < 0.7


def test_nothing_is_lost_where_nothing_is_removed(planted):
    kept = circuit.preserved(planted, planted.sequences(P), [[], []])
    assert torch.equal(kept["free"], kept["pattern"]) and torch.equal(kept["free"], kept["values"])
    lost = circuit.weakened(planted, planted.sequences(P))
    assert lost.shape == (8, 8, 200) and lost.mean(2).abs().max() < 0.05


def test_parts_of_cases_by_hand(planted):
    """Eight heads, the third strongest at .6; lone accuracy in the order of strength."""
    ask = Parts(np.random.default_rng(0), 200)
    level = torch.tensor([0.9, 0.1, 0.6, 0.2, 0.8, 0.3, 0.0, 0.4])
    strength = level[:, None].expand(-1, 100)
    assert ask.third("several", planted, strength).value == pytest.approx(0.6)
    right = torch.arange(100) < (100 * level)[:, None]
    lone = circuit.Outcome(1 - right.float(), right, {}, torch.zeros(100))
    assert ask.follows("lone", planted, strength, lone).value == pytest.approx(1)
    assert ask.worst("worst", planted, lone).value == pytest.approx(0)
    falling = torch.tensor([0.5, 0.3, 0.2, 0.15, 0.16, 0.15, 0.15, 0.15])[:, None].expand(-1, 100)
    added = circuit.Outcome(falling, right, {}, torch.zeros(100))
    assert ask.falls("adding", planted, added).value == pytest.approx(0.05)
