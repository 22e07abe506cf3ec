"""What the clamped runs must show under the default profile: their order in the median over seeds,
and a plateau that goes when only C is left free.

Read from the logs of training alone. Not asked is that the plateau goes when only B is free (layer
1 and copy clamped), although the paper has it so: with the copy clamped only the two labels of the
context can be answered, so that the loss starts near ln 2, and the rule, which counts the time near
ln 2, cannot tell that start from a wait. Nor is the order asked of single seeds, nor one between
`match` and `layer 1 and copy`: runs with nothing between them differ by as much as that.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest
import torch

from lib import profiles
from lib.analyses import clamped
from lib.measures import plateaus
from lib.report import claims

ROOT = Path(__file__).resolve().parents[2]
P = profiles.load(ROOT / "params" / "embedded.yaml").model_copy(
    update={"runs_dir": str(ROOT / "runs")}
)
RULES = claims.load()
pytestmark = pytest.mark.trained("fewshot", "fewshot_clamped", "fewshot_previous")


@pytest.fixture(scope="module")
def runs():
    torch.set_num_threads(1)
    return [clamped.Clamped.of(seed, P) for seed in P.seeds]


@pytest.mark.parametrize("last", ["match", "layer 1 and copy"])
def test_the_more_is_clamped_the_sooner_the_rest_is_learnt(runs, last):
    names = ["none", "previous token", "layer 1", "copy", last]
    none, previous, layer, copy, end = (
        median(float(plateaus.learnt(one[name]).value) for one in runs) for name in names
    )
    assert none > previous >= layer > copy > end


def test_every_run_of_that_order_has_learnt(runs):
    for one in runs:
        for name in ("none", "previous token", "layer 1", "copy", "match", "layer 1 and copy"):
            assert float(plateaus.learnt(one[name]).value) < one[name].start + len(one[name].mean)


def test_a_plateau_without_a_clamp_and_none_with_c_alone(runs):
    rule = RULES["S10"].parts["only-c"]  # as of S9: below three tenths, and a half is a plateau
    for one in runs:
        assert float(plateaus.share(one["none"]).low) > rule.no_effect
        assert float(plateaus.share(one["match"]).high) < rule.tolerance
