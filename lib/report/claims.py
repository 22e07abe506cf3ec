"""Claims of the papers, the rules written for them beforehand, and the verdicts that follow from
numbers alone.

A claim stands in `book/claims.yml` with what its paper reports and one or more *parts*: a measured
quantity, the side
on which the claim puts it, and a tolerance. A chapter measures, hands over one `Estimate` per part
and seed, and gets
a `Verdict`. Nothing here looks at a result before the rule is read.

    reproduced        the interval lies on the claimed side of the tolerance in the share of seeds
    that the rule names
    partly            the claimed direction, but some intervals cross the tolerance; or some parts
    hold and others do not
    not reproduced    every interval lies on the other side, or the mean points against the claim
    not testable here this run cannot answer, and says why

A claim some of whose parts this run cannot answer is judged over the others, and is at most
*partly* reproduced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.measures.statistics import Estimate

PATH = Path(__file__).parent.parent.parent / "book" / "claims.yml"
REPRODUCED, PARTLY, NOT, UNTESTABLE = "reproduced", "partly", "not reproduced", "not testable here"
Verdicts = Literal["reproduced", "partly", "not reproduced", "not testable here"]


class Rule(BaseModel):
    """When one part of a claim counts as reproduced."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    measure: str = Field(min_length=5)
    unit: str = ""
    side: Literal["above", "below"]
    tolerance: float
    no_effect: float | None = (
        None  # a mean on the wrong side of it points against the claim; tolerance when None
    )
    share: float = Field(1.0, gt=0, le=1)  # of the seeds
    reason: str = Field(min_length=5)  # why this tolerance

    def sentence(self) -> str:
        """The rule in words, as the pages show it."""
        seeds = "every seed" if self.share == 1 else f"at least {self.share:.0%} of the seeds"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.measure}: the 95 % interval lies {self.side} {self.tolerance:g}{unit} in {seeds} ({self.reason})"


class Claim(BaseModel):
    """A row of `book/claims.yml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=r"^[ORS]\d+[a-z-]*$")
    paper: Literal["olsson2022", "ren2024", "singh2024"]
    statement: str
    reported: str
    chapter: str
    parts: dict[str, Rule] = Field(min_length=1)

    def rule(self) -> str:
        return "; ".join(rule.sentence() for rule in self.parts.values())


@cache
def load(path: str | Path = PATH) -> dict[str, Claim]:
    """All claims by id. Error: ValueError that names the row of the file that is wrong."""
    found: dict[str, Claim] = {}
    for row in yaml.safe_load(Path(path).read_text()):
        try:
            claim = Claim(**row)
        except ValidationError as error:
            raise ValueError(f"{Path(path).name}, claim {row.get('id')}: {error}") from None
        if claim.id in found:
            raise ValueError(f"{Path(path).name}: claim {claim.id} stands there twice.")
        found[claim.id] = claim
    return found


def judge(claim: Claim, estimates: Sequence[Estimate], seeds_needed: int = 3) -> dict[str, Any]:
    """The verdict as a record for claims.json; its first part that could be tested gives
    `measured`, `interval`, `n`.

    Fewer than `seeds_needed` seeds cannot reproduce a claim: the verdict is then at most *partly*.
    Errors: ValueError for a part without an estimate, or an estimate for a part that the claim does
    not have.
    """
    given = {e.part for e in estimates}
    if given != set(claim.parts):
        raise ValueError(
            f"Claim {claim.id} has parts {sorted(claim.parts)}, estimates were given for {sorted(given)}."
        )
    parts = {
        name: _part(rule, [e for e in estimates if e.part == name], seeds_needed)
        for name, rule in claim.parts.items()
    }
    lead = next(
        (part for part in parts.values() if part["verdict"] != UNTESTABLE),
        next(iter(parts.values())),
    )
    return (
        _record(claim, _whole([part["verdict"] for part in parts.values()]))
        | {k: lead[k] for k in ("measured", "interval", "n", "seeds")}
        | {"parts": parts}
    )


def not_testable(claim: Claim, why: str) -> dict[str, Any]:
    """The record of a claim that this run cannot answer, with the reason."""
    return _record(claim, UNTESTABLE) | {
        "measured": None,
        "interval": None,
        "n": 0,
        "seeds": [],
        "parts": {},
        "why": why,
    }


def _whole(parts: Sequence[Verdicts]) -> Verdicts:
    """The verdict on a claim from those on its parts."""
    if len(set(parts)) == 1:
        return parts[0]
    return NOT if set(parts) == {NOT, UNTESTABLE} else PARTLY


def _record(claim: Claim, verdict: Verdicts) -> dict[str, Any]:
    return {
        "id": claim.id,
        "paper": claim.paper,
        "statement": claim.statement,
        "reported": claim.reported,
        "rule": claim.rule(),
        "verdict": verdict,
    }


def _part(rule: Rule, estimates: list[Estimate], seeds_needed: int) -> dict[str, Any]:
    """Judge one part. Values are multiplied by -1 where the claim says `below`, so that larger
    always favours it."""
    sign = 1 if rule.side == "above" else -1
    tolerance, nothing = (
        sign * rule.tolerance,
        sign * (rule.tolerance if rule.no_effect is None else rule.no_effect),
    )
    rows = [e for e in estimates if all(map(math.isfinite, (e.value, e.low, e.high)))]
    mean = sum(e.value for e in rows) / len(rows) if rows else math.nan
    passing = [min(sign * e.low, sign * e.high) > tolerance for e in rows]
    failing = [max(sign * e.low, sign * e.high) < tolerance for e in rows]
    if len(rows) < len(estimates) or not rows:
        verdict = UNTESTABLE  # a measure that is not a number in some seed answers nothing
    elif sum(passing) >= rule.share * len(rows) - 1e-9:
        verdict = REPRODUCED if len({e.seed for e in rows}) >= seeds_needed else PARTLY
    else:
        verdict = NOT if all(failing) or sign * mean <= nothing else PARTLY
    return {
        "verdict": verdict,
        "measured": mean if rows else None,
        "interval": [min(e.low for e in rows), max(e.high for e in rows)] if rows else None,
        "n": sum(e.n for e in rows),
        "seeds": [e.seed for e in rows],
        "rule": rule.sentence(),
        "estimates": [asdict(e) for e in estimates if e in rows],
    }
