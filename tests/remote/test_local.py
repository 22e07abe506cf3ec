"""Runs `in_process.py` without the type checks: nnsight imports the book's modules anew there,
which a checked import does not survive."""

import subprocess
import sys
from pathlib import Path


def test_as_good_as_remote():
    checks = Path(__file__).with_name("in_process.py")
    root = checks.parents[2]
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", str(checks)]
    run = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=280, check=False
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    assert "15 passed" in run.stdout
