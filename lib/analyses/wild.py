"""What published ways of finding and removing heads do, where they need more than a pattern.

    removed_slices(opened, tokens)          # not heads: slices of what the attention block writes
    removed_heads(opened, tokens)           # heads, each cut at the input of the output projection
    read_again(opened.tokenizer, tokens)    # tokens put into words and read anew

The chapter "Detectors in the wild" holds them against planted truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.models.planted import Planted
from lib.tracing import capture, interventions


def removed_heads(
    opened, tokens: Int[Tensor, "text position"]
) -> Float[Tensor, "layer head text position_minus_1"]:
    """Losses without each head, patterns free."""
    gone = interventions.Silence(interventions.every_head(opened))
    return interventions.run(opened, tokens, [gone]).unflatten(0, (opened.n_layers, -1))


@torch.no_grad()
def removed_slices(
    opened, tokens: Int[Tensor, "text position"]
) -> Float[Tensor, "layer head text position_minus_1"]:
    """Losses with one slice after the other of the attention block's output set to zero, as many
    slices as there are heads. The output projection has mixed the heads by then."""
    width = opened.d_model // opened.n_heads
    losses = []
    for layer, head in np.ndindex(opened.n_layers, opened.n_heads):
        cut = slice(head * width, (head + 1) * width)
        block = getattr(opened.block(layer), opened.architecture.attention)
        hook = block.register_forward_hook(lambda _, __, out, cut=cut: _without(out, cut))
        try:
            logits = opened.module(tokens.to(opened.device)).logits
        finally:
            hook.remove()
        losses.append(capture.losses_of(logits, tokens).cpu())
    return torch.stack(losses).unflatten(0, (opened.n_layers, -1))


def _without(output: tuple[Tensor, ...], cut: slice) -> tuple[Tensor, ...]:
    written = output[0].clone()
    written[..., cut] = 0
    return written, *output[1:]


def read_again(tokenizer, tokens: Int[Tensor, "text position"]) -> list[Int[Tensor, "1 place"]]:
    """Each text, less its first token, written out and tokenised again behind that token."""
    read = []
    for first, *row in tokens.tolist():
        ids = tokenizer(tokenizer.decode(row), add_special_tokens=False)["input_ids"]
        read.append(torch.tensor([[first, *ids]]))
    return read


def coming_again(
    tokens: Int[Tensor, "text position"], length: int, distance: int
) -> Int[Tensor, "text position"]:
    """The same texts, whose last `length` tokens are those that stand `distance` places before."""
    made, end = tokens.clone(), tokens.shape[1]
    made[:, end - length :] = tokens[:, end - length - distance : end - distance]
    return made


def verdicts(
    made: Planted, passed: dict[str, Bool[Tensor, "layer head"]], wanted: str = "induction head"
) -> pd.DataFrame:
    """One row for each way and each planted head, and one for all heads of noise: `way`, `head`,
    `kind`, whether the head is `wanted`, and the share of such heads that the way `names`."""
    kinds, rows = made.names(), []
    for way, mask in passed.items():
        named = {f"{i}.{h}": float(mask[i, h]) for i, h in np.ndindex(*mask.shape)}
        rows += [(way, head, kind, kind == wanted, named[head]) for head, kind in kinds.items()]
        noise = [hit for head, hit in named.items() if head not in kinds]
        rows.append((way, "noise", "noise", False, sum(noise) / len(noise)))
    found = pd.DataFrame(rows, columns=["way", "head", "kind", "wanted", "names"])
    return found.sort_values("head", kind="stable").reset_index(drop=True)


def summary(found: pd.DataFrame, ways: Sequence[str]) -> pd.DataFrame:
    """One row a way: how many of the wanted heads it finds and misses, and what it names besides
    them."""
    rows = []
    for way in ways:
        heads = found[found.way == way]
        right, wrong = heads[heads.wanted], heads[~heads.wanted & (heads.names > 0)]
        hits = int(right.names.sum())
        told = [f"{row.head} {row.kind}" for row in wrong.itertuples() if row.kind != "noise"]
        told += [
            f"{100 * row.names:.0f} % of the noise"
            for row in wrong.itertuples()
            if row.kind == "noise"
        ]
        besides = {"named besides": ", ".join(told) or "–"}
        rows.append({"way": way, "found": hits, "missed": len(right) - hits} | besides)
    return pd.DataFrame(rows)
