"""The numbers behind the claims R1 to R5, on models that learnt a world and on their nulls.

Nulls. `untrained`: the same organism at step 0. `new pairs`, `new facts`: documents of a world
whose pairs are dealt anew, which no weights can know. `shuffled labels`: the same facts with their
relations dealt anew. `other reverse`: the reverse of another relation.

Use. `estimates` gives what a claim is judged by, on its subject and its nulls; `trials` repeats the
nulls that cost nothing a hundred times, and `planted` asks models with and without relations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from lib.analyses import relation_findings as findings
from lib.analyses import relation_maps
from lib.analyses.relation_findings import LESS, Dealings
from lib.analyses.relation_maps import Found
from lib.data import gold, lexicon, triplets
from lib.data.triplets import Encoded
from lib.data.worlds import World
from lib.measures import relation_facts, relation_index
from lib.measures.statistics import Estimate
from lib.models import opening, planted_relations

RELATIONS = tuple(lexicon.RELATIONS)
READINGS = {"printed": "printed", "calibrated": "source"}  # of claims -> of maps
TRIALS = 100
SHUFFLED, UNTRAINED, NEW = "shuffled labels", "untrained", "new"
Numbers = dict[str, list[Estimate]]


@dataclass(frozen=True, eq=False)
class Run:
    """The maps of one organism, by reading: of the world that it learnt, or on a null."""

    seed: int
    graph: Mapping[str, Found]
    syntax: Mapping[str, Found]
    taus: Sequence[float]
    permutations: int = 2000
    null: str = ""

    @cached_property
    def dealings(self) -> dict[str, Dealings]:
        """By reading, and by reading and ratio."""
        less = {name: LESS[name.split()[0]] for name in self.graph}
        return {name: Dealings(found, less[name], self.seed) for name, found in self.graph.items()}

    def by_tau(self, reading: str) -> list[Dealings]:
        """Those of one reading at each ratio."""
        return [self.dealings[f"{reading} {tau:g}"] for tau in self.taus]


def measure(
    opened,
    corpus: Mapping[str, Encoded],
    readings: Mapping[str, relation_index.Choices],
    seed: int,
    p,
    null: str = "",
) -> Run:
    """Take the maps of an organism on documents of both kinds, those of the graph at each ratio."""
    ratios = {
        f"{name} {tau:g}": replace(readings[name], tau=tau)
        for name in READINGS.values()
        for tau in p.taus
    }
    variants = {"graph": dict(readings) | (ratios if null != NEW else {}), "syntax": readings}
    given = {"min_events": p.min_events, "copying": () if null else ("printed",)}
    graph, syntax = (
        relation_maps.measure(opened, corpus[kind], variants[kind], **given) for kind in variants
    )
    return Run(seed, graph, syntax, p.taus, p.permutations, null)


def former(run: Run) -> Numbers:
    """What older rules asked for, where it is cheap to say: the 10th token as the fake tail."""
    given = findings.AS_WRITTEN
    syntax = [
        findings.margin(r, run.seed, run.syntax["printed"], given, [r]) for r in triplets.SYNTAX
    ]
    graph = findings.margin("margin", run.seed, run.graph["printed"], given, RELATIONS)
    controlled = run.dealings["source"].mean_margin("relation")
    return {"R1-printed": syntax, "R2-printed": [graph], "R2-calibrated": [controlled]}


def estimates(run: Run) -> Numbers:
    """Claim -> estimates of its parts, on the run's null and on those that need no other run."""
    found: Numbers = {}
    for claim, part in _parts(run):
        found.setdefault(claim, []).append(part)
    return found


def _parts(run: Run) -> Iterator[tuple[str, Estimate]]:
    for kind, reading in READINGS.items():
        yield from ((f"R1-{kind}", part) for part in dependencies(run, reading))
        if run.null == NEW:
            if kind == "printed":
                yield "R2-printed", run.dealings[reading].mean_margin("margin").on("new facts")
            continue
        yield from ((f"R2-{kind}", part) for part in relations(run, reading))
        yield from ((f"R3-{kind}", part) for part in heads(run, reading))
        yield from ((f"R4-{kind}", part) for part in over_tau(run, reading))
        yield from ((f"R5-{kind}", part) for part in directions(run, reading))
    if run.null != NEW:
        yield from (("R2-which", part) for part in which(run))


def dependencies(run: Run, reading: str) -> list[Estimate]:
    """R1: the margin of the best head of each dependency."""
    null = "new pairs" if run.null == NEW else run.null
    given = run.seed, run.syntax[reading], LESS[reading]
    return [findings.margin(name, *given, [name]).on(null) for name in triplets.SYNTAX]


def relations(run: Run, reading: str) -> list[Estimate]:
    """R2: margins of best heads, by themselves and less those of dealt labels."""
    dealt = run.dealings[reading]
    measures = {"relation": dealt.relation}
    measures |= {"margin": dealt.mean_margin} if reading == "printed" else {"most": dealt.most}
    return _with_shuffled(run, measures)


