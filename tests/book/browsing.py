"""A browser as a reader has it: pages at a width and in a theme, charts that live, and a checker
of accessibility."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
MODES = [(1400, "light"), (400, "dark")]  # of the checker: both themes, both widths


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


def visit(
    browser: webdriver.Chrome, url: str, width: int = 1400, theme: str = "light", height: int = 4000
) -> None:
    """Open a page at a width and theme; the window is high, so every chart is in view."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(url)
    if browser.execute_script("return document.documentElement.dataset.theme") != theme:
        browser.execute_script(
            "localStorage.setItem('mode', arguments[0]); localStorage.setItem('theme', "
            "arguments[0])",
            theme,
        )
        browser.get(url)


def until(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return value


def alive(browser: webdriver.Chrome) -> list:
    """The page's charts, once the shared script has drawn all of them."""
    until(
        lambda: (
            len(browser.find_elements(By.CSS_SELECTOR, ".bk-chart"))
            == len(browser.find_elements(By.CSS_SELECTOR, ".bk-live"))
            > 0
        )
    )
    return browser.find_elements(By.CSS_SELECTOR, ".bk-live")


PLAIN = """
document.querySelectorAll('.bk-canvas svg').forEach(svg => svg.replaceChildren());
document.querySelectorAll('.highlight pre').forEach((code, place) => {
  if (place > 4) { code.textContent = code.textContent; } });
"""


@contextmanager
def serving(site: Path, kind: type[http.server.SimpleHTTPRequestHandler] = Quiet) -> Iterator[str]:
    """The site on a port of this machine."""
    handler = functools.partial(kind, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def start(folder: Path) -> webdriver.Chrome:
    """A browser with nothing in it; where there is none, the test skips."""
    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    driver = shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no Chromium with chromedriver on this machine: the browser tests did not run")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS, f"--user-data-dir={folder}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


def accessible(
    browser: webdriver.Chrome, rules: dict[str, bool], only: list[str] | None = None
) -> dict[str, list[str]]:
    """What the checker finds on the page as it stands, by rule, with the first places. `rules`
    switches some on or off; `only` leaves all others out. First, pictures are emptied, for each
    has one name, and of code only the first cells keep their colours, which repeat: or the checker
    would take a minute over a page."""
    from axe_core_python.selenium import Axe

    switched = {name: {"enabled": int(on)} for name, on in rules.items()}
    options = {"resultTypes": ["violations"], "rules": switched}
    options |= {"runOnly": only} if only else {}
    browser.set_script_timeout(120)
    browser.execute_script(PLAIN)
    found = Axe().run(browser, options=options)["violations"]
    return {v["id"]: [node["html"][:200] for node in v["nodes"]][:3] for v in found}
