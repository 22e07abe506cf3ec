"""The fixture project, built once into a site, and a browser that looks at it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.book import browsing, project


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


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """The site on a port of this machine."""
    with browsing.serving(site) as place:
        yield place


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    """A browser with nothing in it."""
    browser = browsing.start(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.quit()


@pytest.fixture
def browser(chromium, address) -> Iterator[webdriver.Chrome]:
    """The browser; whatever a test did, no request went elsewhere and the console holds no
    error."""
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    yield chromium
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    requests = {
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    }
    own = {url for url in requests if url.startswith(address)}
    assert own and not [
        u for u in requests - own if not u.startswith(("data:", "blob:", "chrome:", "file:"))
    ]
    assert not [e["message"] for e in chromium.get_log("browser") if e["level"] == "SEVERE"]
