"""Every way of filling in what the relation index leaves open, and what follows (chapter 7).

A universe is a combination of choices; a conclusion is a number of relations for which some head
exceeds a null. The head is chosen on half of the topics and measured on the other, both ways: the
largest of many heads exceeds any null by luck.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import torch

from lib.analyses import relation_findings as findings
from lib.analyses import relation_maps
from lib.analyses.relation_maps import Found
from lib.data.triplets import Encoded
from lib.measures import relation_facts, relation_index, relation_tests, statistics
from lib.measures.relation_facts import Facts
from lib.measures.statistics import Estimate

EXCLUSIONS: dict[str, tuple[relation_index.Exclusion, ...]] = {
    "nothing out": (),
    "itself out": ("self",),
    "places out": ("self", "previous", "first"),
}
CHOICES = ["gate", "sharpness", "left out", "input", "averaging"]
AS_PRINTED = {  # beside the ratio of the gate
    "gate": "forward",
    "input": "current",
    "left out": "nothing out",
    "averaging": "pooled",
}
NULLS: dict[str, tuple[str, ...]] = {
    "10th token": ("fake",),
    "any token": ("anywhere",),
    "same class": ("same_class",),
    "same class, other source": ("same_class", "other_source"),
    "these and other relation": ("same_class", "other_source", "other_relation"),
}
CONTROLLED = "same class, other source"
BY = 0.05  # what a best head must exceed a null by
MOST = 4  # relations of seven


def universes(printed: relation_index.Choices) -> dict[str, relation_index.Choices]:
    """Every combination of gate, input, ratio and exclusions, by name.

    `printed` gives the ratio and the fake tail; it is one of them, the first.
    """
    inputs = ("current", "source", "context")
    choices = product(("forward", "embedding"), inputs, (printed.tau, None), EXCLUSIONS.values())
    made = [
        replace(printed, attention=a, ov_input=o, tau=tau, exclude=exclude)
        for a, o, tau, exclude in choices
    ]
    return {", ".join(described(universe).values()): universe for universe in made}


def described(universe: relation_index.Choices) -> dict[str, str]:
    """A universe as columns of a table: gate, sharpness, what is left out, input."""
    left_out = next(name for name, exclude in EXCLUSIONS.items() if exclude == universe.exclude)
    sharpness = "argmax" if universe.tau is None else f"ratio {universe.tau:g}"
    return {
        "gate": universe.attention,
        "sharpness": sharpness,
        "left out": left_out,
        "input": universe.ov_input,
    }


def once_a_triplet(found: Found) -> Found:
    """The same findings with each triplet counted once, however many events it has.

    A cell needs as many triplets as events before.
    """
    return replace(found, sums=relation_tests.per_triplet(found.sums))


def conclusions(
    measured: Mapping[str, Found], variants: Mapping[str, relation_index.Choices], dealings: int = 0
) -> pd.DataFrame:
    """One row for each universe, averaging, null and labelling: the number of relations.

    `row` 0 are the true labels, 1 and up are labels dealt anew among the facts.
    """
    parts = []
    for name, found in measured.items():
        for averaging, one in (("pooled", found), ("triplets", once_a_triplet(found))):
            frame = _counted(one, dealings).assign(averaging=averaging)
            parts.append(frame.assign(**described(variants[name])))
    return pd.concat(parts, ignore_index=True)


def _counted(found: Found, dealings: int) -> pd.DataFrame:
    controls = list(dict.fromkeys(name for less in NULLS.values() for name in less))
    facts = found.facts(tuple(controls))
    generator = torch.Generator().manual_seed(0)
    labels = torch.cat([facts.label[None], relation_facts.deal(facts, generator, dealings)])
    parts, filled = [], bool(found.summary["index"].isfinite().any())
    for null, less in NULLS.items():
        rows = [controls.index(name) for name in less]
        counts = _exceeding(_less(facts, rows), labels, found.min_events)
        parts.append(pd.DataFrame({"null": null, "row": range(len(counts)), "relations": counts}))
    return pd.concat(parts).assign(filled=filled)


def _less(facts: Facts, rows: list[int]) -> Facts:
    return replace(facts, above=facts.above[rows], below=facts.below[rows])


def _exceeding(facts: Facts, labels: torch.Tensor, min_events: int) -> list[int]:
    """Number of relations, per labelling, whose best head exceeds the null where it is measured."""
    generator = torch.Generator().manual_seed(0)
    margins = relation_facts.margins(facts, labels, min_events, generator, rounds=1)
    return (margins.value.nan_to_num(-1) > BY).sum(1).tolist()


def share(counted: pd.DataFrame, part: str, seed: int, row: int = 0) -> Estimate:
    """The share of all universes, under all nulls, in which most relations exceed the null."""
    rows = counted[counted.row == row]
    value = float((rows.relations >= MOST).mean())
    return Estimate(part, seed, value, value, value, len(rows))


def former_share(counted: pd.DataFrame, part: str, seed: int) -> Estimate:
    """The same under both controls, among universes that fill a cell and read no current token."""
    kept = counted.filled & (counted.input != "current") & (counted["null"] == CONTROLLED)
    return share(counted[kept], part, seed)


def possible(counted: pd.DataFrame) -> float:
    """The share of universes that could pass whatever the weights are.

    Not those without a filled cell, nor an exchange of head tokens that the input does not read.
    """
    exchanged = counted["null"].isin(
        [null for null, less in NULLS.items() if "other_source" in less]
    )
    return float((counted.filled & ~(exchanged & (counted.input == "current"))).mean())


def effects(counted: pd.DataFrame) -> pd.DataFrame:
    """Mean number of relations over all universes that make a choice: a row per value of it."""
    parts = []
    for column in CHOICES:
        table = counted.pivot_table("relations", column, "null")[list(NULLS)]
        frame = table.reset_index().rename(columns={column: "value"})
        frame.insert(0, "choice", column)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def agreement(measured: Mapping[str, Found], reference: Found) -> pd.DataFrame:
    """Rank correlation of each universe's map with a reference's, over the cells that both fill."""
    target, rows = reference.summary["index"].flatten(), []
    for name, found in measured.items():
        index = found.summary["index"].flatten()
        both = index.isfinite() & target.isfinite()
        known = int(both.sum()) > 4
        value = statistics.spearman(index[both], target[both]) if known else float("nan")
        rows.append({"universe": name, "rank correlation": value, "cells": int(both.sum())})
    return pd.DataFrame(rows)


def passing(found: Found, seed: int, rounds: int = 500) -> dict[str, set[tuple[int, int, str]]]:
    """The (layer, head, relation) that a null lets pass: by 0.05, or by one to three tests."""
    tests = found.p_values(seed, rounds)
    index, anywhere = (found.summary[name].nan_to_num(0) for name in ("index", "anywhere"))
    masks = {"any token": index > anywhere + BY}
    for title, name in (("1 test", "same_class"), ("2 tests", "both"), ("3 tests", "all")):
        masks[title] = tests[name] < findings.LEVEL
    names = found.encoded.triplets.names
    return {null: findings.pairs(mask, names) for null, mask in masks.items()}


def against_truth(
    measured: Mapping[str, Found], variants: Mapping, made, seed: int
) -> pd.DataFrame:
    """For each universe and null, how many planted pairs are found, how many others flagged, and
    how far that is from what the universe's input can show: pairs missed or added (`wrong`)."""
    rows, truth = [], made.truth("context")
    for name, found in measured.items():
        own = made.truth(variants[name].ov_input)
        for null, pairs in passing(found, seed).items():
            counts = {"planted found": len(pairs & truth), "others flagged": len(pairs - truth)}
            row = described(variants[name]) | {"null": null} | counts
            rows.append(row | {"wrong": len(pairs ^ own), "perfect": pairs == own})
    return pd.DataFrame(rows)


