"""What the figures of the relation index show, as tables: one function a figure.

Frames have a row per mark; `relation_maps.Found` and `relation_findings.Dealings` come in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.analyses import relation_findings as findings
from lib.analyses.relation_findings import Dealings
from lib.analyses.relation_maps import Found
from lib.data import gold, lexicon, triplets
from lib.data.triplets import Document, Encoded
from lib.measures import relation_facts, relation_index, relation_places, relation_tests
from lib.tracing import capture

CONTROLS_SHOWN = {
    "index": "index",
    "anywhere": "any token",
    "same_class": "other tails",
    "other_source": "other head tokens",
}


def encode(world, rng, n: int, kind: str, tokenizer, relations: Sequence[str], p) -> Encoded:
    """Documents of a world, with their triplets read both ways, on a model's tokens."""
    told = gold.documents(world, world.documents(rng, n, kind))
    given = tokenizer, relations, world.context
    return triplets.collate(told, *given, True, p.pieces, p.alternatives)


def collated(documents: Sequence[Document], opened, relations: Sequence[str], p) -> Encoded:
    """Documents of any kind on an opened model's tokens, their triplets read both ways."""
    given = opened.tokenizer, relations, opened.context
    return triplets.collate(documents, *given, True, p.pieces, p.alternatives)


def corpus(world, rng, tokenizer, p) -> dict[str, Encoded]:
    """Documents of both kinds: facts of the graph, and sentences."""
    given = world, rng, p.documents
    return {
        "graph": encode(*given, "graph", tokenizer, list(lexicon.RELATIONS), p),
        "syntax": encode(*given, "sentences", tokenizer, list(triplets.SYNTAX), p),
    }


def beside_controls(found: Found, relation: str) -> pd.DataFrame:
    """The map of one relation and those of its controls: layer, head, panel, value."""
    number = found.encoded.triplets.names.index(relation)
    parts = []
    for name, title in CONTROLS_SHOWN.items():
        values = found.summary[name][..., number]
        parts.append(grid(values).assign(panel=title))
    return pd.concat(parts)


def grid(values: Tensor) -> pd.DataFrame:
    """A map [layer, head] as rows: layer, head, value."""
    places = pd.MultiIndex.from_product([range(n) for n in values.shape], names=["layer", "head"])
    return pd.DataFrame({"value": values.flatten().tolist()}, index=places).reset_index()


def beside_null(rows: pd.DataFrame, nulls: list[str], framed: str) -> pd.DataFrame:
    """Each relation's map, followed by that of the largest of its nulls: columns `panel`,
    `shown`."""
    title = rows.relation.str.removeprefix("reversed ")
    null = rows[nulls].max(axis=1).where(rows["index"].notna())
    beside = rows.assign(panel=title + ": null", shown=null, **{framed: False})
    both = pd.concat([rows.assign(panel=title, shown=rows["index"]), beside])
    return both.sort_values("relation", key=told(rows.relation), kind="stable")


def told(names: pd.Series) -> Callable[[pd.Series], pd.Series]:
    """A key that sorts by names in the order in which they are told first."""
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return lambda column: column.map(place)


def planted(plan: Mapping, found: Mapping[str, Found], flags: Mapping[str, set]) -> pd.DataFrame:
    """One row a planted head: what it is, what finds it, its indexes and controls."""
    names = next(iter(found.values())).encoded.triplets.names
    rows = []
    for place, (kind, relation) in plan.items():
        row = {"attention head": f"{place[0]}.{place[1]}", "planted as": kind}
        row["relation"] = relation
        for reading, flagged in flags.items():
            row[f"found ({reading})"] = "yes" if (*place, relation) in flagged else "no"
        cell = (*place, names.index(relation))
        for reading, one in found.items():
            row[reading] = float(one.summary["index"][cell])
        row["any token"] = float(found["printed"].summary["anywhere"][cell])
        for name in relation_tests.TESTED:
            row[name.replace("_", " ")] = float(found["context"].summary[name][cell])
        rows.append(row)
    return pd.DataFrame(rows)


def best(runs: Iterable, readings: Iterable[str]) -> pd.DataFrame:
    """The best heads of every relation, by what documents they are measured on and by reading."""
    parts = []
    for run in runs:
        for reading in readings:
            for found in (run.graph[reading], run.syntax[reading]):
                frame = findings.best_heads(found, findings.LESS[reading], run.seed)
                parts.append(frame.assign(reading=reading, documents=run.null or "trained"))
    return pd.concat(parts)


