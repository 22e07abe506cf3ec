"""What the organisms of the generated world must show under the default profile, in every seed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from lib import profiles
from lib.analyses import detection, relation_maps
from lib.data import fewshot, gold, lexicon, triplets
from lib.measures.relation_index import CALIBRATED
from lib.models import opening, training
from lib.tracing import capture

ROOT = Path(__file__).resolve().parents[2]
P = profiles.load(ROOT / "params" / "embedded.yaml").model_copy(
    update={"runs_dir": str(ROOT / "runs")}
)
pytestmark = [pytest.mark.trained("world"), pytest.mark.parametrize("seed", P.seeds)]


@cache
def organism(seed: int):
    torch.set_num_threads(1)
    return opening.open_organism("world", seed, P)


def test_most_relations_of_the_graph_are_held_by_some_head(seed):
    """Read at the head token: above other words of the tail's class, corrected for all heads."""
    opened, world = organism(seed), training.RECIPES["world"].make_corpus()
    told = gold.documents(
        world, world.documents(np.random.default_rng(P.seed), P.documents, "graph")
    )
    encoded = triplets.collate(told, opened.tokenizer, list(lexicon.RELATIONS), world.context)
    found = relation_maps.measure(opened, encoded, {"source": CALIBRATED})["source"]
    held = found.held(found.p_values(P.seed, 1000)["same_class"])
    assert int(held.flatten(0, 1).any(0).sum()) >= 4


def test_induction_heads_and_pattern_discovery_form(seed):
    """What the later chapters build on: the best head matches prefixes, and lists of categories
    never seen together are continued."""
    opened, world, rng = (
        organism(seed),
        training.RECIPES["world"].make_corpus(),
        np.random.default_rng(P.seed),
    )
    scored = detection.attention_scores(
        opened, detection.random_repeats(opened, rng, 15, 4, 10), rng
    )
    assert float(scored["prefix"].mean(0).max()) > 0.6
    tokens, label, _ = fewshot.prompts(world, rng, "binary", 10, 200)
    said = capture.logits(opened, torch.from_numpy(tokens))[:, -1].argmax(-1)
    assert float((said == torch.from_numpy(label)).float().mean()) > 0.7