def most_lenient(rows: pd.DataFrame) -> pd.Series:
    """Of the rows of `against_truth` the one in which most pairs pass, with the share of them that
    was planted: what a reader sees of a search that reports its richest result."""
    passed = rows["planted found"] + rows["others flagged"]
    row = rows.loc[passed.idxmax()]
    return pd.concat([row, pd.Series({"share planted": row["planted found"] / passed.max()})])


def perfect_again(were: pd.DataFrame, opened, facts: Encoded, few: Mapping, made, seed: int) -> int:
    """How many of the combinations `were` of a universe and a null, made of the universes `few`,
    find exactly what was planted in another model `made`, too."""
    found = relation_maps.measure(opened, facts, few, min_events=5)
    ruled = against_truth(found, few, made, seed)
    same = [name for name in CHOICES if name != "averaging"]
    return len(were.merge(ruled[ruled.perfect], on=[*same, "null"]))


def by_luck(counted: pd.DataFrame) -> tuple[float, float]:
    """The share of universes with dealt labels in which most relations exceed the null: any token,
    and the strictest."""
    rows = counted[counted.row > 0]
    shares = (rows.relations >= MOST).groupby(rows["null"]).mean()
    return float(shares["any token"]), float(shares[list(NULLS)[-1]])


def means(counted: Iterable[pd.DataFrame], averaging: str) -> pd.DataFrame:
    """The number of relations in each universe, mean over organisms, true labels."""
    rows = pd.concat(counted).query("row == 0 and averaging == @averaging")
    keys = [*CHOICES, "null"]
    return rows.groupby(keys, sort=False).relations.mean().reset_index()


def as_printed(rows: pd.DataFrame) -> pd.Series:
    """Which rows are the paper's own universe: its choices, with whichever null."""
    return (rows[list(AS_PRINTED)] == pd.Series(AS_PRINTED)).all(axis=1) & (
        rows.sharpness != "argmax"
    )


def strongest(table: pd.DataFrame) -> tuple[str, float]:
    """The choice whose values differ most under both controls, and by how much."""
    spread = table.groupby("choice")[CONTROLLED].agg(np.ptp)
    return spread.idxmax(), float(spread.max())
