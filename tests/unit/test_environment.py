"""One list of packages: pyproject.toml, constraints.txt and environment.yml agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def declared() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] + [
        r for extra in project["optional-dependencies"].values() for r in extra
    ]
    return {name(r.name): r for r in map(Requirement, listed)}


def pinned() -> dict[str, str]:
    lines = [
        line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()
    ]
    return {name(n): v for n, v in (line.split("==") for line in lines if line)}


def conda() -> tuple[list[str], dict[str, str]]:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    pairs = (line.split("==") for line in pip if not line.startswith("-"))
    return [entry for entry in listed if isinstance(entry, str)], {name(n): v for n, v in pairs}


def test_every_package_is_pinned_within_its_range():
    for package, requirement in declared().items():
        assert package in pinned(), f"{package} has no pin in constraints.txt"
        assert requirement.specifier.contains(pinned()[package]), (
            f"the pin of {package} is outside {requirement.specifier}"
        )


def test_conda_users_get_the_same_packages_and_versions():
    assert conda()[1] == {package: pinned()[package] for package in declared()}


def test_conda_users_get_the_same_python():
    python = next(entry for entry in conda()[0] if entry.startswith("python="))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Requirement(f"python{project['requires-python']}").specifier.contains(
        python.split("=")[1]
    )


def test_pins_hold_on_every_platform():
    assert pinned()["torch"] == "2.13.0"
    assert not [package for package in pinned() if package.startswith(("nvidia-", "triton"))]
