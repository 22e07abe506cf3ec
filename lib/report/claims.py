"""Claims, the rules that judge them, and the verdicts that follow from numbers alone.

A claim stands in `book/claims/<chapter>.yml` with what its paper reports and one or more *parts*: a
measured quantity, the side on which the claim puts it, a tolerance, and the *nulls*: where there is
nothing to find. A chapter measures, on the claim's own subject and on each null, by the same code,
and hands over one `Estimate` per part, seed and null.

    reproduced        the interval lies on the claimed side of the tolerance in the share of seeds
    that the rule names
    partly            the claimed direction, but some intervals cross the tolerance; or not all
    parts hold
    not reproduced    every interval lies on the other side, or the mean points against the claim
    undecided         the same rule says as much where there is nothing to find, so it says nothing
    here
    not testable here this run cannot answer, and says why

A claim stands and falls with its core: without that it is not *partly*, whatever else holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lib.measures.statistics import Estimate, Rate
from lib.report import say

PATH = Path(__file__).parent.parent.parent / "book" / "claims"
REPRODUCED, PARTLY, NOT = "reproduced", "partly", "not reproduced"
UNDECIDED, UNTESTABLE = "undecided", "not testable here"
Verdicts = Literal["reproduced", "partly", "not reproduced", "undecided", "not testable here"]
ALARMS = "false alarms"  # so the kind of such trials begins
FALSE_ALARMS = 0.05  # a rule that passes more often where there is nothing decides nothing
TRIALS = 20  # fewer cannot tell one in twenty


class Strict(BaseModel):
    """Frozen, and unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Change(Strict):
    """A change of a rule after a result had been seen: when, what stood there before, why."""

    # YAML reads a plain date as one; pages show text.
    date: Annotated[str, BeforeValidator(str), Field(pattern=r"^20\d\d-\d\d-\d\d$")]
    was: dict[str, Any] = Field(min_length=1)
    why: str = Field(min_length=5)


class Rule(Strict):
    """When one part of a claim counts as reproduced."""

    measure: str = Field(min_length=5)
    unit: str = ""
    side: Literal["above", "below"]
    tolerance: float
    # A mean on the wrong side of it points against the claim; the tolerance itself when None.
    no_effect: float | None = None
    share: float = Field(1.0, gt=0, le=1)  # of the seeds
    reason: str = Field(min_length=5)  # why this tolerance
    nulls: tuple[str, ...] = ()
    no_null: str = ""  # why there can be none
    no_number: str = ""  # why a seed, or a null, may have no number
    changed: tuple[Change, ...] = ()

    @model_validator(mode="after")
    def check(self) -> Rule:
        if bool(self.nulls) == bool(self.no_null):
            raise ValueError("name the part's `nulls`, or say in `no_null` why there can be none")
        for change in self.changed:
            self.before(change)
        return self

    def sentence(self) -> str:
        """The rule in words, as the pages show it, and why its tolerance is what it is."""
        return f"{self.asks()} ({self.reason})"

    def asks(self) -> str:
        """The rule in words, without its reason."""
        seeds = (
            "every seed" if self.share == 1 else f"at least {say.percent(self.share)} of the seeds"
        )
        bounded = bound(self.side, self.tolerance, self.unit)
        return f"{self.measure}: the 95 % interval lies {bounded} in {seeds}"

    def before(self, change: Change) -> Rule:
        """The rule as it stood before a change. Error: ValueError for a field that rules lack."""
        kept = self.model_dump(exclude={"changed"}) | change.was
        return Rule(**kept)


def bound(side: str, tolerance: float, unit: str) -> str:
    """On which side of what a rule asks for, in words: `below 1 doubling`."""
    one = unit.removesuffix("s") if abs(tolerance) == 1 else unit
    asked = f"{tolerance:g}".replace("-", "−")
    return f"{side} {asked} {one}".strip()


class Asked(Strict):
    """A part as a reader's model is asked it: what is measured there, if other words are needed,
    and the nulls that it has."""

    measure: str = ""
    nulls: tuple[str, ...] = Field(min_length=1)


