"""What all tests share: shapes and types checked at every call, one thread, nothing fetched."""

from __future__ import annotations

import os
from pathlib import Path

# The same bits on every machine, and pytest-xdist has the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Before nnsight, which puts .save on every object and so breaks the import.
import beartype  # noqa: F401
from jaxtyping import install_import_hook

# Before any module of lib is imported. Not organisms: nnsight reads the source of a forward pass,
# and a checked one is wrapped.
ROOT = Path(__file__).resolve().parent.parent
FILES = [file.relative_to(ROOT).with_suffix("") for file in (ROOT / "lib").rglob("*.py")]
MODULES = {".".join(file.parts) for file in FILES if file.name != "__init__"}
install_import_hook(sorted(MODULES - {"lib.models.organisms"}), "beartype.beartype")

import numpy as np
import pytest


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers a file's tests stay together, for they share what they make; chapters
    run side by side."""
    for item in items:
        alone = item.get_closest_marker("alone") is not None
        item.add_marker(pytest.mark.xdist_group(item.nodeid if alone else str(item.path)))


@pytest.hookimpl(tryfirst=True)  # before fixtures, which would train what is missing
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What a finished book must show is asked of its models, and of no others: without them a test
    skips, and names the first that is missing."""
    from lib import profiles
    from lib.models import store

    marker = item.get_closest_marker("trained")
    if marker is None:
        return
    profile = profiles.load(ROOT / "params" / "embedded.yaml")
    for name in marker.args:
        for place in store.places(store.recipe_of(name, profile), profile.seeds, profile):
            if not (place / store.DONE).exists():
                pytest.skip(f"no trained {place.name}: make book trains it")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that is the same in every test."""
    return np.random.default_rng(0)
