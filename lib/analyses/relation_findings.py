"""What the relation index says of one model: margins of best heads, and labels dealt anew.

Idea. None of these numbers is read off the head that was chosen for being the largest: the best
head is chosen on half of the clusters (topics, verbs) and measured on the rest. And none is called
a relation's before the same facts with other labels have had their turn: `Dealings` holds a
thousand labellings of the facts, row 0 the truth, and every measure is taken of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.analyses.relation_maps import Found
from lib.measures import relation_facts, relation_tests, statistics
from lib.measures.statistics import Estimate

# What the index of each reading is compared with; the printed one has the paper's null alone.
CONTROLLED = ("same_class", "other_source")
LESS = {"printed": ("anywhere",), "source": CONTROLLED, "context": CONTROLLED}
AS_WRITTEN = ("fake",)  # the paper's null to the letter: the 10th token
LEVEL = 0.05


def best_heads(found: Found, less: tuple[str, ...], seed: int) -> pd.DataFrame:
    """One row a relation: its best head by each half of the clusters, its `excess`, `low`, `high`.

    NaN where too few events are left.
    """
    heads, names = found.sums["tail"].shape[1], found.encoded.triplets.names
    facts = found.facts(less)
    margins = _margins(facts, facts.label[None], found.min_events, seed)
    edges = margins.draws[:, 0].nanquantile(torch.tensor([0.025, 0.975]), 0)
    chosen = margins.head[0].T.tolist()
    return pd.DataFrame(
        {
            "relation": names[: facts.labels],
            "head": [_named(pair, heads) for pair in chosen],
            "excess": margins.value[0].numpy(),
            "low": edges[0].numpy(),
            "high": edges[1].numpy(),
        }
    )


def _named(chosen: Sequence[int], heads: int) -> str:
    """The heads chosen on either half, as layer.head; `none` where no head has enough events."""
    return ", ".join(f"{h // heads}.{h % heads}" for h in dict.fromkeys(chosen) if h >= 0) or "none"


def _margins(facts, labels, min_events: int, seed: int, rounds: int = 500):
    generator = torch.Generator().manual_seed(seed)
    return relation_facts.margins(facts, labels, min_events, generator, rounds)


def margin(
    part: str, seed: int, found: Found, less: tuple[str, ...], names: Sequence[str]
) -> Estimate:
    """The mean excess of the best heads of some relations, with its interval over clusters.

    A relation for which no head has enough events counts as 0.
    """
    facts = found.facts(less)
    margins = _margins(facts, facts.label[None], found.min_events, seed)
    rows = [found.encoded.triplets.names.index(name) for name in names]
    value, draws = margins.value[0, rows], margins.draws[:, 0, rows]
    return _estimate(part, seed, value, draws, margins.clusters)


def _estimate(part: str, seed: int, value: Tensor, draws: Tensor, n: int) -> Estimate:
    edges = draws.nan_to_num(0).mean(1).quantile(torch.tensor([0.025, 0.975]))
    return Estimate(part, seed, float(value.nan_to_num(0).mean()), *edges.tolist(), n)


@dataclass(frozen=True, eq=False)
class Dealings:
    """A reading of the graph with its labels dealt anew `rounds` times; row 0 is the truth.

    `row` says which labelling is taken for the truth, so that each measure can be asked of a dealt
    one: whatever it then finds is not there.
    """

    found: Found
    less: tuple[str, ...]
    seed: int
    rounds: int = 1000

    @cached_property
    def facts(self) -> relation_facts.Facts:
        """Facts in both directions."""
        return self.found.facts(self.less, None)

    @cached_property
    def labels(self) -> Int[Tensor, "row fact"]:
        """The labellings."""
        generator = torch.Generator().manual_seed(self.seed)
        dealt = relation_facts.deal(self.facts, generator, self.rounds)
        return torch.cat([self.facts.label[None], dealt])

    @cached_property
    def margins(self) -> relation_facts.Margins:
        """Best heads of every labelling by their index, of facts read forward."""
        rows = ~self.facts.backward
        given = self.facts.at(rows), self.labels[:, rows], self.found.min_events
        return _margins(*given, self.seed, rounds=200)

    @cached_property
    def offered(self) -> relation_facts.Facts:
        """Facts read forward, per opportunity instead of per event.

        An index is a mean over what passed the gate: a head that looks for one relation alone has
        the same index under other labels, from fewer events. Per opportunity both count, where a
        head looks and what it raises.
        """
        made = relation_facts.per_opportunity(
            self.facts, self.found.encoded.triplets, self.found.opportunities
        )
        return made.at(~made.backward)

    @cached_property
    def standing(self) -> Float[Tensor, "row label"]:
        """How far the best head of each label stands out, per opportunity."""
        return relation_facts.standing(self.offered, self.labels[:, ~self.facts.backward])

    @cached_property
    def offers(self) -> Float[Tensor, "row head label"]:
        """The excess per opportunity of every head under every labelling."""
        return relation_facts.maps(self.offered, self.labels[:, ~self.facts.backward], 0)

    def maps(
        self, backward: bool = False, rows: slice = slice(None)
    ) -> Float[Tensor, "row head label"]:
        """The excess of every head under every labelling, or some, of facts read one way."""
        facts = self.facts.backward == backward
        given = self.facts.at(facts), self.labels[rows][:, facts]
        return relation_facts.maps(*given, self.found.min_events)

    @cached_property
    def forward(self) -> Float[Tensor, "row head label"]:
        return self.maps()

    @cached_property
    def shared_heads(self) -> Float[Tensor, " row"]:
        """Mean overlap of the highest heads of two labels."""
        return relation_facts.shared(relation_facts.tops(self.forward))

    @cached_property
    def reverses(self) -> Float[Tensor, "row label label"]:
        """Overlap of the highest heads of each label with those of each label read backward."""
        ahead, back = (relation_facts.tops(x) for x in (self.forward, self.maps(True)))
        return relation_facts.overlaps(ahead, back)

    def held(self, row: int = 0) -> Bool[Tensor, "head label"]:
        """Heads whose excess for a label is beyond other labellings', p below .05 after Holm."""
        p = relation_facts.beyond_dealings(self.offers[row], self._others(self.offers, row))
        return relation_tests.holm(p) < LEVEL

    def _others(self, values: Tensor, row: int) -> Tensor:
        """Those of all dealings but that one."""
        return torch.cat([values[1:row], values[max(row, 0) + 1 :]])

    # --- what a claim is judged by, with any row for the truth ---

    def mean_margin(self, part: str, row: int = 0) -> Estimate:
        """Mean excess of the best heads, with its interval over clusters."""
        m = self.margins
        return _estimate(part, self.seed, m.value[row], m.draws[:, row], m.clusters)

    def beyond(self, part: str, values: Float[Tensor, " row"], row: int = 0) -> Estimate:
        """A number against the same number under the other labellings."""
        rest = self._others(values, row)
        rest = rest[rest.isfinite()]
        if len(rest) < 2 or not values[row].isfinite():
            return nothing(part, self.seed)
        return against(part, self.seed, float(values[row]), rest, self.margins.clusters)

    def relation(self, part: str, row: int = 0) -> Estimate:
        """How far the best heads stand out, mean over relations, against dealt labels."""
        return self.beyond(part, self.standing.mean(1), row)

    def most(self, part: str, row: int = 0) -> Estimate:
        """Number of relations whose best head stands out beyond dealings, p below .05."""
        value = self.standing
        p = relation_facts.beyond_dealings(value[row], self._others(value, row))
        return count(part, self.seed, int((p < LEVEL).sum()), self.margins.clusters)

    def sparse(self, part: str, row: int = 0) -> Estimate:
        """Share of heads that hold a relation, mean over relations that some head holds.

        NaN if fewer than two are held: what no head holds is not sparse.
        """
        share = self.held(row).float().mean(0)
        share, rng = share[share > 0], np.random.default_rng(self.seed)
        if len(share) < 2:
            return nothing(part, self.seed)
        interval = statistics.bootstrap_mean(share, rng)
        return Estimate.of(part, self.seed, interval, len(share))

    def shared(self, part: str, row: int = 0) -> Estimate:
        """Overlap of the heads of two relations, less what dealt labels give."""
        return self.beyond(part, self.shared_heads, row)

    def both_ways(self, part: str, row: int = 0, pairing: int = 0) -> Estimate:
        """Overlap of a relation's heads with its reverse's, less that with other relations'.

        `pairing` says which of all ways to pair relations with reverses is taken for the truth.
        """
        ways = relation_facts.pairings(self.facts.labels)
        overlap = relation_facts.both_ways(self.reverses[row : row + 1], ways)[0]
        if not overlap[pairing].isfinite():
            return nothing(part, self.seed)
        rest = overlap[overlap.isfinite()]
        return against(part, self.seed, float(overlap[pairing]), rest, self.margins.clusters)