class Claim(Strict):
    """A row of `book/claims/<chapter>.yml`: a claim of a paper, or (`own`) a question of the book's
    own; later work `contests` claims of others."""

    id: str = Field(pattern=r"^[ORSYHDAKCE]\d+[a-z-]*$")
    paper: Literal["olsson2022", "ren2024", "singh2024", "yin2025", "crosbie2025", "beetle2025"]
    own: bool = False
    contests: tuple[str, ...] = ()  # ids of claims that it speaks against, or sharpens
    statement: str
    reported: str
    chapter: str
    parts: dict[str, Rule] = Field(min_length=1)
    core: tuple[str, ...] = ()
    any_model: dict[str, Asked] = {}  # parts that any model can be asked

    @model_validator(mode="after")
    def check(self) -> Claim:
        for name in ("core", "any_model"):
            if stray := set(getattr(self, name)) - set(self.parts):
                raise ValueError(f"{name} names {', '.join(sorted(stray))}, which are no parts")
        return self

    def of_any_model(self) -> Claim:
        """The claim as a reader's model is asked it: the same rules, on the parts that it can be
        asked, beside the nulls that it has. Error: ValueError where it can be asked none."""
        if not self.any_model:
            raise ValueError(
                f"Claim {self.id} is asked of the book's own models alone: its entry in "
                "book/claims/ has no `any_model`."
            )
        parts = {}
        for name, asked in self.any_model.items():
            rule = self.parts[name]
            put = {"measure": asked.measure or rule.measure, "nulls": asked.nulls}
            # A past and a want of nulls are those of the book's own models.
            parts[name] = rule.model_copy(update=put | {"changed": (), "no_null": ""})
        core = tuple(name for name in self.heart if name in parts)
        return self.model_copy(update={"parts": parts, "core": core})

    @property
    def heart(self) -> tuple[str, ...]:
        """The parts without which the claim does not hold even partly; the first if none is
        named."""
        return self.core or (next(iter(self.parts)),)

    def rule(self) -> str:
        """All its rules in words."""
        return "; ".join(rule.sentence() for rule in self.parts.values())


@cache
def load(path: str | Path = PATH) -> dict[str, Claim]:
    """All claims by id, from one file or a folder of them.

    Error: ValueError that names the row of the file that is wrong.
    """
    found: dict[str, Claim] = {}
    for file in files(Path(path)):
        for row in yaml.safe_load(file.read_text()) or []:
            try:
                claim = Claim(**row)
            except ValidationError as error:
                raise ValueError(f"{file.name}, claim {row.get('id')}: {error}") from None
            if claim.id in found:
                raise ValueError(f"{file.name}: claim {claim.id} stands there twice.")
            found[claim.id] = claim
    return found


def files(path: Path) -> list[Path]:
    """The files of claims: that one, or those of a folder by name."""
    return sorted(path.glob("*.yml")) if path.is_dir() else [path]


# --- one rule, one set of numbers ---


def verdict_of(rule: Rule, estimates: Sequence[Estimate], seeds_needed: int = 3) -> Verdicts:
    """What a rule says of one set of estimates, one a seed, on whatever they were measured.

    Fewer than `seeds_needed` seeds cannot reproduce anything: the verdict is then at most *partly*.
    """
    if not estimates or any(not _finite(e) for e in estimates):
        return UNTESTABLE  # a measure that is not a number in some seed answers nothing
    # Values are multiplied by -1 where the claim says `below`, so that larger always favours it.
    sign = 1 if rule.side == "above" else -1
    tolerance = sign * rule.tolerance
    nothing = tolerance if rule.no_effect is None else sign * rule.no_effect
    passing = [min(sign * e.low, sign * e.high) > tolerance for e in estimates]
    failing = [max(sign * e.low, sign * e.high) < tolerance for e in estimates]
    if sum(passing) >= rule.share * len(estimates) - 1e-9:
        return REPRODUCED if len({e.seed for e in estimates}) >= seeds_needed else PARTLY
    return NOT if all(failing) or sign * _mean(estimates) <= nothing else PARTLY


