"""Every branch of the verdict, on both sides, beside its nulls, and the files of claims."""

import math

import pytest

from lib.measures.statistics import Estimate, Rate
from lib.report import claims
from lib.report.claims import NOT, PARTLY, REPRODUCED, UNDECIDED, UNTESTABLE, Claim, Rule


def rule(**changes) -> Rule:
    return Rule(
        **{
            "measure": "the measure",
            "side": "above",
            "tolerance": 0.5,
            "no_effect": 0.0,
            "reason": "for the test",
            "no_null": "" if changes.get("nulls") else "a test",
            **changes,
        }
    )


def claim(**parts: Rule) -> Claim:
    return Claim(
        id="O1",
        paper="olsson2022",
        statement="s",
        reported="r",
        chapter="c",
        parts=parts or {"a": rule()},
    )


def estimates(*intervals: tuple[float, float], part: str = "a") -> list[Estimate]:
    return [
        Estimate(part, seed, (low + high) / 2, low, high, 10)
        for seed, (low, high) in enumerate(intervals)
    ]


def verdict(given: list[Estimate], **changes) -> str:
    return claims.judge(claim(a=rule(**changes)), given)["verdict"]


CASES = [
    ([(0.6, 0.8), (0.7, 0.9), (0.55, 0.7)], REPRODUCED),  # every interval beyond the tolerance
    ([(0.6, 0.8), (0.7, 0.9), (0.4, 0.7)], PARTLY),  # one crosses it
    ([(0.6, 0.8), (0.7, 0.9), (0.1, 0.3)], PARTLY),  # one seed lies on the other side
    (
        [(0.1, 0.3), (0.2, 0.4), (0.1, 0.2)],
        NOT,
    ),  # every interval on the other side, direction or not
    (
        [(-0.9, 0.6), (-0.9, 0.6), (-0.9, 0.6)],
        NOT,
    ),  # crosses, but the mean points against the claim
    ([(0.0, 0.6), (0.1, 0.6), (0.2, 0.7)], PARTLY),  # crosses, in the claimed direction
    (
        [(0.5, 0.8), (0.7, 0.9), (0.6, 0.7)],
        PARTLY,
    ),  # an end that lies on the tolerance is not beyond it
]


@pytest.mark.parametrize(("intervals", "expected"), CASES)
def test_a_verdict_follows_from_the_intervals(intervals, expected):
    assert verdict(estimates(*intervals)) == expected


@pytest.mark.parametrize(("intervals", "expected"), CASES)
def test_the_other_side_is_the_mirror_image(intervals, expected):
    mirrored = estimates(*((-high, -low) for low, high in intervals))
    assert verdict(mirrored, side="below", tolerance=-0.5) == expected


def test_too_few_seeds_are_at_most_partly():
    assert verdict(estimates((0.6, 0.8), (0.7, 0.9))) == PARTLY
    assert verdict(estimates((0.1, 0.2), (0.1, 0.2))) == NOT  # a failure needs no third seed
    same = [Estimate("a", 0, 0.7, 0.6, 0.8, 10) for _ in range(3)]
    assert verdict(same) == PARTLY  # the same seed three times is one seed
    assert claims.judge(claim(), estimates((0.6, 0.8)), seeds_needed=1)["verdict"] == REPRODUCED


def test_one_of_a_unit_is_one():
    said = [rule(tolerance=x, side="below", unit="doublings").asks() for x in (1.0, 0.5)]
    assert "below 1 doubling in" in said[0] and "below 0.5 doublings in" in said[1]


def test_the_share_of_seeds_that_the_rule_names():
    given = estimates((0.6, 0.8), (0.7, 0.9), (0.1, 0.3))
    assert verdict(given, share=2 / 3) == REPRODUCED and verdict(given, share=0.7) == PARTLY


def test_without_a_point_of_no_effect_the_tolerance_is_the_boundary():
    given = estimates((0.3, 0.6), (0.3, 0.6), (0.3, 0.6))
    assert verdict(given, no_effect=None) == NOT and verdict(given, no_effect=0.0) == PARTLY


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_a_number_answers_nothing(bad):
    given = [*estimates((0.6, 0.8), (0.7, 0.9), (0.6, 0.7)), Estimate("a", 3, bad, bad, bad, 10)]
    assert verdict(given) == UNTESTABLE
    assert verdict([Estimate("a", 0, bad, bad, bad, 10)]) == UNTESTABLE
    assert claims.judge(claim(), [Estimate("a", 0, bad, bad, bad, 10)])["measured"] is None


HOLDS = ((0.6, 0.8), (0.7, 0.9), (0.6, 0.7))
WAVERS = ((0.4, 0.8), (0.7, 0.9), (0.6, 0.7))
FAILS = ((0.1, 0.2), (0.1, 0.2), (0.1, 0.2))


