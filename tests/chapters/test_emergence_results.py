"""What the world's organisms must show on the axis of training, under the default profile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lib import profiles
from lib.analyses import emergence, relation_maps
from lib.analyses.emergence_families import PATTERN, Timing
from lib.models import opening

ROOT = Path(__file__).resolve().parents[2]
FEW = {"course_documents": 8, "course_texts": 16, "course_prompts": 48, "vector_prompts": 2}
P = profiles.load(ROOT / "params" / "embedded.yaml").model_copy(
    update={"runs_dir": str(ROOT / "runs"), **FEW}
)
pytestmark = pytest.mark.trained("world")


@pytest.fixture(scope="module")
def course() -> emergence.Course:
    torch.set_num_threads(1)
    opened = opening.open_organism("world", P.seeds[0], P)
    return emergence.follow("world", P.seeds[0], emergence.material("world", opened, P), P)


def test_format_comes_before_patterns_and_induction_heads_with_them(course):
    timing = Timing(course, 3, np.random.default_rng(0), 100)
    onset = {name: float(drawn[0]) for name, drawn in (timing.levels | timing.onsets).items()}
    assert onset["format compliance"] < 0.5 * onset[PATTERN]
    assert abs(np.log2(onset["prefix matching"] / onset[PATTERN])) < 1
    assert course.marks["right"][:, -1].mean() > 0.8


def test_sums_by_cluster_give_the_index_of_chapter_6(course):
    opened = opening.open_organism("world", P.seeds[0], P)
    encoded = emergence.material("world", opened, P).documents["facts"]
    found = relation_maps.measure(opened, encoded, emergence.READINGS, min_events=0)
    for reading, one in found.items():
        told = one.summary["index"].flatten(0, 1).T.nan_to_num(0)  # [relation, head]
        mine = course.raw[f"facts, {reading}"].value[..., -1]
        torch.testing.assert_close(mine, told.to(mine), atol=1e-4, rtol=1e-4)
