"""Charts show what they are given, in both themes, within the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
import yaml

from lib.report import charts, columns, markup, play, theme


@pytest.fixture
def heads(rng) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"layer": i, "head": j, "score": rng.random(), "null": 0.5}
            for i in range(2)
            for j in range(4)
        ]
    )


@pytest.fixture
def steps(rng) -> pd.DataFrame:
    rows = [
        {"step": s, "loss": rng.random() + 1, "seed": k} for s in (0, 10, 100) for k in range(2)
    ]
    return pd.DataFrame(rows).assign(low=lambda f: f.loss - 0.1, high=lambda f: f.loss + 0.1)


@pytest.fixture
def every(heads, steps) -> dict[str, alt.TopLevelMixin]:
    """One chart of each builder."""
    return {
        "heatmap": charts.heatmap(heads, "score", null="null"),
        "pattern": charts.pattern(
            {"0.0": np.tril(np.ones((4, 4))) / 4, "0.1": np.eye(4)}, list("abab")
        ),
        "scatter": charts.scatter(
            heads, "score", "null", color="layer", diagonal=True, label="head"
        ),
        "curves": charts.curves(
            steps,
            "step",
            "loss",
            series="seed",
            seed="seed",
            low="low",
            high="high",
            scale="symlog",
            rules={"here": 10},
        ),
        "intervals": charts.intervals(
            steps, "loss", "low", "high", "step", color="seed", reference=1.0
        ),
        "small": charts.small_multiples(charts.curves(steps, "step", "loss"), "seed"),
    }


def parsed(markup: str) -> dict:
    return json.loads(
        re.search(r'<script type="application/json">(.*?)</script>', markup, re.S).group(1)
    )


def picture(markup: str) -> str:
    return re.search(r"<svg.*</svg>", markup, re.S).group(0)


def test_every_builder_draws_its_marks_and_fits_the_page(every):
    for name, chart in every.items():
        svg = picture(markup.html(chart, name, "words"))
        assert float(re.search(r'width="([\d.]+)"', svg).group(1)) <= 680, name
        assert svg.count("<path ") > 4, name


def test_colours_of_text_follow_the_theme(every):
    for name, chart in every.items():
        labels = re.findall(
            r'role-axis-label.*?fill="([^"]+)"', picture(markup.html(chart, name, "words")), re.S
        )
        assert labels and set(labels) == {"currentColor"}, name


def test_markup_is_the_same_every_time(heads):
    first, second = (markup.html(charts.heatmap(heads, "score"), "a", "b") for _ in range(2))
    assert first == second


def test_ids_do_not_clash_on_a_page(every):
    pages = [markup.html(chart, name, "words") for name, chart in every.items()]
    ids = [i for page in pages for i in re.findall(r'\bid="([^"]+)"', page)]
    assert len(ids) == len(set(ids)) > len(pages)
    for page in pages:
        assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)


def test_markup_names_no_other_host_and_cannot_be_broken_out_of(heads):
    frame = heads.assign(token="</script><b>")
    page = markup.html(charts.heatmap(frame, "score"), "a", 'says "x" <y>')
    assert 'aria-label="says &quot;x&quot; &lt;y&gt;"' in page and 'role="img"' in page
    assert page.count("</script>") == 1 and parsed(page)["datasets"]
    hosts = set(re.findall(r"https?://[^\"'/ ]+", page))
    assert hosts <= {"http://www.w3.org"}  # SVG's name space


def test_heatmap_frames_exactly_the_cells_above_the_null(heads):
    svg = picture(markup.html(charts.heatmap(heads, "score", null="null"), "a", "b"))
    assert svg.count('fill-opacity="0" stroke="white"') == int((heads.score > heads.null).sum()) > 0


def test_heatmap_of_both_signs_is_centred_at_zero(heads):
    made = markup.spec(charts.heatmap(heads.assign(score=heads.score - 0.8), "score"))
    low, high = made["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert low == -high


def test_pattern_keeps_every_entry_that_can_be_seen(rng):
    matrix = np.tril(rng.random((6, 6)) ** 6)
    matrix[5, 2] = 0.25
    frame = markup.table(charts.pattern({"0.0": matrix, "1.3": matrix / 2}, list("abcabc")))
    assert (frame.name == "0.0").sum() == (
        (matrix >= 0.005) | np.eye(6, dtype=bool)
    ).sum()  # every token has a place
    row = frame[(frame.name == "1.3") & (frame["query"] == "5 c")].set_index("key").attention
    assert row["2 c"] == 0.125
    with pytest.raises(ValueError, match="tokens"):
        charts.pattern({"0.0": matrix}, ["a"])


def test_pattern_shows_one_head_until_another_is_chosen():
    svg = picture(
        markup.html(
            charts.pattern({"a": np.eye(3), "b": np.tril(np.ones((3, 3))) / 3}, list("xyz")),
            "n",
            "d",
        )
    )
    assert svg.split("mark-rect role-mark")[1].split("</g>")[0].count("<path") == 3


def test_a_log_axis_refuses_step_zero(steps):
    with pytest.raises(ValueError, match="symlog"):
        charts.curves(steps, "step", "loss", scale="log")


def test_too_large_a_figure_is_refused_by_name():
    frame = pd.DataFrame({"x": np.arange(120_000.0), "y": np.arange(120_000.0)})
    with pytest.raises(ValueError, match="'big'"):
        markup.html(charts.scatter(frame, "x", "y"), "big", "words")


def test_what_is_not_a_number_becomes_null(heads):
    heads.loc[0, "score"] = np.nan
    rows = next(
        iter(
            parsed(markup.html(charts.scatter(heads, "score", "null"), "a", "b"))[
                "datasets"
            ].values()
        )
    )
    assert rows[0]["score"] is None


def test_palette_stands_out_on_both_grounds():
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    for colour in {*theme.PALETTE, *theme.MORE, *theme.OWN.values()}:
        for ground in ("#ffffff", "#121212"):
            high, low = sorted((luminance(colour), luminance(ground)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 3, (colour, ground)


def test_a_series_has_its_own_colour_wherever_it_is_told_and_others_take_what_is_left(steps):
    told = ["constant rate", "2 layers", "1 layer"]
    scale = theme.colors(told).to_dict()
    assert scale["domain"] == told
    assert scale["range"][1:] == [theme.OWN["2 layers"], theme.OWN["1 layer"]]
    assert len(set(scale["range"])) == 3
    drawn = charts.curves(steps.assign(model="2 layers"), "step", "loss", series="model").to_dict()
    color = drawn["layer"][0]["encoding"]["color"]
    assert color["scale"]["range"] == [theme.ORANGE]


def test_an_axis_of_heads_leaves_out_none_and_names_keep_their_order(heads):
    some = heads[heads["head"] != 2].assign(relation="subj")
    map_ = charts.heatmap(some, "score", y="relation").to_dict()
    encoding = map_["layer"][0]["encoding"]
    assert encoding["x"]["scale"]["domain"] == [0, 1, 2, 3]
    some = pd.concat([some, some.assign(relation="mod")])
    encoding = charts.heatmap(some, "score", y="relation").to_dict()["layer"][0]["encoding"]
    assert encoding["y"]["sort"] == ["subj", "mod"]


def test_numbers_leave_cells_that_are_too_narrow(heads):
    kinds = pd.concat([heads.assign(kind=kind) for kind in "abcdef"])
    panel = charts.heatmap(kinds, "score", numbers=True)
    marks = [
        layer["mark"]["type"]
        for layer in charts.small_multiples(panel, "kind", columns=6).to_dict()["spec"]["layer"]
    ]
    assert "text" not in marks
    wide = charts.small_multiples(panel, "kind", columns=1).to_dict()["spec"]["layer"]
    assert "text" in [layer["mark"]["type"] for layer in wide]


def test_the_bundle_keeps_its_names_to_itself():
    text = markup.bundle()
    assert (
        text.startswith("(function () {")
        and text.rstrip().endswith("})();")
        and "window.vegaEmbed=" in text
    )


def test_a_rule_stands_in_every_panel_of_a_curve_and_nan_in_none():
    frame = pd.DataFrame({"x": [0, 1] * 2, "y": [1.0, 2, 3, 4], "kind": list("aabb")})
    chart = charts.curves(frame, "x", "y", rules={"here": 0.5, "nowhere": float("nan")})
    picture = markup.html(charts.small_multiples(chart, "kind", columns=2), "panels", "")
    assert picture.count(">here</text>") == 2 and "nowhere" not in picture


def test_a_menu_shows_its_first_value_without_a_script():
    frame = pd.DataFrame({"x": [0, 1] * 2, "y": [1.0, 2, 30, 40], "kind": list("aabb")})
    chart = play.with_menus(charts.curves(frame, "x", "y"), ["kind"])
    made = markup.spec(chart)
    [menu] = made["params"]
    assert menu["value"] == "a" and menu["bind"]["options"] == ["a", "b"]
    picture = markup.html(chart, "menu", "").split("<script")[0]
    assert ">2.0</text>" in picture and ">40</text>" not in picture  # the axis of what is shown


def test_axes_and_tips_say_what_a_column_is_called_and_its_unit(steps):
    made = charts.curves(steps.rename(columns={"low": "p_both"}), "step", "loss").to_dict()
    line, target = made["layer"]
    assert line["encoding"]["y"]["title"] == "loss (nats)"
    tips = {tip["field"]: tip["title"] for tip in target["encoding"]["tooltip"]}
    assert tips["loss"] == "loss (nats)" and tips["p_both"] == "p, both tests"


def test_every_entry_of_the_dictionary_says_what_a_column_means_and_nothing_else():
    for name, entry in columns.load().items():
        assert {"means"} <= set(entry) <= {"means", "unit", "title", "format"}, name
        assert all(isinstance(text, str) for text in entry.values()), name


def test_no_entry_of_the_book_s_own_files_hides_another():
    """YAML keeps the last of two entries of one name, and says nothing."""
    files = list(columns.PATH.parent.rglob("*.yml"))
    assert len(files) > 20
    for path in files:
        assert not list(twice(yaml.compose(path.read_text()))), path.name


def twice(node: yaml.Node) -> Iterator[str]:
    """Keys that stand twice in one mapping."""
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value]
        yield from (name for name in {*names} if names.count(name) > 1 and name != "<<")
        for _, value in node.value:
            yield from twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for one in node.value:
            yield from twice(one)


def test_no_name_of_a_row_is_cut():
    names = ["as many other heads of the same layer, drawn anew", "0.3 positional copier"]
    rows = pd.DataFrame({"who": names, "loss": [1.0, 2.0], "low": [0.5, 1], "high": [2, 3.0]})
    svg = picture(markup.html(charts.intervals(rows, "loss", "low", "high", "who"), "a", "b"))
    said = " ".join(re.findall(r"<tspan[^>]*>([^<]*)", svg) or re.findall(r">([^<]+)</text>", svg))
    assert "…" not in svg and all(word in said for word in names[0].split())


def test_a_mark_on_the_largest_value_lies_within_the_picture(steps):
    ends, _ = charts.intervals(steps, "loss", "low", "high", "step").to_dict()["layer"]
    assert ends["encoding"]["x"]["scale"]["padding"] > 0
    rows = charts.intervals(steps.assign(kind=steps.seed), "loss", "low", "high", "seed")
    many = charts.intervals(
        steps.assign(kind=steps.seed), "loss", "low", "high", "seed", color="kind"
    )
    assert many.to_dict()["height"] == rows.to_dict()["height"]  # a colour a row needs no more


def test_panels_with_named_rows_have_no_title_beside_them(heads):
    named = heads.assign(layer=heads.layer.map("layer {}".format))
    parts = pd.concat([named.assign(kind=kind) for kind in "ab"])
    made = charts.small_multiples(charts.heatmap(parts, "score", y="layer"), "kind").to_dict()
    titles = [layer["encoding"]["y"]["title"] for layer in made["spec"]["layer"]]
    assert made["columns"] == 2 and titles == [None] * len(titles)


def test_two_legends_stand_below_each_other(heads):
    chart = charts.scatter(heads.assign(kind="a"), "score", "null", color="layer", shape="kind")
    svg = picture(markup.html(chart, "a", "b"))
    places = re.findall(r'role-legend"[^>]*><g transform="translate\((\S+),(\S+)\)', svg)
    assert len(places) == 2 and places[0][0] == places[1][0] and places[0][1] != places[1][1]


def test_no_two_series_of_a_figure_share_a_colour():
    told = ["loss reduction", "format compliance", "pattern discovery", "loss"]
    for names in (told, [f"head {number}" for number in range(8)]):
        assert len(set(theme.colors(names).to_dict()["range"])) == len(names)


def test_charts_of_two_quantities_stand_together_without_a_warning(steps, recwarn):
    kind = {"series": "seed", "seed": "seed"}
    both = charts.curves(steps, "step", "loss", **kind) & charts.curves(
        steps, "step", "low", **kind
    )
    names = {param["name"] for param in markup.spec(both)["params"]}
    assert names == {"isolated_loss", "isolated_low"} and not recwarn.list


def test_panels_may_hold_layers_of_layers(steps):
    line = alt.Chart(steps).mark_rule().encode(x=alt.datum(10))
    both = alt.layer(line, charts.curves(steps, "step", "loss"), data=steps)
    made = charts.small_multiples(both, "seed").to_dict()
    assert made["spec"]["layer"][1]["layer"][0]["encoding"]["x"]["axis"]["tickCount"] > 1


def test_a_picture_keeps_what_is_seen_of_it_and_nothing_else(steps):
    chart = charts.scatter(steps, "step", "loss")
    drawn = vl_convert.vegalite_to_svg(markup.spec(chart))
    kept = picture(markup.html(chart, "a", "b"))
    assert 'role="graphics-symbol"' in drawn and len(kept) < 0.85 * len(drawn)
    assert not re.findall(r' (?:role|aria-label)="', kept) and kept.count("aria-hidden") == 1
    places = " ".join(re.findall(r' (?:d|transform)="([^"]*)"', kept))
    assert re.search(r"\.\d", places) and not re.search(r"\.\d\d", places)
    assert re.findall(r"<(\w+)", kept) == re.findall(r"<(\w+)", drawn)
    assert re.findall(r"opacity=\"0[^\"]*", kept) == re.findall(r"opacity=\"0[^\"]*", drawn)


def labels(chart: alt.TopLevelMixin, axis: str) -> list[str]:
    """The numbers or names beside an axis that are shown."""
    svg = vl_convert.vegalite_to_svg(markup.spec(chart))
    part = svg.split(f'aria-label="{axis}-axis', 1)[1].split("role-axis-title")[0]
    shown = re.findall(r"<text([^>]*)>([^<]+)</text>", part)
    return [text for given, text in shown if 'opacity="0"' not in given]


@pytest.mark.parametrize(("least", "below"), [(2500.0, False), (0.0, False), (-900.0, True)])
def test_an_axis_of_what_is_never_negative_shows_no_negative_number(least, below):
    rows = pd.DataFrame({"kind": ["a", "b"], "size": [least, 136_000.0]})
    chart = charts.intervals(rows, "size", "size", "size", "kind")
    numbers = labels(chart, "X")
    assert ("−" in "".join(numbers)) == below and "0" in numbers


@pytest.mark.parametrize("kind", ["log", "symlog"])
def test_a_logarithmic_axis_names_both_ends_where_there_is_little_room(kind):
    steps = [50, 90, 200, 500, 1500, 4000]
    rows = pd.DataFrame({"step": steps + [0] * (kind == "symlog")}).assign(loss=1.0)
    every = pd.concat([rows.assign(task=task) for task in "abc"])
    lines = charts.curves(every, "step", "loss", scale=kind)
    for chart in (lines, charts.small_multiples(lines, "task", columns=3)):
        numbers = labels(chart, "X")
        assert len(numbers) == 5 or (chart is not lines and len(numbers) == 3), numbers
        assert (numbers[0], numbers[-1]) == ("50" if kind == "log" else "0", "4,000"), numbers


def test_a_scale_with_a_zero_spends_nothing_on_what_lies_below_its_least_value():
    rows = pd.DataFrame({"step": [0, 100, 4000], "loss": 1.0})
    scale = charts.curves(rows, "step", "loss", scale="symlog").to_dict()["layer"][0]
    assert scale["encoding"]["x"]["scale"]["constant"] == 100


def test_titles_beside_panels_are_no_longer_than_their_sides(steps):
    told = steps.rename(columns={"loss": "a quantity with quite a long name to say"})
    chart = charts.curves(told, "step", told.columns[1])
    made = charts.small_multiples(chart, "seed", height=100).to_dict()["spec"]["layer"]
    parts = [layer["encoding"]["y"]["title"] for layer in made if "title" in layer["encoding"]["y"]]
    assert parts and all(max(map(len, lines)) * 6 <= 100 for lines in parts)
