"""What the book's own models must show under the default profile, in every seed: held on numbers,
not on pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib import profiles
from lib.analyses import trajectories
from lib.measures import onsets

ROOT = Path(__file__).resolve().parents[2]
P = profiles.load(ROOT / "params" / "embedded.yaml").model_copy(
    update={"runs_dir": str(ROOT / "runs"), "texts": 48}
)
trained = pytest.mark.trained("one_layer", "two_layer", "one_layer_smeared")


@pytest.fixture(scope="module")
def followed():
    """(recipe, seed) -> the run through training."""
    torch.set_num_threads(1)
    texts = trajectories.texts_of("two_layer", P)
    return {
        (name, s): trajectories.follow(name, s, P, texts)
        for name in ("one_layer", "two_layer", "one_layer_smeared")
        for s in P.seeds
    }


def best_head(run, step: float) -> float:
    """Prefix-matching score of the head that matches most at a step."""
    return float(onsets.at(run.steps, run.heads.mean(0), step).max())


def share_formed(run) -> float:
    return float(onsets.share_within(run.steps, run.scores.mean(0), *run.window))


def test_the_default_profile_has_three_seeds():
    assert len(set(P.seeds)) >= 3 and P.training_scale == 1


@trained
@pytest.mark.parametrize("name", ["two_layer", "one_layer_smeared"])
@pytest.mark.parametrize("seed", P.seeds)
def test_heads_form_in_a_window_that_holds_most_of_in_context_learning(name, seed, followed):
    run = followed[name, seed]
    start, end = run.window
    assert best_head(run, start) < 0.2 and best_head(run, end) > 0.6
    assert share_formed(run) > 0.5 and float(run.scores[:, -1].mean()) < -3


@trained
@pytest.mark.parametrize("seed", P.seeds)
def test_one_plain_layer_does_not(seed, followed):
    run = followed["one_layer", seed]
    assert float(run.heads.mean(0).max()) < 0.2 and share_formed(run) < 0.5
    deeper = followed["two_layer", seed]
    assert run.scores[:, -1].mean() > 0.5 * deeper.scores[:, -1].mean()


@trained
@pytest.mark.parametrize("seed", P.seeds)
def test_induction_heads_of_two_layers_sit_in_the_second(seed, followed):
    """A first-layer head has nobody to tell it what stood before a place."""
    last = followed["two_layer", seed].prefix[-1].mean(0)  # [layer, head]
    assert last[1].max() > 0.6 and last[0].max() < 0.2


@trained
@pytest.mark.parametrize("seed", P.seeds)
def test_smeared_keys_bring_the_change_forward(seed, followed):
    onset = {
        name: float(onsets.crossing(c.steps, c.scores.mean(0)))
        for (name, s), c in followed.items()
        if s == seed
    }
    assert onset["one_layer_smeared"] < onset["two_layer"]


def papermill(*options: str, runs: Path) -> subprocess.CompletedProcess[str]:
    """Chapter 2 under the smoke profile."""
    command = [
        sys.executable,
        "-m",
        "papermill",
        "chapters/02_phase_change.ipynb",
        str(runs / "out.ipynb"),
        "-f",
        "params/smoke.yaml",
    ]
    command += ["-p", "runs_dir", str(runs), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def test_a_single_model_is_refused_before_any_training(tmp_path):
    result = papermill("-p", "model", "no/matter", runs=tmp_path)
    assert result.returncode != 0 and "name its `checkpoints` too" in result.stderr
    assert not (tmp_path / "models").exists()
