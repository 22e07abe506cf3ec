"""Pages that are made from data other than verdicts: the parameters and the benchmarks."""

from __future__ import annotations

import html
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from lib import profiles
from lib.report import cards, provenance
from pipeline.markup import table


def parameters(profile: profiles.Profile) -> str:
    """A page with every parameter: type, bounds, default, this run's value, and what it is for."""
    made_with = f"this site was made with `params/{profile.profile}.yaml`."
    lines = [
        "# Parameters",
        "",
        f"These parameters are set in `params/*.yaml`; {made_with}",
        "A chapter declares those that it uses, and papermill sets them with `-f` and `-p`.",
        "",
    ]
    for group in profiles.GROUPS:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", group.__name__).capitalize()
        lines += [f"## {name}", "", group.__doc__ or "", ""]
        rows = [
            _parameter(name, field, getattr(profile, name))
            for name, field in group.model_fields.items()
        ]
        lines += [
            table(("Parameter", "Type", "Default", "This site", "Meaning"), rows, "bk-parameters"),
            "",
        ]
    return "\n".join(lines)


def benchmarks(file: Path) -> str:
    """A page with the last `make bench`."""
    lines = ["# Benchmarks", "", BENCHMARKS_INTRO, ""]
    record = json.loads(file.read_text())
    lines += [
        f"**{html.escape(str(key))}**: {html.escape(str(value))}\n"
        for key, value in record.get("setting", {}).items()
    ]
    rows = record.get("rows", [])
    head = tuple(rows[0]) if rows else ()
    cells = [
        [html.escape(cards.short(v) if isinstance(v, float) else str(v)) for v in row.values()]
        for row in rows
    ]
    return "\n".join([*lines, table(head, cells, "bk-benchmarks")])


BENCHMARKS_INTRO = """\
`make bench` measures the detection of all heads and the relation index against plain forward
passes, and writes this page's numbers.
Only ratios within one run mean something; the times themselves depend on the machine."""


def _parameter(name: str, field: Any, value: Any) -> list[str]:
    default = json.dumps(field.default, ensure_ascii=False)
    own = json.dumps(provenance.public(value), ensure_ascii=False)
    kind = html.escape(" ".join(filter(None, [_type(field.annotation), _bounds(field.metadata)])))
    meaning = html.escape(field.description or "").replace("`", "")
    return [
        f"<code>{name}</code>",
        kind,
        f"<code>{html.escape(default)}</code>",
        f"<code>{html.escape(own)}</code>",
        meaning,
    ]


def _type(annotation: Any) -> str:
    """A type in words that a writer of YAML understands."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return " ".join(filter(None, [_type(inside[0]), _bounds(inside[1:])]))
    if origin is list:
        return f"list of {_type(inside[0])}"
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, inside))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("nothing" if part is type(None) else _type(part) for part in inside)
    named = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    return (named | {"dict": "names and values"}).get(annotation.__name__, annotation.__name__)


def _bounds(metadata: Any) -> str:
    """Bounds such as `>= 0, < 5`; those of an `Annotated[…, Field(…)]` sit one level deeper."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    flat = [inner for bound in metadata for inner in getattr(bound, "metadata", [bound])]
    found = ((sign, getattr(bound, key, None)) for bound in flat for key, sign in signs.items())
    return ", ".join(f"{sign} {value}" for sign, value in found if value is not None)