def against(
    part: str, seed: int, observed: float, rest: Float[Tensor, " round"], n: int
) -> Estimate:
    """An observed number less the mean of others, in their standard deviations.

    The interval is the same less 95 % of the others, whose mean and spread are the null's. n: the
    clusters behind it. NaN where the others are all alike, and nothing can stand out.
    """
    spread, middle = float(rest.std()), float(rest.mean())
    if spread < 1e-9:
        return nothing(part, seed)
    low, high = rest.double().quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    ends = (observed - x for x in (middle, high, low))
    return Estimate(part, seed, *(x / spread for x in ends), n)


def stability(part: str, seed: int, by_tau: Sequence[Dealings], row: int = 0) -> Estimate:
    """The lowest rank correlation between maps of `excess` at two values of tau.

    Over cells that both fill, with its interval over cells; NaN if they are too few.
    """
    rows, rng = [], np.random.default_rng(seed)
    for a, b in combinations(by_tau, 2):
        x, y = (one.maps(rows=slice(row, row + 1))[0].flatten() for one in (a, b))
        both = x.isfinite() & y.isfinite()
        if int(both.sum()) > 2:
            found = statistics.spearman_interval(x[both], y[both], rng, 200)
            rows.append((*found, int(both.sum())))
    return Estimate(part, seed, *min(rows)) if rows else nothing(part, seed)


