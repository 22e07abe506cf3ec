"""Interventions on an opened model: silence heads, replace what they say, hold or put patterns,
hide keys.

Idea. One vocabulary with `clamping`: a clamp has places, and says what stands there from now on.
Here the places are `"0.pattern"` and `"0.z"`, layer by layer; z is what a head writes before the
output projection mixes the heads. (Editing the attention block's output is too late: a slice of it
is no head.) Sets of heads stand side by side in one batch, as runs do there:

    gone = Silence(sets([[(1, 2)], [(1, 2), (1, 6)]], opened))
    run(opened, tokens, [gone])                      # losses [set, text, position - 1]
    run(opened, tokens, [gone, *held(patterns)])     # the same, all patterns as they were
    run(opened, tokens, [Replace(every_head(opened), clean)], last)     # exact patching

`gradients` is the fast screen for the last: one backward pass says, to first order, what all heads
would do (attribution patching). It is exact where the answer is linear in a head's output, and a
softmax is not linear, so hold it against `run` before it is believed.

Caveats. With patterns held, a head can only act by what it writes for values and logits. A
previous-token head acts through later patterns, so a pattern-preserving ablation cannot show what
it is for (Olsson et al., "Ablations"). With `last`, only the logits after the last token are made,
from the output of the final norm: the unembedding of all other positions would be most of the work
in a model with many words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import nnsight
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.tracing import batches, capture
from lib.tracing.clamping import Clamp, Hold, Passing

Heads = Sequence[tuple[int, int]]
AT_ONCE = 128  # prompts in a pass: more do not fit the caches of a processor


def sets(groups: Sequence[Heads], opened) -> Bool[Tensor, "set layer head"]:
    """Sets of (layer, head) as masks. Error: ValueError for a head that the model does not have."""
    chosen = torch.zeros(len(groups), opened.n_layers, opened.n_heads, dtype=torch.bool)
    for row, heads in zip(chosen, groups, strict=True):
        for layer, head in heads:
            if not (0 <= layer < opened.n_layers and 0 <= head < opened.n_heads):
                raise ValueError(
                    f"Head {layer}.{head} is not in {opened.name}: layers "
                    f"0..{opened.n_layers - 1}, heads 0..{opened.n_heads - 1}."
                )
            row[layer, head] = True
    return chosen


def every_head(opened) -> Bool[Tensor, "set layer head"]:
    """Each head of the model as a set of its own, in their order."""
    size = opened.n_layers * opened.n_heads
    return torch.eye(size, dtype=torch.bool).unflatten(1, (opened.n_layers, opened.n_heads))


# --- the vocabulary ---


@dataclass(frozen=True)
class OfHeads(Clamp):
    """Sets one kind of intermediate for some heads: of each set its own, or of one for all sets."""

    heads: Bool[Tensor, "set layer head"]
    kind: ClassVar[str] = "z"

    @property
    def places(self) -> tuple[str, ...]:
        """Those of layers in which there is a head; the others are not even looked at."""
        layers = self.heads.any(2).any(0).nonzero()[:, 0].tolist()
        return tuple(f"{layer}.{self.kind}" for layer in layers)

    def at(self, place: str, value: Tensor, passing: Passing) -> Tensor:
        layer = _layer(place)
        return torch.where(self.chosen(layer).to(value.device), self.instead(layer, value), value)

    def chosen(self, layer: int) -> Bool[Tensor, "set #batch #query head 1"]:
        """Where something else stands."""
        return self.heads[:, layer, None, None, :, None]

    def instead(self, layer: int, value: Tensor) -> Tensor:
        """What stands there."""
        raise NotImplementedError


@dataclass(frozen=True)
class Silence(OfHeads):
    """Heads write nothing."""

    def instead(self, layer: int, value: Tensor) -> Tensor:
        return torch.zeros_like(value)


@dataclass(frozen=True)
class Replace(OfHeads):
    """Heads write what is given: their mean, or what they write elsewhere (made of `outputs`);
    where `where` is given, at those positions alone."""

    given: Float[Tensor, "layer #batch #query head d_head"]
    where: Bool[Tensor, "batch query"] | None = None

    def chosen(self, layer: int) -> Bool[Tensor, "set #batch #query head 1"]:
        heads = OfHeads.chosen(self, layer)
        return heads if self.where is None else heads & self.where[..., None, None]

    def instead(self, layer: int, value: Tensor) -> Tensor:
        return self.given[layer].to(value)


@dataclass(frozen=True)
class OfPatterns(OfHeads):
    """Sets where heads look; what they write follows, from the values of this very run."""

    kind = "pattern"

    def chosen(self, layer: int) -> Bool[Tensor, "set 1 head 1 1"]:
        return self.heads[:, layer, None, :, None, None]


@dataclass(frozen=True)
class Put(OfPatterns):
    """Heads look where they are told to."""

    given: Float[Tensor, "#batch query key"]

    def instead(self, layer: int, value: Tensor) -> Tensor:
        return self.given.to(value)[:, None]


@dataclass(frozen=True)
class Hide(OfPatterns):
    """Heads do not see some keys; their attention to the rest is scaled up to 1."""

    keys: Bool[Tensor, "batch query key"]

    def instead(self, layer: int, value: Tensor) -> Tensor:
        return without_keys(value, self.keys.to(value.device)[:, None])


def held(patterns: Float[Tensor, "layer batch head query key"]) -> list[Clamp]:
    """All heads look where they looked in another pass: for pattern-preserving ablation."""
    return [Hold(f"{layer}.pattern", given) for layer, given in enumerate(patterns)]


def without_keys(
    pattern: Float[Tensor, "*batch query key"], hidden: Bool[Tensor, "*#batch query key"]
) -> Float[Tensor, "*batch query key"]:
    """A pattern that looks at no hidden key, scaled up to 1 again; nowhere, if all of it was
    there."""
    left = pattern.masked_fill(hidden, 0.0)
    return left / left.sum(-1, keepdim=True).clamp(min=torch.finfo(left.dtype).tiny)


# --- patterns of ours ---


def previous_pattern(length: int) -> Float[Tensor, "1 position position"]:
    """The ideal previous-token pattern; the first position looks at itself."""
    pattern = torch.diag(torch.ones(length - 1), -1)
    pattern[0, 0] = 1
    return pattern[None]


def uniform_pattern(length: int) -> Float[Tensor, "1 position position"]:
    """Attention spread evenly over all positions so far: a pattern that knows nothing of the
    text."""
    even = torch.ones(length, length).tril()
    return (even / even.sum(1, keepdim=True))[None]


def spread(target: Bool[Tensor, "batch query key"]) -> Float[Tensor, "batch query key"]:
    """The ideal pattern of a target: even over its keys; on the first position where a query has
    none."""
    rest = torch.zeros_like(target, dtype=torch.float32)
    rest[:, :, 0] = 1
    count = target.sum(2, keepdim=True)
    return torch.where(count > 0, target / count.clamp(min=1), rest)


# --- a pass ---


@capture.there
@torch.no_grad()
def run(
    opened,
    tokens: Int[Tensor, "batch position"],
    clamps: Sequence[Clamp] = (),
    last: Int[Tensor, "batch"] | None = None,
    measure: Callable[[Tensor, Tensor], Tensor] = capture.losses_of,
    side_by_side: int | None = None,
) -> Float[Tensor, "set batch *rest"]:
    """Under the clamps of each set `measure(logits, tokens)` (default: loss in nats of each token
    from the second on); where `last` is given, the logits after each prompt's last token.

    side_by_side: sets in a pass (None: as many as make `AT_ONCE` prompts). Error: ValueError for
    clamps of different numbers of sets.
    """
    at_once = side_by_side or max(1, AT_ONCE // len(tokens))

    def beside(rows: Tensor) -> Tensor:
        some = [_part(clamp, int(rows[0]), int(rows[-1]) + 1) for clamp in clamps]
        return _pass(opened, tokens, some, len(rows), last, measure)

    parts = torch.arange(_count(clamps)).split(at_once)
    return torch.cat([batches.fitting(beside, rows) for rows in parts])


def _pass(
    opened, tokens: Tensor, clamps: list[Clamp], size: int, last: Tensor | None, measure: Callable
) -> Float[Tensor, "set batch *rest"]:
    """`run` for so many sets at once."""
    many = tokens.repeat(size, 1)
    given = capture.inputs(opened, many)
    with opened.nn.trace(given, use_cache=False) as tracer:
        for layer in _touched(opened, clamps):
            _edit(opened.attention(layer), layer, clamps, size)
        result = nnsight.save(_read(opened, many, last, measure))
        tracer.stop()
    return result.float().cpu().unflatten(0, (size, len(tokens)))


@capture.there
@torch.no_grad()
def patterns(
    opened, tokens: Int[Tensor, "batch position"], clamps: Sequence[Clamp]
) -> Float[Tensor, "layer batch head query key"]:
    """Where all heads look under the clamps of one set: each layer's own patterns of what then
    reaches it, and those that a clamp sets."""
    touched = _touched(opened, clamps)
    given = capture.inputs(opened, tokens)
    with opened.nn.trace(given, use_cache=False) as tracer:
        kept = nnsight.save([])
        for layer in range(opened.n_layers):
            attention = opened.attention(layer)
            if layer in touched:
                _edit(attention, layer, clamps, 1)
            kept.append(attention.output[1])
        tracer.stop()
    return torch.stack([pattern.float().cpu() for pattern in kept])


@batches.halving("tokens", along=1)
def outputs(
    opened, tokens: Int[Tensor, "batch position"]
) -> Float[Tensor, "layer batch position head d_head"]:
    """Every head's output z, to be averaged for mean ablation, or rolled along the batch for
    resample ablation (no sequence may be its own donor)."""
    return capture.stream(opened, tokens, lambda layer, z, pattern: {"z": z})["z"]


@capture.there
def gradients(
    opened,
    tokens: Int[Tensor, "batch position"],
    last: Int[Tensor, "batch"],
    answer: Callable[[Float[Tensor, "some vocabulary"], Int[Tensor, "some"]], Tensor],
) -> Float[Tensor, "layer batch position head d_head"]:
    """How each prompt's answer, a number made of the logits after its last token, moves with every
    head's output z.

    answer: from the logits of some prompts and their places in the batch, a number for each. Times
    the change of z (clean less corrupted) and summed, it is attribution patching.
    """

    def moved(rows: Tensor) -> Tensor:
        return _gradients(opened, tokens[rows], last[rows], lambda said: answer(said, rows))

    return batches.fitting(moved, torch.arange(len(tokens)), along=1)


def _gradients(
    opened, tokens: Tensor, last: Tensor, answer: Callable[[Tensor], Tensor]
) -> Float[Tensor, "layer batch position head d_head"]:
    """`gradients` in one pass forward and one back."""
    with torch.enable_grad():
        given = capture.inputs(opened, tokens)
        with opened.nn.trace(given, use_cache=False) as tracer:
            heard = nnsight.save([])
            for layer in range(opened.n_layers):
                z, _ = opened.attention(layer).output
                # Where weights are frozen, gradients begin here.
                heard.append(z if z.requires_grad else z.requires_grad_())
            result = nnsight.save(answer(_last_logits(opened, last)))
            tracer.stop()
        found = torch.autograd.grad(result.sum(), list(heard))
    return torch.stack([gradient.float().cpu() for gradient in found])


def _count(clamps: Sequence[Clamp]) -> int:
    """How many sets there are."""
    sizes = {len(clamp.heads) for clamp in clamps if isinstance(clamp, OfHeads)} - {1}
    if len(sizes) > 1:
        raise ValueError(
            f"Clamps of {', '.join(map(str, sorted(sizes)))} sets cannot stand side by side: give "
            "each the same number of sets, or one set for all."
        )
    return max(sizes, default=1)


def _part(clamp: Clamp, first: int, end: int) -> Clamp:
    """A clamp for some of its sets."""
    if isinstance(clamp, OfHeads) and len(clamp.heads) > 1:
        return replace(clamp, heads=clamp.heads[first:end])
    return clamp


# --- what happens inside the trace ---


def _touched(opened, clamps: Sequence[Clamp]) -> list[int]:
    """Layers where something is to be done; the others are not even looked at, so nothing in them
    can change. Error: ValueError for a place that there is not."""
    asked = {place for clamp in clamps for place in clamp.places}
    last = opened.n_layers - 1
    known = [f"{layer}.{kind}" for layer in range(last + 1) for kind in ("pattern", "z")]
    if stray := asked - set(known):
        raise ValueError(
            f"no place {', '.join(sorted(stray))} in {opened.name}; there are 0.pattern and 0.z to "
            f"{last}.pattern and {last}.z"
        )
    return sorted({_layer(place) for place in asked})


def _layer(place: str) -> int:
    return int(place.split(".")[0])


def _edit(attention, layer: int, clamps: Sequence[Clamp], size: int) -> None:
    """A layer's pattern and z under the clamps, first the one, then the other."""
    value = attention.inputs[0][3]
    z, pattern = attention.output
    seen = _clamped(f"{layer}.pattern", pattern, clamps, size)
    if seen is not pattern:
        value = value.repeat_interleave(pattern.shape[1] // value.shape[1], 1)  # grouped values
        z = torch.matmul(seen, value).transpose(1, 2)
    attention.output = (_clamped(f"{layer}.z", z, clamps, size), seen)


def _clamped(place: str, value: Tensor, clamps: Sequence[Clamp], size: int) -> Tensor:
    """What stands at a place after all clamps that act there; `value` itself if there are none."""
    acting = [clamp for clamp in clamps if place in clamp.places]
    if not acting:
        return value
    by_set = value.unflatten(0, (size, -1))
    for clamp in acting:
        by_set = clamp.at(place, by_set, Passing(None, None)).to(by_set).expand_as(by_set)
    return by_set.flatten(0, 1)


def _read(opened, many: Tensor, last: Tensor | None, measure: Callable) -> Tensor:
    """What the measure makes of all logits, or the logits after the last tokens."""
    if last is None:
        return measure(opened.nn.output.logits, many)
    return _last_logits(opened, last.repeat(len(many) // len(last)))


def _last_logits(opened, last: Tensor) -> Float[Tensor, "batch vocabulary"]:
    stream = opened.nn.final_norm.output
    rows = torch.arange(len(last), device=stream.device)
    return opened.module.get_output_embeddings()(stream[rows, last.to(stream.device)]).float()