def heads(run: Run, reading: str) -> list[Estimate]:
    """R3: how many heads hold a relation, how many carry subj and obj, how many are shared."""
    dealt = run.dealings[reading]
    rows = _with_shuffled(run, {"sparse": dealt.sparse, "shared": dealt.shared})
    given = run.seed, run.syntax[reading], LESS[reading]
    true, shuffled = findings.breadth("obj-sparser", *given, dealings=1)
    return [*rows, true.on(run.null), *([] if run.null else [shuffled.on(SHUFFLED)])]


def over_tau(run: Run, reading: str) -> list[Estimate]:
    """R4: how alike maps are at several ratios."""
    maps = run.by_tau(reading)
    return _with_shuffled(
        run, {"stable": lambda part, row=0: findings.stability(part, run.seed, maps, row)}
    )


def directions(run: Run, reading: str) -> list[Estimate]:
    """R5: whether a relation and its reverse share heads more than it and other reverses."""
    dealt = run.dealings[reading]
    rows = _with_shuffled(run, {"both-ways": dealt.both_ways})
    if run.null:
        return rows
    (other,) = derangements(run.seed, 1)
    return [*rows, dealt.both_ways("both-ways", pairing=other).on("other reverse")]


def which(run: Run) -> list[Estimate]:
    """R2-which: relations that some head tells from all else, by three exchange tests."""
    dealt = run.dealings["source"]
    part = told_apart(dealt, run.permutations).on(run.null)
    return [part] if run.null else [part, told_apart(dealt, run.permutations, 1).on(SHUFFLED)]


def told_apart(dealt: Dealings, rounds: int, row: int = 0) -> Estimate:
    """The number of relations that some head passes all three exchange tests for."""
    found = dealt.found
    given = found.encoded.triplets, found.encoded.tokens, dealt.labels[row]
    encoded = replace(found.encoded, triplets=relation_facts.relabelled(*given))
    found = replace(found, encoded=encoded)
    held = found.held(found.p_values(dealt.seed, rounds)["all"])[..., : len(RELATIONS)]
    number = int(held.flatten(0, 1).any(0).sum())
    return findings.count("which", dealt.seed, number, dealt.margins.clusters)


def _with_shuffled(run: Run, measures: Mapping) -> list[Estimate]:
    """Each measure of the truth, and of one dealing of the labels."""
    rows = [measure(part).on(run.null) for part, measure in measures.items()]
    if run.null:
        return rows
    return rows + [measure(part, 1).on(SHUFFLED) for part, measure in measures.items()]


def derangements(seed: int, n: int) -> list[int]:
    """Numbers of n ways to pair every relation with the reverse of another."""
    ways = relation_facts.pairings(len(RELATIONS))
    moved = (ways != ways[0]).all(1).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(seed)
    return moved[torch.randint(len(moved), (n,), generator=generator)].tolist()


# --- how often ---


def trials(run: Run) -> dict[tuple[str, str, str], list[Estimate]]:
    """(Claim, part, null) -> estimates on a hundred dealings of labels or pairings of reverses."""
    found = {}
    for kind, reading in READINGS.items():
        dealt = run.dealings[reading]
        measures = {f"R2-{kind}": {"relation": dealt.relation}}
        measures[f"R2-{kind}"] |= (
            {"margin": dealt.mean_margin} if kind == "printed" else {"most": dealt.most}
        )
        measures[f"R3-{kind}"] = {"sparse": dealt.sparse, "shared": dealt.shared}
        measures[f"R5-{kind}"] = {"both-ways": dealt.both_ways}
        for claim, parts in measures.items():
            for part, measure in parts.items():
                rows = [measure(part, row) for row in range(1, TRIALS + 1)]
                found[claim, part, SHUFFLED] = rows
        given = run.seed, run.syntax[reading], LESS[reading]
        subj_obj = findings.breadth("obj-sparser", *given, dealings=TRIALS)
        found[f"R3-{kind}", "obj-sparser", SHUFFLED] = subj_obj[1:]
        others = [
            dealt.both_ways("both-ways", pairing=way) for way in derangements(run.seed, TRIALS)
        ]
        found[f"R5-{kind}", "both-ways", "other reverse"] = others
    return found


def planted(
    heads_of: Mapping, n: int, documents: int, choices: relation_index.Choices, min_events: int
) -> list[Dealings]:
    """Dealings of n planted models, each of a world of its own, whose heads are `heads_of`."""
    return [_planted(heads_of, s, documents, choices, min_events) for s in range(n)]


def _planted(heads_of: Mapping, seed: int, documents: int, choices, min_events: int) -> Dealings:
    made = planted_relations.relations_by_hand(World(topics=8, seed=seed), seed, heads_of)
    opened = opening.open_model(made.model, tokenizer=made.tokenizer)
    sample = made.world.documents(np.random.default_rng(seed), documents, "graph")
    told = gold.documents(made.world, sample)
    encoded = triplets.collate(told, made.tokenizer, RELATIONS, made.world.context)
    found = relation_maps.measure(opened, encoded, {"source": choices}, min_events=min_events)
    return Dealings(found["source"], LESS["source"], seed, rounds=400)
