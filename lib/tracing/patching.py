"""What single heads, or sets of heads, say and see at the end of a prompt: patched, removed,
blinded.

Idea. A prompt asks, and what counts is the answer at its last token. Many interventions stand side
by side in one batch, each with its own set of heads; a set is given what it said elsewhere
(`donor`), or loses sight of some keys (`hide`):

    clean = ablation.outputs(opened, clean_prompts)        # [layer, prompt, position, head, d_head]
    run(opened, corrupted_prompts, every_head(opened), donor=clean)   # exact patching of all heads

`gradients` is the fast screen: one backward pass says, to first order, what all of them would do
(attribution patching). It is exact where the answer is linear in a head's output, and a softmax is
not linear, so hold it against `run` before it is believed.

Caveat. Only the last token's logits are made, from the output of the final norm: the unembedding of
all other positions would be most of the work in a model with many words.
"""

from __future__ import annotations

from collections.abc import Callable

import nnsight
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lib.tracing import ablation, capture

Read = Callable[[object, Tensor], Tensor]
AT_ONCE = 256  # prompts in a pass: more no longer fit the caches of a processor
EVERYWHERE, LAST = slice(None), slice(-1, None)


def every_head(opened) -> Bool[Tensor, "intervention layer head"]:
    """Each head of the model as a set of its own, in their order."""
    size = opened.n_layers * opened.n_heads
    return torch.eye(size, dtype=torch.bool).unflatten(1, (opened.n_layers, opened.n_heads))


def last_logits(opened, tokens: Tensor) -> Float[Tensor, "batch vocabulary"]:
    """Logits at the last position; to be called inside a trace."""
    return opened.module.get_output_embeddings()(opened.nn.final_norm.output[:, -1]).float()


def losses(opened, tokens: Tensor) -> Float[Tensor, "batch position_minus_1"]:
    """Losses in nats of all tokens from the second on; to be called inside a trace."""
    return capture.losses_of(opened.nn.output.logits, tokens)


@torch.no_grad()
def run(
    opened,
    tokens: Int[Tensor, "batch position"],
    heads: Bool[Tensor, "intervention layer head"],
    donor: Float[Tensor, "layer #batch #position head d_head"] | None = None,
    where: slice = EVERYWHERE,
    hold: Float[Tensor, "layer batch head position position"] | None = None,
    hide: Bool[Tensor, "batch position position"] | None = None,
    read: Read = last_logits,
) -> Float[Tensor, "intervention batch *rest"]:
    """What `read` finds under each intervention: by default the logits after the last token.

    The z of an intervention's heads becomes `donor` (zero when None) at the positions `where`; with
    `hold` all patterns are those given. With `hide` [query, key] the heads keep speaking, but no
    longer look there: that attention is set to zero and the rest scaled up to 1.
    """
    kept, together = [], max(1, AT_ONCE // len(tokens))
    for rows in heads.split(together):
        many = tokens.repeat(len(rows), 1)
        given = capture.inputs(opened, many)
        with opened.nn.trace(given, use_cache=False, **capture.where(opened)) as tracer:
            for layer in ablation.touched(rows, hold, None):
                attention = opened.attention(layer)
                value = attention.inputs[0][3]
                z, pattern = attention.output
                held = None if hold is None else hold[layer]
                z = ablation.with_patterns(z, pattern, value, held, {}, len(rows))
                if hide is not None:
                    z = _blinded(z, pattern, value, rows[:, layer], hide)
                else:
                    z = _replaced(z, rows[:, layer], None if donor is None else donor[layer], where)
                attention.output = (z, pattern)
            result = nnsight.save(read(opened, many))
            tracer.stop()
        kept.append(result.float().cpu().unflatten(0, (len(rows), len(tokens))))
    return torch.cat(kept)


def _replaced(z: Tensor, heads: Tensor, donor: Tensor | None, where: slice) -> Tensor:
    """z [batch, query, head, d_head] with an intervention's heads replaced at some positions."""
    if where == EVERYWHERE:
        return ablation.without_heads(z, heads, donor)
    changed = z.clone()
    changed[:, where] = ablation.without_heads(z[:, where], heads, donor)
    return changed


def _blinded(z: Tensor, pattern: Tensor, value: Tensor, heads: Tensor, hide: Tensor) -> Tensor:
    """z where an intervention's heads cannot look at the hidden keys."""
    seen = without_keys(pattern, hide.to(pattern.device).repeat(len(heads), 1, 1)[:, None])
    value = value.repeat_interleave(pattern.shape[1] // value.shape[1], 1)  # grouped values
    blind = torch.matmul(seen, value).transpose(1, 2)
    chosen = heads.to(z.device).repeat_interleave(len(z) // len(heads), 0)
    return torch.where(chosen[:, None, :, None], blind, z)


def without_keys(
    pattern: Float[Tensor, "*batch query key"], hide: Bool[Tensor, "*#batch query key"]
) -> Float[Tensor, "*batch query key"]:
    """A pattern that looks at no hidden key, scaled up to 1 again; nowhere, if all of it was
    there."""
    left = pattern.masked_fill(hide, 0.0)
    return left / left.sum(-1, keepdim=True).clamp(min=torch.finfo(left.dtype).tiny)


def gradients(
    opened,
    tokens: Int[Tensor, "batch position"],
    answer: Callable[[Float[Tensor, "batch vocabulary"]], Float[Tensor, "batch"]],
) -> Float[Tensor, "layer batch position head d_head"]:
    """How each prompt's answer, a number made of the last token's logits, moves with every head's
    output z.

    Times the change of z (clean less corrupted) and summed, it is attribution patching.
    """
    with torch.enable_grad():
        given = capture.inputs(opened, tokens)
        with opened.nn.trace(given, use_cache=False, **capture.where(opened)) as tracer:
            outputs = nnsight.save([])
            for layer in range(opened.n_layers):
                z, _ = opened.attention(layer).output
                outputs.append(z)
            result = nnsight.save(answer(last_logits(opened, tokens)))
            tracer.stop()
        found = torch.autograd.grad(result.sum(), list(outputs))
    return torch.stack([gradient.float().cpu() for gradient in found])
