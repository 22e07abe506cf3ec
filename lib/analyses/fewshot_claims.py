"""The estimates of claims S1 to S7 for one seed, on their subjects and on their nulls.

A chapter reads a seed once (`read`), draws from that what it shows, and hands the same to the
functions here, one for each claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lib.analyses import fewshot_circuit as circuit
from lib.analyses.fewshot_parts import Parts, middle
from lib.data.fewshot_features import Sequences
from lib.measures import learning
from lib.measures.statistics import Estimate
from lib.models.run_recipes import HEADS, LIVE

LONE = [f"head {head}" for head in range(HEADS)]
STRONG = 0.4  # induction strength from which a head of layer 2 counts as an induction head
PREVIOUS = 0.5  # attention to the token before from which a layer-1 head is a previous-token head


@dataclass(frozen=True)
class Seed:
    """All that is read of a seed: of its run with all heads, and of heads trained alone."""

    t: circuit.Trained
    shown: Sequences

    @cached_property
    def followed(self) -> circuit.Followed:
        """The run with all heads, at its snapshots."""
        return circuit.follow(self.t, "all", self.shown)

    def strength(self, step: int | None = None) -> Float[Tensor, "head sequence"]:
        """Induction strength of the heads of layer 2 of that run."""
        names = ["second.pattern"]
        return circuit.outcome(self.t, ["all"], self.shown, read=names, step=step).strengths()[0]

    def under(self, said: circuit.Said, step: int | None = None) -> circuit.Outcome:
        """That run under several clamps."""
        return circuit.outcome(self.t, ["all"] * len(said), self.shown, said, step=step)

    @cached_property
    def single(self) -> circuit.Outcome:
        """Without one head of layer 2."""
        return self.under(circuit.without_one())

    @cached_property
    def lone(self) -> circuit.Outcome:
        """With one head of layer 2 alone, after training together."""
        return self.under(circuit.with_only([[head] for head in range(HEADS)]))

    @cached_property
    def order(self) -> list[int]:
        """Heads of layer 2, the strongest first."""
        return circuit.by_strength(self.strength())

    @cached_property
    def added(self) -> circuit.Outcome:
        """With the strongest head alone, the two strongest, and so on."""
        return self.under(circuit.adding_back(self.order))

    @cached_property
    def strong(self) -> list[int]:
        """Induction heads; the two strongest where fewer are strong."""
        mean = self.strength().mean(1)
        count = int((mean > STRONG).sum())
        return self.order[: max(2, count)]

    @cached_property
    def previous(self) -> list[int]:
        """Heads of layer 1 that look from labels at what stands before them; the one that does so
        most where none does."""
        looks = circuit.previous_token(self.t, self.shown)
        return [h for h in range(HEADS) if looks[h] > PREVIOUS] or [int(looks.argmax())]

    @cached_property
    def others(self) -> list[int]:
        """The other heads of layer 1."""
        return [head for head in range(HEADS) if head not in self.previous]

    @cached_property
    def dealt(self) -> list[list[int]]:
        """Two groups of the same sizes, drawn from all heads of layer 1; another split than that
        into previous-token heads and others, if there is one."""
        rng = np.random.default_rng([self.t.seed, HEADS])
        drawn = list(map(list, combinations(range(HEADS), len(self.previous))))
        apart = [group for group in drawn if group != self.previous] or [self.previous]
        first = apart[rng.integers(len(apart))]
        return [first, [head for head in range(HEADS) if head not in first]]

    @cached_property
    def kept(self) -> dict[str, Tensor]:
        """Right answers without the previous-token heads and without the others, layer 2 free or
        in part as it was."""
        return circuit.preserved(self.t, self.shown, [self.previous, self.others])

    @cached_property
    def weakened(self) -> Float[Tensor, "from to sequence"]:
        """What heads of layer 2 lose of their strength without one head of layer 1."""
        return circuit.weakened(self.t, self.shown)


def read(seed: int, p) -> Seed:
    """A seed of recipe `fewshot`, trained first if it is not there yet."""
    t = circuit.trained("fewshot", seed, p)
    return Seed(t, t.sequences(p))


def read_all(p) -> list[Seed]:
    """All seeds of a profile."""
    return [read(seed, p) for seed in p.seeds]


def runs_of(seeds: Sequence[Seed]) -> list[circuit.Trained]:
    """The trained runs behind seeds."""
    return [s.t for s in seeds]


# --- the claims ---


def s1(ask: Parts, s: Seed) -> list[Estimate]:
    """A plateau, then a change, together with induction strength."""
    curve = s.t.curve("all")
    smooth = learning.exponential(curve)
    times = ask.times(s.t, LONE)
    moments = {
        "": learning.first_below(curve, learning.LN2 / 2).value,
        "first fall of the loss": learning.first_below(curve, (1 + learning.NEAR) * learning.LN2)[
            0
        ],
        "lone heads": middle(times).value,
    }
    found = [
        ask.plateau("plateau", s.t, curve),
        ask.plateau("plateau", s.t, smooth).on("exponential"),
        ask.change("change", s.t, curve),
        ask.change("change", s.t, smooth).on("exponential"),
    ]
    for null, moment in moments.items():
        found.append(ask.together("together", s.t, s.followed, float(moment)).on(null))
    return found


def s2(ask: Parts, s: Seed) -> list[Estimate]:
    """Several induction heads, and none that is needed."""
    weakest = s.under(circuit.with_only([s.order[-1:]]))
    return [
        ask.third("several", s.t, s.strength()),
        ask.third("several", s.t, s.strength(0)).on("untrained"),
        ask.worst("single", s.t, s.single),
        ask.worst("single", s.t, weakest).on("all but the weakest"),
    ]


def s3(ask: Parts, s: Seed) -> list[Estimate]:
    """Lone accuracy follows strength; the loss falls as heads are added."""
    fresh = s.under(circuit.adding_back(s.order), step=0)
    return [
        ask.follows("lone", s.t, s.strength(), s.lone),
        ask.follows("lone", s.t, s.strength(0), s.lone).on("strength before training"),
        ask.falls("adding", s.t, s.added),
        ask.falls("adding", s.t, fresh).on("untrained"),
    ]


def s4(ask: Parts, s: Seed) -> list[Estimate]:
    """Any head trained alone solves the task."""
    alone = circuit.outcome(s.t, LONE, s.shown)
    fresh = s.under(circuit.with_only([[head] for head in range(HEADS)]), step=0)
    return [
        ask.worst("worst", s.t, alone),
        ask.worst("worst", s.t, fresh).on("untrained"),
        ask.worst("worst", s.t, s.lone).on("left alone after training together"),
    ]


def s5(ask: Parts, s: Seed) -> list[Estimate]:
    """More heads learn faster."""
    pairs = [name for name in s.t.recipe.names if name.startswith("heads")]
    one, rest = LONE[LIVE], [name for name in LONE if name != LONE[LIVE]]
    return [
        ask.faster("typical", s.t, LONE, ["all"]),
        ask.faster("typical", s.t, rest, [one]).on("a lone head for all"),
        ask.faster("fastest", s.t, LONE, ["all"], fastest=True),
        ask.faster("fastest", s.t, rest, [one], fastest=True).on("a lone head for all"),
        ask.faster("pairs", s.t, LONE, pairs),
        ask.faster("pairs", s.t, LONE[2:], LONE[:2]).on("two lone heads for the pairs"),
    ]


def s6(ask: Parts, s: Seed) -> list[Estimate]:
    """Keys through previous-token heads, values through the others, many to many."""
    elsewhere = {
        "untrained": circuit.preserved(s.t, s.shown, [s.previous, s.others], step=0),
        "random split": circuit.preserved(s.t, s.shown, s.dealt),
    }
    half = torch.full((s.shown.answer.shape[-1],), 0.0)
    parts = {"keys": ("pattern", "values"), "values": ("values", "pattern")}
    names = ["previous-token heads", "other heads"]
    found: list[Estimate] = []
    for own, (part, (good, bad)) in enumerate(parts.items()):
        other, enough = names[1 - own], f"{part}-enough"
        for group, null in ((own, ""), (1 - own, other)):
            right, wrong = s.kept[good][group], s.kept[bad][group]
            found.append(ask.contrast(part, s.t, right, wrong).on(null))
            found.append(ask.contrast(enough, s.t, right, half).on(null))
        for null, kept in elsewhere.items():
            found.append(ask.contrast(part, s.t, kept[good][own], kept[bad][own]).on(null))
    return found + _many(ask, s)


def _many(ask: Parts, s: Seed) -> list[Estimate]:
    fresh = circuit.weakened(s.t, s.shown, step=0)
    return [
        ask.second_input("many-in", s.t, s.weakened, s.strong),
        ask.second_input("many-in", s.t, fresh, s.strong).on("untrained"),
        ask.second_output("many-out", s.t, s.weakened, s.strong),
        ask.second_output("many-out", s.t, fresh, s.strong).on("untrained"),
    ]


def s7(ask: Parts, s: Seed) -> list[Estimate]:
    """No direct path from layer 1 to the output at the end."""
    leaving = learning.first_below(s.t.curve("all"), (1 - learning.NEAR) * learning.LN2).value
    place = int((s.followed.steps < leaving / 2).sum())
    before = min(place, len(s.followed.steps) - 1)
    return [
        ask.path("end", s.t, s.followed, -1),
        ask.path("end", s.t, s.followed, before).on("middle of the plateau"),
        ask.path("early", s.t, s.followed, None),
        ask.path("early", s.t, s.followed, 0).on("untrained"),
    ]


CLAIMS = {"S1": s1, "S2": s2, "S3": s3, "S4": s4, "S5": s5, "S6": s6, "S7": s7}


def estimates(claim: str, seeds: Sequence[Seed], rng: np.random.Generator, p) -> list[Estimate]:
    """All estimates of a claim, over seeds."""
    ask = Parts(rng, p.resamples)
    return [estimate for s in seeds for estimate in CLAIMS[claim](ask, s)]