def breadth(
    part: str, seed: int, found: Found, less: tuple[str, ...], dealings: int = 0
) -> list[Estimate]:
    """By how many heads subj is carried more than obj: of the truth, then of dealings.

    Heads count by their excess (participation ratio); intervals are over verbs. A dealing gives
    each verb's nouns to subj and obj at random.
    """
    facts = found.facts(less)
    facts = facts.at(facts.label < 2)  # subj and obj, whose head token is the verb
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat([facts.label[None], relation_facts.deal(facts, generator, dealings)])
    clusters = len(facts.cluster.unique())
    rows = [relation_facts.breadth(facts, one[None], generator) for one in labels]
    return [_breadth(part, seed, *row, clusters) for row in rows]


def _breadth(part: str, seed: int, value: Tensor, draws: Tensor, n: int) -> Estimate:
    gap, gaps = value[0] - value[1], draws[:, 0] - draws[:, 1]
    low, high = gaps.nanquantile(torch.tensor([0.025, 0.975]).to(gaps)).tolist()
    return Estimate(part, seed, float(gap), low, high, n)


def nothing(part: str, seed: int) -> Estimate:
    """Nothing could be measured."""
    return Estimate(part, seed, *[float("nan")] * 3, 0)


def count(part: str, seed: int, number: int, n: int) -> Estimate:
    """A plain count, which has no interval of its own."""
    return Estimate(part, seed, float(number), float(number), float(number), n)


def pairs(
    flagged: Bool[Tensor, "layer head relation"], names: Sequence[str]
) -> set[tuple[int, int, str]]:
    """The (layer, head, relation) of a mask."""
    return {(int(layer), int(head), names[r]) for layer, head, r in flagged.nonzero()}


def third_test(found: Found, seed: int, relations: int) -> tuple[int, int]:
    """How many pairs of a head and one of the first `relations` pass two tests, and all three."""
    tests = found.p_values(seed)
    held = (found.held(tests[name])[..., :relations] for name in ("both", "all"))
    two, three = (int(one.sum()) for one in held)
    return two, three


def most_active(found: Found) -> Float[Tensor, "layer head relation"]:
    """The share of a relation's triplets for which each head has the largest mean share.

    (Figures 10, 20, 21.) Triplets that no head looks at are left out.
    """
    mean = (found.sums["tail"] / found.sums["events"]).nan_to_num(-1).flatten(0, 1)
    value, winner = mean.max(0)
    triplets, (layers, heads) = found.encoded.triplets, found.sums["tail"].shape[:2]
    wins = torch.zeros(layers * heads, len(triplets.names)).index_put_(
        (winner, triplets.relation), (value > 0).float(), accumulate=True
    )
    return (wins / wins.sum(0)).unflatten(0, (layers, heads))


def excess(found: Found, less: tuple[str, ...]) -> Float[Tensor, "layer head relation"]:
    """By how much the index exceeds the largest of the named controls; NaN with too few events."""
    given = found.sums, found.encoded.triplets, less
    return relation_tests.excess(*given, found.min_events)