def dealt(dealings: Dealings, title: str) -> pd.DataFrame:
    """Per relation how far its best head stands out, beside 95 % of dealt labels, and p."""
    value = dealings.standing
    edges = value[1:].quantile(torch.tensor([0.025, 0.975]), 0)
    names = dealings.found.encoded.triplets.names[: value.shape[1]]
    columns = {"observed": value[0], "low": edges[0], "high": edges[1]}
    columns["p"] = relation_facts.beyond_dealings(value[0], value[1:])
    told = {name: column.tolist() for name, column in columns.items()}
    return pd.DataFrame({"model": title, "relation": names} | told)


def winners(found: Iterable[Found]) -> pd.DataFrame:
    """Share of each relation's triplets for which a head has the largest share."""
    rows = []
    for one in found:
        share, heads = findings.most_active(one), one.sums["tail"].shape[1]
        for r, relation in enumerate(one.encoded.triplets.names):
            for place, value in enumerate(share[..., r].flatten().nan_to_num(0).tolist()):
                head = f"{place // heads}.{place % heads}"
                rows.append({"head": head, "relation": relation, "share": value})
    return pd.DataFrame(rows)


def overlaps(dealings: Mapping[str, Dealings]) -> pd.DataFrame:
    """Overlap of heads between relations, and of both directions, beside what chance gives."""
    rows = []
    for title, one in dealings.items():
        ways = relation_facts.pairings(one.facts.labels)
        paired = relation_facts.both_ways(one.reverses[:1], ways)[0]
        for what, observed, rest in (
            ("two relations", one.shared_heads[0], one.shared_heads[1:]),
            ("a relation and its reverse", paired[0], paired[1:]),
        ):
            edges = rest.nanquantile(torch.tensor([0.025, 0.975])).tolist()
            row = {"model": title, "heads of": what, "overlap": float(observed)}
            rows.append(row | {"low": edges[0], "high": edges[1]})
    return pd.DataFrame(rows)


def ratios(counts: Tensor, edges: Sequence[float]) -> pd.DataFrame:
    """Share of dominance ratios above each edge, by what is counted; counts are [2, bin]."""
    above = 1 - (counts / counts.sum(1, keepdim=True)).cumsum(1)[:, :-1]
    parts = []
    for name, row in zip(("all heads and triplets", "heads that look there"), above, strict=True):
        parts.append(pd.DataFrame({"ratio": edges, "share above": row.tolist(), "counted": name}))
    return pd.concat(parts)


def raised(opened, page: Encoded, place: tuple[int, int], source: int) -> dict[str, float]:
    """What a head raises among a document's words when it reads one of them, largest first."""
    seen = relation_places.see(page.tokens)
    share = _raised(opened, page.tokens, place, source)
    words = opened.tokenizer.convert_ids_to_tokens(seen.vocabulary[seen.distinct[0]])
    return dict(sorted(zip(words, share.tolist(), strict=True), key=lambda pair: -pair[1]))


@capture.there
def _raised(
    opened, tokens: Int[Tensor, "1 position"], place: tuple[int, int], source: int
) -> Float[Tensor, "distinct"]:
    """What a head raises of the distinct tokens of one document when it reads one of them."""
    seen, (layer, head) = relation_places.moved(relation_places.see(tokens), opened.device), place
    w = opened.head_weights(layer)
    values = relation_index.embedding_values(opened.W_E[seen.vocabulary], w.W_V, seen)
    unembedding = opened.unembedding(seen.vocabulary)
    logits = relation_index.project(values, w.W_O, unembedding, seen)[0, head, source]
    return relation_index.shares(logits[None], seen.count[0, -1:])[0].cpu()


def raised_tails(opened, page: Encoded, place: tuple[int, int], relation: str) -> pd.DataFrame:
    """For each triplet of a relation in one document: the tail's share, and what is raised most."""
    words = opened.tokenizer.convert_ids_to_tokens(page.tokens[0])
    here = page.triplets.at(page.triplets.relation == page.triplets.names.index(relation))
    rows = []
    for source, target in dict(
        zip(here.source.tolist(), here.target.tolist(), strict=True)
    ).items():
        told = raised(opened, page, place, source)
        most = ", ".join(f"{word} {share:.2f}" for word, share in list(told.items())[:4])
        row = {"looks at": words[source], "tail": words[target], "its share": told[words[target]]}
        rows.append({"relation": relation} | row | {"raises most": most})
    return pd.DataFrame(rows).drop_duplicates(["looks at", "tail"])
