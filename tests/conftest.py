"""What all tests share: shapes and types checked at every call, one thread, nothing fetched."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the same bits on every machine, and pytest-xdist has the cores
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import beartype  # noqa: F401  before nnsight, which puts .save on every object and so breaks the import
from jaxtyping import install_import_hook

# Before any module of lib is imported. Not organisms: nnsight reads the source of a forward pass,
# and a checked one is wrapped.
MODULES = [
    f"lib.{file.stem}"
    for file in (Path(__file__).resolve().parent.parent / "lib").glob("*.py")
    if file.stem != "organisms"
]
install_import_hook(MODULES, "beartype.beartype")

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers a file's tests stay together, for they share what they make; chapters
    run side by side."""
    for item in items:
        alone = item.get_closest_marker("alone") is not None
        item.add_marker(pytest.mark.xdist_group(item.nodeid if alone else str(item.path)))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that is the same in every test."""
    return np.random.default_rng(0)
