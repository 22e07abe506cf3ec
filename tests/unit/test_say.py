"""Numbers as people say them."""

import math

from lib.report import say

NAN = math.nan


def test_shares_are_said_in_per_cent():
    given = [0.0116, 0.094, 0.0995, 0.5, 1.44, -0.058, -0.0003, 0.0, NAN]
    said = [say.percent(share).replace(say.SPACE, " ") for share in given]
    assert said == ["1.2 %", "9.4 %", "10 %", "50 %", "144 %", "−5.8 %", "0 %", "0 %", "–"]
    assert say.percents({"a": 0.5}) == {"a": say.percent(0.5)}


def test_numbers_have_a_true_minus_sign_and_no_negative_zero():
    assert [say.number(x) for x in (-1.694, -0.001, 2.0, NAN)] == ["−1.69", "0.00", "2.00", "–"]
    assert say.number(-1234.4, 0) == "−1,234"


def test_names_in_a_row():
    assert [say.listed(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "none",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_changes_have_a_direction():
    assert [say.moved(x) for x in (-0.5, 0.25, NAN)] == ["falls by 0.50", "rises by 0.25", "–"]


def test_a_lead_is_said_as_before_or_after():
    assert say.ahead(-1.494, -0.9) == "0.90 to 1.49 doublings after"
    assert say.ahead(0.64, 1.1) == "0.64 to 1.10 doublings before"
    assert say.ahead(-0.09, 0.24) == "from 0.09 doublings after to 0.24 doublings before"
    assert say.ahead(NAN, 1.0) == "–"
