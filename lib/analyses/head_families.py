"""Which heads are called what: one score a head and family, and the sets that are compared.

Idea. Every paper names heads by a score of its own: *semantic* induction heads by the relation
index, *induction* heads by prefix matching, *function-vector* heads by what they carry of a task.
A family here is the best few heads by its score. In a small model families overlap, so each is
also taken without the best of another: the best few of what is left, so that the number stays.

    heads = of_world(opened, world, corpus, rng, p)
    heads.best("semantic", 3)                            # [(1, 4), (0, 2), (1, 0)]
    heads.best("semantic", 3, without="induction")
    heads.like(heads.best("semantic", 3), rng, draws=20) # other heads of like attention entropy
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.analyses import detection, function_vectors, relation_maps
from lib.analyses.ablation_effects import Heads, Sets
from lib.data.triplets import Encoded
from lib.measures import relation_index
from lib.tracing import batches, capture

SEMANTIC, PRINTED, INDUCTION, VECTORS = "semantic", "printed", "induction", "vectors"
FAMILIES = (SEMANTIC, PRINTED, INDUCTION, VECTORS)
NEAREST = 6  # so many heads of like entropy may stand for one


@dataclass(frozen=True)
class Families:
    """Scores of all heads, each [layer, head]: of the families by their names (semantic heads by
    the relation index read at the source and as printed), `previous` (attention to the token
    before), `copying`, and the `entropy` of attention in nats."""

    scores: Mapping[str, Float[Tensor, "layer head"]]

    def order(self, family: str) -> list[tuple[int, int]]:
        """All heads, from the best of a family on; ties in the order of the heads."""
        score = self.scores[family]
        ranks = score.flatten().argsort(descending=True, stable=True).tolist()
        return [divmod(rank, score.shape[1]) for rank in ranks]

    def best(self, family: str, k: int, without: str = "") -> list[tuple[int, int]]:
        """The best k heads of a family, or of those that are not among the best k of another."""
        other = self.order(without)[:k] if without else []
        return [head for head in self.order(family) if head not in other][:k]

    def shared(self, families: tuple[str, ...], k: int) -> list[tuple[int, int]]:
        """Heads that are among the best k of all these families."""
        first, *rest = (self.order(family)[:k] for family in families)
        others = set.intersection(*map(set, rest))
        return [head for head in first if head in others]

    def like(self, heads: Heads, rng: np.random.Generator, draws: int) -> Sets:
        """At most `draws` different sets of other heads, one for each of these from among the
        nearest in attention entropy."""
        entropy, chosen = self.scores["entropy"], set(heads)
        others = [head for head in product(*map(range, entropy.shape)) if head not in chosen]
        near = [self._nearest(head, others) for head in heads]
        every = {tuple(sorted(set(pick))) for pick in product(*near)}
        whole = sorted(pick for pick in every if len(pick) == len(chosen))
        return [list(whole[i]) for i in rng.permutation(len(whole))[:draws]]

    def _nearest(self, head: tuple[int, int], others: Heads) -> list[tuple[int, int]]:
        """The other heads nearest in entropy."""
        entropy = self.scores["entropy"]
        return sorted(others, key=lambda other: abs(float(entropy[other] - entropy[head])))[
            :NEAREST
        ]

    def table(self, k: int) -> pd.DataFrame:
        """One row a head: its name, its layer, every score, and in which families it is."""
        places = list(product(*map(range, self.scores["entropy"].shape)))
        rows = {"head": [f"{layer}.{head}" for layer, head in places]}
        rows["layer"] = [layer for layer, _ in places]
        rows |= {name: score.flatten().tolist() for name, score in self.scores.items()}
        best = {family: self.best(family, k) for family in FAMILIES if family in self.scores}
        member = []
        for place in places:
            own = [family for family in best if place in best[family]]
            member.append(", ".join(own) or "none")
        return pd.DataFrame(rows | {"families": member})


def of_world(opened, world, corpus: Mapping[str, Encoded], rng: np.random.Generator, p) -> Families:
    """Scores of a model that learnt a world: relation indexes on documents of its facts and its
    sentences."""
    index = relations(opened, corpus, p)
    asked = {"shots": p.causal_shots, "n": p.causal_prompts}
    vectors = function_vectors.measure(opened, world, rng, **asked).scores
    return Families(index | literal(opened, rng, p.examples) | {VECTORS: vectors})


def relations(opened, corpus: Mapping[str, Encoded], p) -> dict[str, Float[Tensor, "layer head"]]:
    """The largest relation index of each head over all relations, 0 where nothing passed the gate
    often enough: read at the source, and as printed."""
    readings = {
        SEMANTIC: replace(relation_index.CALIBRATED, tau=p.tau),
        PRINTED: replace(relation_index.PRINTED, tau=p.tau),
    }
    indexes = {name: [] for name in readings}
    for encoded in corpus.values():
        found = relation_maps.measure(opened, encoded, readings, min_events=p.min_events)
        for name, one in found.items():
            indexes[name].append(one.summary["index"])
    largest = lambda parts: torch.cat(parts, -1).nan_to_num(0).amax(-1)
    return {name: largest(parts) for name, parts in indexes.items()}


def literal(
    opened, rng: np.random.Generator, examples: int
) -> dict[str, Float[Tensor, "layer head"]]:
    """Prefix matching, attention to the token before, copying, and the entropy of attention, on
    repeated random tokens."""
    tokens = repeats(opened, rng, examples)
    seen = detection.attention_scores(opened, tokens, rng)
    looks = {INDUCTION: seen["prefix"].mean(0), "previous": seen["previous"].mean(0)}
    copied = detection.copying_scores(opened, tokens)["copying"].mean(0)
    return looks | {"copying": copied, "entropy": entropies(opened, tokens)}


def repeats(opened, rng: np.random.Generator, examples: int) -> Int[Tensor, "text position"]:
    """Blocks of 15 random tokens, four times each."""
    return detection.random_repeats(opened, rng, length=15, repeats=4, examples=examples)


def entropies(opened, tokens: Int[Tensor, "text position"]) -> Float[Tensor, "layer head"]:
    """Mean entropy in nats of where each head looks, over texts and queries."""

    def measure(layer: int, z: Tensor, pattern: Tensor) -> dict[str, Tensor]:
        return {"entropy": torch.special.entr(pattern.float()).sum(-1).mean(2)}

    each = lambda part: capture.stream(opened, part, measure)["entropy"]
    return batches.fitting(each, tokens, along=1).mean(1)