GIVEN = {REPRODUCED: HOLDS, PARTLY: WAVERS, NOT: FAILS, UNTESTABLE: ((math.nan, math.nan),)}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((REPRODUCED, REPRODUCED), REPRODUCED),
        ((REPRODUCED, NOT), PARTLY),
        ((REPRODUCED, UNTESTABLE), PARTLY),  # not all of the claim was seen
        ((PARTLY, REPRODUCED), PARTLY),
        ((PARTLY, NOT), PARTLY),
        ((NOT, REPRODUCED), NOT),  # without its core a claim is not partly
        ((NOT, NOT), NOT),
        ((UNTESTABLE, REPRODUCED), UNTESTABLE),
        ((UNTESTABLE, NOT), UNTESTABLE),
    ],
)
def test_a_claim_stands_and_falls_with_its_core(parts, expected):
    """The first part is the core where none is named."""
    pairs = zip("ab", parts, strict=True)
    given = [e for name, part in pairs for e in estimates(*GIVEN[part], part=name)]
    found = claims.judge(claim(a=rule(), b=rule()), given)
    assert tuple(p["verdict"] for p in found["parts"].values()) == parts
    assert found["verdict"] == expected
    assert found["held"] == [parts.count(REPRODUCED), 2]
    assert (found["measured"] is None) == (expected == UNTESTABLE)


def test_a_core_of_several_parts_needs_one_of_them():
    two = claim(a=rule(), b=rule(), c=rule()).model_copy(update={"core": ("b", "c")})
    given = estimates(*HOLDS, part="a") + estimates(*FAILS, part="b")
    assert claims.judge(two, given + estimates(*HOLDS, part="c"))["verdict"] == PARTLY
    assert claims.judge(two, given + estimates(*FAILS, part="c"))["verdict"] == NOT


@pytest.mark.parametrize(
    ("subject", "null", "expected"),
    [
        (HOLDS, (0.1, 0.3), REPRODUCED),
        (HOLDS, (0.4, 0.6), REPRODUCED),  # the null holds partly, the claim wholly
        (HOLDS, (0.6, 0.8), UNDECIDED),
        (WAVERS, (0.4, 0.7), UNDECIDED),  # no more than the null says
        (WAVERS, (0.1, 0.3), PARTLY),
        (FAILS, (0.6, 0.8), NOT),
        (HOLDS, (math.nan, math.nan), REPRODUCED),  # nothing to measure there is nothing found
    ],
)
def test_a_part_that_its_null_passes_too_is_undecided(subject, null, expected):
    there = [e.on("untrained") for e in estimates(null)]
    found = claims.judge(claim(a=rule(nulls=("untrained",))), estimates(*subject) + there)
    assert found["verdict"] == expected
    assert found["null"].startswith("on untrained: ")


def test_a_single_seed_is_enough_for_a_null_to_pass_and_every_null_counts():
    of = rule(nulls=("untrained", "shuffled"))
    good, bad = estimates((0.1, 0.2))[0], estimates((0.6, 0.7))[0]
    given = [*estimates(*HOLDS), good.on("untrained"), bad.on("shuffled")]
    assert claims.judge(claim(a=of), given)["verdict"] == UNDECIDED


@pytest.mark.parametrize(
    ("passed", "of", "expected"),
    [(5, 100, REPRODUCED), (6, 100, UNDECIDED), (2, 20, UNDECIDED), (3, 3, REPRODUCED)],
)
def test_a_rule_with_many_false_alarms_decides_nothing(passed, of, expected):
    """At most one in twenty; three trials cannot tell, and what was planted should be found."""
    rates = [Rate("a", "false alarms on shuffled labels", passed, of)]
    rates += [Rate("a", "found where planted", 100, 100)]
    found = claims.judge(claim(), estimates(*HOLDS), rates=rates)
    assert found["verdict"] == expected and len(found["parts"]["a"]["rates"]) == 2


def test_a_changed_rule_tells_what_the_old_one_says_now():
    change = {"date": "2026-01-31", "was": {"tolerance": 0.75}, "why": "seen too late"}
    other = {"date": "2026-02-01", "was": {"measure": "another measure"}, "why": "seen again"}
    of = claim(a=rule(changed=[change, other]))
    found = claims.judge(of, estimates(*HOLDS))
    assert found["verdict"] == REPRODUCED
    assert [c["verdict"] for c in found["parts"]["a"]["changed"]] == [PARTLY, None]
    again = claims.judge(of, estimates(*HOLDS), former=estimates(*FAILS))
    assert [c["verdict"] for c in again["parts"]["a"]["changed"]] == [PARTLY, NOT]
    assert "another measure" in again["parts"]["a"]["changed"][1]["rule"]