def measured(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Mean over seeds, the envelope of the intervals, and the sample, as records hold them."""
    rows = [e for e in estimates if _finite(e)]
    return {
        "measured": _mean(rows) if rows else None,
        "interval": [min(e.low for e in rows), max(e.high for e in rows)] if rows else None,
        "n": sum(e.n for e in rows),
        "seeds": [e.seed for e in rows],
    }


def _mean(estimates: Sequence[Estimate]) -> float:
    return sum(e.value for e in estimates) / len(estimates)


def _finite(estimate: Estimate) -> bool:
    return all(map(math.isfinite, (estimate.value, estimate.low, estimate.high)))


# --- a part beside its nulls, and the whole claim ---


def judge(
    claim: Claim,
    estimates: Sequence[Estimate],
    rates: Sequence[Rate] = (),
    former: Sequence[Estimate] = (),
    seeds_needed: int = 3,
) -> dict[str, Any]:
    """The verdict as a record for claims.json; its core gives `measured`, `interval`, `n`, `seeds`,
    `null`.

    estimates: of every part, on its subject and on each of its nulls. rates: how often a rule
    passes in repeated trials.
    former: what an old rule of a part asked for, where that was another measurement.
    Errors: ValueError for parts or nulls without an estimate, and for estimates that belong to
    none.
    """
    _complete(claim, estimates)
    parts = {}
    for name, rule in claim.parts.items():
        own, repeated, old = (_of(name, rows) for rows in (estimates, rates, former))
        parts[name] = _part(rule, own, repeated, old, seeds_needed)
    lead = next((n for n in claim.heart if parts[n]["verdict"] != UNTESTABLE), claim.heart[0])
    shown = {key: parts[lead][key] for key in ("measured", "interval", "n", "seeds")}
    held = [sum(part["verdict"] == REPRODUCED for part in parts.values()), len(parts)]
    verdict = whole({name: part["verdict"] for name, part in parts.items()}, claim.heart)
    return (
        _record(claim, verdict)
        | shown
        | {
            "held": held,
            "null": null_sentence(parts[lead]),
            "parts": parts,
        }
    )


def rate(
    rule: Rule, part: str, kind: str, trials: Sequence[Sequence[Estimate]], seeds_needed: int = 3
) -> Rate:
    """How many of repeated trials, each what one judgement is given, pass the part's rule."""
    passed = [verdict_of(rule, trial, seeds_needed) == REPRODUCED for trial in trials]
    return Rate(part, kind, sum(passed), len(passed))


def rates(
    rules: Mapping[str, Rule],
    kind: str,
    trials: Sequence[Sequence[Estimate]],
    seeds_needed: int = 3,
) -> list[Rate]:
    """The same for several parts, whose estimates stand together in each trial."""
    found = []
    for part, rule in rules.items():
        own = [_of(part, trial) for trial in trials]
        found.append(rate(rule, part, kind, own, seeds_needed))
    return found


def not_testable(claim: Claim, why: str) -> dict[str, Any]:
    """The record of a claim that this run cannot answer, with the reason."""
    empty = {"measured": None, "interval": None, "n": 0, "seeds": [], "null": "", "parts": {}}
    return _record(claim, UNTESTABLE) | empty | {"held": [0, len(claim.parts)], "why": why}


def whole(parts: dict[str, Verdicts], heart: Sequence[str]) -> Verdicts:
    """The verdict on a claim from those on its parts: its core's, made *partly* where another part
    does not hold."""
    core = [parts[name] for name in heart]
    if set(parts.values()) == {REPRODUCED}:
        return REPRODUCED
    if len(set(core)) == 1 and core[0] != REPRODUCED:
        return core[0]
    if {REPRODUCED, PARTLY} & set(core):
        return PARTLY
    return next(v for v in (UNDECIDED, NOT, UNTESTABLE) if v in core)


def null_sentence(part: dict[str, Any]) -> str:
    """What the same rule says on each null, in words: `on untrained: not reproduced`."""
    said = (f"on {null['name']}: {null['verdict']}" for null in part["nulls"])
    return "; ".join(said) or part["no_null"]


def _complete(claim: Claim, estimates: Sequence[Estimate]) -> None:
    """Raise ValueError unless each part has estimates of its subject and of each of its nulls, and
    there are no others."""
    given = {(e.part, e.null) for e in estimates}
    wanted = {(name, null) for name, rule in claim.parts.items() for null in ("", *rule.nulls)}
    if given != wanted:
        missing, stray = (sorted(map(_place, x)) for x in (wanted - given, given - wanted))
        raise ValueError(
            f"Claim {claim.id}: estimates are missing for {missing or 'nothing'}, and given for "
            f"{stray or 'nothing'} that it lacks. Its parts and nulls stand in book/claims/."
        )


def _place(pair: tuple[str, str]) -> str:
    return f"{pair[0]} on {pair[1]}" if pair[1] else pair[0]


def _of(name: str, rows: Sequence[Any]) -> list[Any]:
    """What belongs to a part."""
    return [row for row in rows if row.part == name]


def _part(
    rule: Rule,
    estimates: list[Estimate],
    rates: list[Rate],
    former: list[Estimate],
    seeds_needed: int,
) -> dict[str, Any]:
    """Judge one part, then ask whether the rule says as much of its nulls."""
    own = [e for e in estimates if not e.null]
    nulls = [_null(rule, name, estimates) for name in rule.nulls]
    verdict = verdict_of(rule, own, seeds_needed)
    alike = [null["name"] for null in nulls if _as_good(null["verdict"], verdict)]
    alike += _alarms(verdict, rates)
    return {
        "verdict": UNDECIDED if alike else verdict,
        "also_on": list(dict.fromkeys(alike)),
        **measured(own),
        **rule.model_dump(include={"measure", "unit", "side", "tolerance"}),
        "rule": rule.sentence(),
        "nulls": nulls,
        "no_null": rule.no_null,
        "no_number": rule.no_number,
        "rates": [asdict(rate) for rate in rates],
        "changed": [_change(rule, change, own, former, seeds_needed) for change in rule.changed],
        "estimates": [asdict(e) for e in own if _finite(e)],
    }


def _null(rule: Rule, name: str, estimates: list[Estimate]) -> dict[str, Any]:
    """The same rule where there is nothing to find; a single seed is enough to pass there."""
    there = [e for e in estimates if e.null == name]
    return {"name": name, "verdict": verdict_of(rule, there, 1), **measured(there)}


def _as_good(null: Verdicts, verdict: Verdicts) -> bool:
    """Whether a null comes out at least as well as a part that holds or holds partly."""
    rank = {REPRODUCED: 2, PARTLY: 1}
    return verdict in rank and rank.get(null, 0) >= rank[verdict]


def _alarms(verdict: Verdicts, rates: list[Rate]) -> list[str]:
    """The kinds of trials with nothing to find in which the rule of a part that holds passes too
    often, and how often."""
    if verdict not in (REPRODUCED, PARTLY):
        return []
    counted = [r for r in rates if r.kind.startswith(ALARMS) and r.of >= TRIALS]
    often = [rate for rate in counted if rate.passed > FALSE_ALARMS * rate.of]
    return [f"{r.kind.removeprefix(f'{ALARMS} on ')} in {r.passed} of {r.of} trials" for r in often]


def _change(
    rule: Rule, change: Change, own: list[Estimate], former: list[Estimate], seeds_needed: int
) -> dict[str, Any]:
    """A change of the rule, and what the old rule says of the present numbers (None: it asked for
    another measurement). A rule that had other nulls names them."""
    old = rule.before(change)
    beside = f"; tried on {', '.join(old.nulls) or 'no null'}" if "nulls" in change.was else ""
    numbers = former if "measure" in change.was else own
    verdict = verdict_of(old, numbers, seeds_needed) if numbers else None
    # The reason is that of today's tolerance, unless the change keeps the old one's.
    said = old.sentence() if "reason" in change.was else old.asks()
    return {"date": change.date, "rule": said + beside, "why": change.why, "verdict": verdict}


def _record(claim: Claim, verdict: Verdicts) -> dict[str, Any]:
    return {
        "id": claim.id,
        "paper": claim.paper,
        "own": claim.own,
        "contests": list(claim.contests),
        "statement": claim.statement,
        "reported": claim.reported,
        "core": list(claim.heart),
        "rule": claim.rule(),
        "verdict": verdict,
    }
