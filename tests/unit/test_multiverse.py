"""A specification curve has a place for every universe, and menus that leave none of them out."""

from __future__ import annotations

import re
from itertools import product

import pandas as pd
import pytest

from lib.report import markup, multiverse

CHOICES = ["gate", "null"]


@pytest.fixture
def universes() -> pd.DataFrame:
    rows = product(("forward", "embedding"), ("any token", "same class", "10th token"))
    frame = pd.DataFrame(rows, columns=CHOICES)
    return frame.assign(
        relations=[3.0, 1, 1, 0, 7, 1], universe=["the paper's own", *["another"] * 5]
    )


def test_universes_are_sorted_by_what_comes_out_and_equal_ones_by_their_choices(universes):
    rows = multiverse.sorted_by(universes, "relations", CHOICES)
    assert rows.relations.tolist() == [0, 1, 1, 1, 3, 7] and rows.order.tolist() == [*range(6)]
    equal = rows[rows.relations == 1][CHOICES].to_numpy().tolist()
    assert equal == [
        ["forward", "same class"],
        ["forward", "10th token"],
        ["embedding", "10th token"],
    ]


def test_each_choice_has_a_menu_of_its_values_that_opens_at_all(universes):
    made = multiverse.specification_curve(universes, "relations", CHOICES, "universe").to_dict()
    bound = {p["bind"]["name"].strip(): p for p in made["params"] if "bind" in p}
    assert list(bound) == CHOICES and all(p["value"] == "all" for p in bound.values())
    assert bound["null"]["bind"]["options"] == ["all", "any token", "same class", "10th token"]
    for part in made["vconcat"]:  # the curve and the matrix show the same universes
        text = str(part)
        assert all(f"{p['name']} === 'all'" in text for p in bound.values())


def test_the_picture_shows_every_choice_of_every_universe_and_the_median(universes):
    chart = multiverse.specification_curve(
        universes, "relations", CHOICES, "universe", levels={"most relations": 4}
    )
    svg = markup.html(chart, "a", "b").split("<script")[0]
    matrix = svg.split("mark-rect role-mark concat_1")[1].split("</g>")[0]
    assert matrix.count("<path") == len(universes) * len(CHOICES)
    assert "median 1\u2003" in svg and "most relations<" in svg
    assert all(f">{name}<" in svg for name in ("gate", "forward", "10th token"))


def test_names_of_lines_lie_above_all_dots_and_the_rare_kind_lies_on_top(universes):
    near = universes.assign(relations=[3.0, 4, 4, 0, 7, 3])  # the median, 3.5, is next to a level
    chart = multiverse.specification_curve(
        near, "relations", CHOICES, "universe", levels={"most relations": 4}
    )
    svg = markup.html(chart, "a", "b").split("<script")[0]
    place = re.search(
        r'translate\([\d.]+,(-?[\d.]+)\)"[^>]*>— median 3.5\u2003- - most relations<', svg
    )
    assert float(place[1]) < 0
    dots = svg.split("mark-symbol role-mark")[1].split("</g>")[0]
    colors = re.findall(r'<path[^>]*fill="([^"]+)"', dots)
    assert len(colors) == len(near) and colors.count(colors[-1]) == 1


def test_universes_that_make_the_same_choices_are_refused(universes):
    with pytest.raises(ValueError, match="repeat the choices"):
        multiverse.specification_curve(universes, "relations", ["gate"], "universe")
