"""In which order clamped runs learn, and whether any other order would pass as the paper's.

times = Times.of(found)                       # of one seed
times.smallest()                              # above zero: all neighbours stand as reported
orders = dealt_anew()                         # the same names in every other order
times.smallest(orders[0])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

from lib.analyses import clamped
from lib.measures import learning, plateaus
from lib.measures.statistics import Estimate, Interval

# The paper's, the latest first; between the last two it says nothing that we ask for.
ORDER = ("none", "previous token", "layer 1", "copy", "match", "layer 1 and copy")


@dataclass(frozen=True)
class Times:
    """When the runs of a seed have learnt, in steps."""

    seed: int
    learnt: dict[str, Interval]

    @classmethod
    def of(cls, found: clamped.Clamped) -> Times:
        """Read from the curves of the runs."""
        return cls(found.seed, {name: plateaus.learnt(found[name]) for name in ORDER})

    def smallest(self, names: Sequence[str] = ORDER) -> Interval:
        """Doublings by which a run learns later than the next, the smallest; the last two names are
        both compared with the one before them."""
        *chain, last = names
        steps = [*pairwise(chain), (chain[-2], last)]
        apart = [learning.doublings(self.learnt[a], self.learnt[b]) for a, b in steps]
        return clamped.smallest(apart)


def dealt_anew() -> list[tuple[str, ...]]:
    """The names in every order but the paper's, and but that which asks the same."""
    same = {ORDER, (*ORDER[:-2], ORDER[-1], ORDER[-2])}
    return [names for names in permutations(ORDER) if names not in same]


def trials(part: str, every: Sequence[Times]) -> list[list[Estimate]]:
    """What is measured of every seed in each of those orders."""
    found = []
    for names in dealt_anew():
        each = [(one.seed, one.smallest(names)) for one in every]
        found.append([clamped.Parts(seed).of(part, value) for seed, value in each])
    return found
