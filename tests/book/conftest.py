"""The fixture project, built once into a site."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.book import project


@pytest.fixture(scope="module")
def built_project(tmp_path_factory) -> Path:
    """The project after `make book`."""
    folder = project.make(tmp_path_factory.mktemp("site"))
    project.run(folder, "pipeline.build", "tiny")
    return folder


@pytest.fixture(scope="module")
def site(built_project) -> Path:
    """Its site."""
    return built_project / "runs" / "tiny" / "site"
