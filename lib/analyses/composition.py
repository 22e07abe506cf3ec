"""How heads work together: through which patterns, through which weights, and what each says to the
logits.

Idea. An induction head needs a previous-token head before it, which acts on the model through the
patterns of later layers alone. So three questions about a circuit, each with its own measure:

    previous_token_heads(opened, tokens, .3, before_layer=1)    # who looks one place back
    k_composition(opened, 0, 1)                                 # whose keys read whom (weights)
    pattern_path(run, clamps)                                   # losses, if only patterns feel it
    direct_logits(opened, tokens)                               # who says the next token

Caveat. Composition of weights is measured without the norm between the layers, up to its scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lib.analyses.ablation_effects import CleanRun, Heads
from lib.measures import circuits, scores
from lib.measures.statistics import Interval, ratio
from lib.tracing import batches, capture, interventions


def previous_token_heads(
    opened, tokens: Int[Tensor, "text token"], threshold: float, before_layer: int
) -> list[tuple[int, int]]:
    """Heads below a layer that give at least `threshold` of their attention to the token before, on
    average over the queries whose token is new. (Where a token has been seen, nothing needs to be
    noted for later.)"""
    if not before_layer:
        return []
    target = scores.previous_target(tokens) & scores.first_occurrence(tokens)[:, :, None]

    def looks_back(part: Tensor, weight: Tensor) -> Tensor:
        near = capture.near(opened, weight[None])
        measure = lambda layer, z, pattern: {"score": scores.attention_to(pattern, near)[0]}
        return capture.stream(opened, part, measure, range(before_layer))["score"]

    weight = scores.weights({"previous": target})[0]
    found = batches.fitting(looks_back, tokens, weight, along=1).mean(1)
    return [(int(i), int(h)) for i, h in (found >= threshold).nonzero()]


def recovered(
    gone: Float[Tensor, "text position"],
    put: Float[Tensor, "text position"],
    clean: Float[Tensor, "text position"],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Interval:
    """Share of the loss that removing heads costs which an ideal pattern in their place gives back:
    1 is all of it."""
    return ratio((gone - put).mean(1), (gone - clean).mean(1), rng, resamples)


def pattern_path(
    run: CleanRun, clamps: Sequence[interventions.Clamp], first: int = 1
) -> Float[Tensor, "text position"]:
    """Losses if clamps reach the model through the patterns of layers from `first` on, and through
    nothing else.

    The patterns are those under the clamps; everything else is as in the clean run.
    """
    changed = interventions.patterns(run.opened, run.tokens, clamps)
    return run.under(interventions.held(torch.cat([run.patterns[:first], changed[first:]])))


def transplanted(
    run: CleanRun,
    heads: Heads,
    exact: Float[Tensor, "#text query key"],
    rng: np.random.Generator,
    first: int | None = None,
) -> dict[str, Interval]:
    """Share of the loss that comes back when removed heads get an `ideal` pattern, and when they
    get a `uniform` one instead; `first`: through the patterns of layers from there on alone."""

    def losses(clamp: interventions.Clamp) -> Tensor:
        return run.under([clamp]) if first is None else pattern_path(run, [clamp], first)

    chosen = interventions.sets([heads], run.opened)
    gone = losses(interventions.Silence(chosen))
    shapes = {"ideal": exact, "uniform": interventions.uniform_pattern(run.tokens.shape[1])}
    given = {name: losses(interventions.Put(chosen, shape)) for name, shape in shapes.items()}
    return {name: recovered(gone, put, run.losses, rng) for name, put in given.items()}


@capture.there
def k_composition(opened, earlier: int, later: int) -> Float[Tensor, "head_earlier head_later"]:
    """K-composition scores of all heads of a layer with all heads of a later one."""
    writer, reader = opened.head_weights(earlier), opened.head_weights(later)
    return circuits.k_composition(writer.W_V, writer.W_O, reader.W_Q, reader.W_K).cpu()


def reading_frame(
    reads: Float[Tensor, "head_earlier head_later"], previous: Heads, induction: Heads, seed: int
) -> pd.DataFrame:
    """One row per pair of heads of layers 0 and 1: what kind the writer and the reader are, and
    their K-composition."""
    rows = []
    for (writer, reader), score in np.ndenumerate(reads.numpy()):
        kinds = {
            "writer": "previous-token head" if (0, writer) in previous else "other head",
            "reader": "induction head" if (1, reader) in induction else "other head",
        }
        pair = {"pair": f"0.{writer} to 1.{reader}", "seed": seed, "K-composition": float(score)}
        rows.append(kinds | pair)
    return pd.DataFrame(rows)


@capture.there
def direct_logits(
    opened, tokens: Int[Tensor, "text token"]
) -> Float[Tensor, "text position layer head"]:
    """What each head adds to the logit of the token that comes next, over the mean of the
    vocabulary, on its direct path (direct logit attribution).

    A place holds what is said there of the token after it. The final norm's scale is that of the
    clean pass.
    """
    columns = opened.unembedding(tokens[:, 1:].flatten()) - opened.unembedding_mean()[:, None]
    towards = columns.T.unflatten(0, tokens[:, 1:].shape).cpu()  # [text, position, d_model]
    towards = towards * opened.final_scale(capture.before_unembedding(opened, tokens))[:, :-1]

    def said(part: Tensor, towards: Tensor) -> Tensor:
        def says(layer: int, z: Tensor, pattern: Tensor) -> dict[str, Tensor]:
            W_O = opened.head_weights(layer).W_O
            z = z[:, :-1].float()
            return {"said": torch.einsum("bqhd,hde,bqe->bqh", z, W_O, towards.to(W_O))}

        return capture.stream(opened, part, says)["said"]

    return batches.fitting(said, tokens, towards, along=1).permute(1, 2, 0, 3)
