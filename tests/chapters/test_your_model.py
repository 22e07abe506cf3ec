"""The cells about a reader's own model, with a model that opens: a tiny GPT-2 from disk, in half
precision."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
N_HEADS = tiny.LAYERS * tiny.HEADS
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> list[Path]:
    """Three models, as good as three moments of one training."""
    return [
        tiny.save_gpt2(tmp_path_factory.mktemp("series") / f"step{seed}", seed) for seed in range(3)
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """One folder for all chapters, which share the book's own models."""
    return tmp_path_factory.mktemp("runs")


def your_results(chapter: str, series: list[Path], runs: Path) -> Path:
    """The chapter's results under the smoke profile, with a model and its checkpoints."""
    output = runs / f"{chapter}.ipynb"
    command = [
        sys.executable,
        "-m",
        "papermill",
        f"chapters/{chapter}.ipynb",
        str(output),
        "-f",
        "params/smoke.yaml",
        "-p",
        "runs_dir",
        str(runs),
    ]
    command += [
        "-p",
        "model",
        str(series[-1]),
        "-p",
        "dtype",
        "bfloat16",
        "-y",
        f"checkpoints: {[str(place) for place in series]}",
    ]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert all(
        c.execution_count
        for c in nbformat.read(output, 4).cells
        if c.cell_type == "code" and c.source.strip()
    )
    return runs / "smoke" / "results" / chapter


def numbers(file: Path) -> pd.DataFrame:
    """The numeric columns of a CSV, none of them empty."""
    frame = pd.read_csv(file).select_dtypes("number")
    assert len(frame) and np.isfinite(frame).all(axis=None)
    return frame


def test_its_heads_are_scored(series, runs):
    results = your_results("01_induction_heads", series, runs)
    assert (
        len(numbers(results / "your-model.csv")) == N_HEADS
        and len(numbers(results / "your-model-top.csv")) == 10
    )


def test_its_checkpoints_are_followed(series, runs):
    results = your_results("02_phase_change", series, runs)
    course = numbers(results / "your-series.csv")
    assert course.step.tolist() == 3 * [1, 2, 3] and course.value.nunique() == 9


def test_its_heads_are_removed(series, runs):
    results = your_results("04_ablation", series, runs)
    assert (
        set(pd.read_csv(results / "your-model.csv").patterns) == {"free", "held"}
        and len(numbers(results / "your-model.csv")) >= 4
    )
    assert pd.read_csv(results / "your-model-vector.csv").removed.tolist()[-1] == "all"


def test_it_is_shown_lists_and_translations(series, runs):
    results = your_results("05_generality", series, runs)
    scored = numbers(results / "your-model.csv")
    assert (
        len(scored) == N_HEADS
        and scored["excess"].between(-1, 1).all()
        and scored["excess"].nunique() > 1
        and scored["translation"].nunique() > 1
    )
