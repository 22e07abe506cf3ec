"""What the few-shot models must show under the default profile, in every seed: held on numbers, not
on pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lib import profiles
from lib.analyses import fewshot_circuit, fewshot_claims
from lib.measures import learning

ROOT = Path(__file__).resolve().parents[2]
P = profiles.load(ROOT / "params" / "embedded.yaml").model_copy(
    update={"runs_dir": str(ROOT / "runs"), "fewshot_sequences": 500}
)
pytestmark = pytest.mark.trained("fewshot")


@pytest.fixture(scope="module", params=P.seeds)
def found(request):
    torch.set_num_threads(1)
    return fewshot_claims.read(request.param, P)


def test_the_loss_stands_at_ln_2_and_then_falls(found):
    curve = found.t.curve("all")
    time = float(learning.first_below(curve, learning.LEARNT).value)
    assert 500 < time < 3500
    on_plateau = curve.mean[int(time * 0.5) : int(time * 0.6)]
    assert (on_plateau - learning.LN2).abs().max() < 0.1
    assert float(learning.plateau(curve).value) > 1 and curve.mean[-1] < 0.05


def test_what_was_held_out_is_solved_too(found):
    for kind, least in (("training", 0.99), ("other_pairs", 0.9), ("other_classes", 0.85)):
        shown = found.t.sequences(P, kind)
        assert float(fewshot_circuit.outcome(found.t, ["all"], shown).accuracy[0]) > least


def test_several_heads_and_none_that_is_needed(found):
    strength = found.strength().mean(1).sort(descending=True).values
    assert strength[2] > 0.3 and float(found.single.accuracy.min()) > 0.9


def test_table_1_keys_and_values_take_different_wires(found):
    right = {how: kept.double().mean(1).tolist() for how, kept in found.kept.items()}
    without_previous, without_others = 0, 1
    assert right["pattern"][without_previous] > right["values"][without_previous]
    assert right["values"][without_others] > right["pattern"][without_others]
    assert right["pattern"][without_previous] > 0.9 and right["values"][without_others] > 0.9


def test_layer_one_has_no_path_of_its_own_at_the_end(found):
    lost = (found.followed.without_path - found.followed.losses).mean(0)
    assert float(lost[-1]) < 0.03 < float(lost[1:].max())