def test_a_rule_that_had_other_nulls_names_them():
    change = {"date": "2026-01-31", "was": {"nulls": ["untrained"]}, "why": "too easy a null"}
    of = claim(a=rule(nulls=("other heads",), changed=[change]))
    found = claims.judge(of, estimates(*HOLDS) + [e.on("other heads") for e in estimates(*FAILS)])
    assert found["parts"]["a"]["changed"][0]["rule"].endswith("; tried on untrained")


@pytest.mark.parametrize("changes", [{"nulls": ("a",), "no_null": "b"}, {"no_null": ""}])
def test_a_rule_names_its_nulls_or_says_why_there_are_none(changes):
    with pytest.raises(ValueError, match="no_null"):
        rule(**changes)


@pytest.mark.parametrize("parts", [["a", "c"], ["a"], []])
def test_parts_must_be_those_of_the_claim(parts):
    given = [e for part in parts for e in estimates((0.6, 0.8), part=part)]
    with pytest.raises(ValueError, match="Claim O1: estimates are missing"):
        claims.judge(claim(a=rule(), b=rule()), given)


def test_each_null_that_is_named_must_be_measured():
    with pytest.raises(ValueError, match="a on untrained"):
        claims.judge(claim(a=rule(nulls=("untrained",))), estimates(*HOLDS))
    with pytest.raises(ValueError, match="a on elsewhere"):
        claims.judge(claim(), [*estimates(*HOLDS), estimates((0.0, 1.0))[0].on("elsewhere")])


def test_trials_of_several_parts_are_counted_by_part():
    rules = {"a": rule(), "b": rule(side="below")}
    high, low = (0.6, 0.8), (0.1, 0.2)
    trials = [estimates(high) + estimates(high, part="b") for _ in range(3)]
    trials += [estimates(high) + estimates(low, part="b")]
    assert claims.rates(rules, "found where planted", trials, seeds_needed=1) == [
        Rate("a", "found where planted", 4, 4),
        Rate("b", "found where planted", 1, 4),
    ]
    assert [r.passed for r in claims.rates(rules, "found where planted", trials)] == [0, 0]


def test_the_record_holds_what_the_pages_show():
    found = claims.judge(claim(), estimates((0.6, 0.8), (0.7, 0.9), (0.5, 0.7)))
    assert found["measured"] == pytest.approx((0.7 + 0.8 + 0.6) / 3)
    assert found["interval"] == [0.5, 0.9] and found["n"] == 30 and found["seeds"] == [0, 1, 2]
    assert (
        found["rule"]
        == "the measure: the 95 % interval lies above 0.5 in every seed (for the test)"
    )
    assert set(found) >= {
        "id",
        "paper",
        "statement",
        "reported",
        "measured",
        "interval",
        "n",
        "seeds",
        "rule",
        "verdict",
    }


def test_not_testable_says_why():
    found = claims.not_testable(claim(), "the context is too short")
    assert (
        found["verdict"] == UNTESTABLE
        and found["why"] == "the context is too short"
        and found["measured"] is None
    )


# --- book/claims/ ---


def test_the_books_claims_load_and_every_rule_gives_its_reason():
    found = claims.load()
    assert {"O3-final", "O13", "O16"} <= set(found)
    for name, row in found.items():
        assert name == row.id
        for title, part in row.parts.items():
            assert len(part.reason.split()) >= 3 and part.reason in row.rule()
            # It lies on the failing side of the tolerance, but where the interval is the spread of
            # a null, and a number that passes is larger than its tolerance by this spread.
            of_spread = title in ("relation", "shared", "both-ways") or name == "R11-kept"
            if part.no_effect is not None and not of_spread:
                assert (
                    (part.no_effect <= part.tolerance)
                    if part.side == "above"
                    else (part.no_effect >= part.tolerance)
                )


ROW = """
- id: {id}
  paper: olsson2022
  statement: s
  reported: r
  chapter: c
  parts:
    a: {{measure: the measure, side: {side}, tolerance: 0.5, reason: for the test, no_null: a test}}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROW.format(id="O1", side="above") * 2, "claim O1 stands there twice"),
        (ROW.format(id="O1", side="beside"), "claim O1.*side"),
        (ROW.format(id="X1", side="above"), "claim X1.*id"),
        (
            ROW.format(id="O1", side="above").replace(", reason: for the test,", ","),
            "claim O1.*reason",
        ),
        (ROW.format(id="O1", side="above") + "  colour: red\n", "claim O1.*colour"),
    ],
)
def test_a_wrong_row_is_named(text, message, tmp_path):
    (tmp_path / "claims.yml").write_text(text)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        claims.load(tmp_path / "claims.yml")
