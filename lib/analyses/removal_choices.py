"""What may be taken out of one model, and what each choice does: every head by itself, and groups
of heads, in each of the six ways.

Idea. `ablation_effects` judges a few sets of heads on many models. Here a reader asks one model
anything: `of` names the sets, `effects` measures losses, score, and where the induction heads then
look, once for each set and way, so that a figure can show any choice at once:

    named = of(found, previous, drawn)
    effects(run, named, found.of("induction head"))

Caveat. Means over texts without intervals: for looking, not for judging.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lib.analyses.ablation_effects import SIX_WAYS, CleanRun, Heads, Sets, taken_out
from lib.analyses.detection import Detection
from lib.measures import scores
from lib.tracing import interventions

NOTHING = "nothing"
INDUCTION = "all induction heads"
PREVIOUS = "all previous-token heads"


def of(found: Detection, previous: Heads, drawn: Sets) -> dict[str, Sets]:
    """The sets of heads of a model by name: nothing, its induction heads, `drawn` sets of as many
    others, its previous-token heads, and each head."""
    rows = found.heads
    each = {
        f"head {name}": [[(int(layer), int(head))]]
        for name, layer, head in zip(rows.name, rows.layer, rows["head"], strict=True)
    }
    groups = {
        NOTHING: [[]],
        INDUCTION: [found.of("induction head")],
        "as many other heads": drawn,
        PREVIOUS: [list(previous)],
    }
    return groups | each


def effects(run: CleanRun, named: Mapping[str, Sets], readers: Heads) -> pd.DataFrame:
    """One row for each way and each of the named sets, lists of sets averaged: `early loss`, `late
    loss` and in-context `score` in nats, the `share lost` of the score, and `prefix matching`, the
    mean attention that `readers` give to what followed the current token before.

    With patterns held, prefix matching cannot change.
    """
    clean = float(run.score(run.losses).mean())
    rows = []
    for how, held in SIX_WAYS:
        for name, sets in named.items():
            losses = run.without(sets, how, held).mean((0, 1))
            early, late = float(losses[run.early].mean()), float(losses[run.late].mean())
            matching = _matching(run, sets, how, held, readers)
            row = {"removed": name, "how": how, "patterns": "held" if held else "free"}
            row |= {"heads": said(sets), "early loss": early, "late loss": late}
            row |= {"score": late - early, "share lost": 1 - (late - early) / clean}
            rows.append(row | {"prefix matching": float(matching.mean())})
    return pd.DataFrame(rows)


def said(sets: Sets) -> str:
    """Which heads a choice takes out, as `layer.head`."""
    if len(sets) > 1:
        return f"{len(sets[0])} heads at a time, mean over {len(sets)} sets"
    return " ".join(f"{layer}.{head}" for layer, head in sorted(sets[0])) or "none"


def _matching(
    run: CleanRun, sets: Sets, how: str, held: bool, readers: Heads
) -> Float[Tensor, "set head"]:
    """Prefix matching of the readers while each set is out."""
    weight = scores.weights({"prefix": scores.prefix_target(run.tokens)})
    found = []
    for heads in [[]] if held else sets:
        clamp = taken_out(run, interventions.sets([heads], run.opened), how)
        patterns = interventions.patterns(run.opened, run.tokens, [clamp])
        by_layer = [scores.attention_to(pattern, weight)[0].mean(0) for pattern in patterns]
        found.append(torch.stack([by_layer[layer][head] for layer, head in readers]))
    return torch.stack(found)
