"""Tiny models of every supported family, with random weights, and what the model itself computes
inside them.

The norms' gains and all biases are random too: with the ones and zeros that models start from, a
forgotten gain or
bias would go unnoticed.
`heard` looks into a model with plain torch hooks, so that what nnsight shows is held against
something else.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Olmo3Config,
    OlmoConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from lib.data import english
from lib.models import opening
from lib.models.organisms import OrganismConfig

VOCABULARY, CONTEXT, LAYERS, HEADS = 50, 32, 3, 4
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
}
COMMON |= {
    "intermediate_size": 24,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
GROUPED = COMMON | {"num_key_value_heads": 2}

FAMILIES = {
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=16,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "gpt_neox": lambda: GPTNeoXConfig(**COMMON),
    "llama": lambda: LlamaConfig(**GROUPED),
    "mistral": lambda: MistralConfig(**GROUPED),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=6),
    "olmo": lambda: OlmoConfig(**COMMON),
    "olmo2": lambda: Olmo2Config(**GROUPED),
    "olmo3": lambda: Olmo3Config(**GROUPED),
    "organism": lambda: OrganismConfig(**COMMON, head_dim=6),
}


def model(family: str, seed: int = 0) -> nn.Module:
    """A small model of a family."""
    return made_of(FAMILIES[family](), seed)


def made_of(config: PretrainedConfig, seed: int) -> nn.Module:
    """A model with weights large enough that its patterns are far from uniform."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            for name, weight in made.named_parameters():
                if weight.ndim == 1:
                    weight += 0.2 * torch.randn_like(weight)
                elif "lm_head" not in name:
                    weight.copy_(0.4 * torch.randn_like(weight))
    return made


def without_biases(made: nn.Module) -> nn.Module:
    """The same model with every bias at zero: head weights leave biases out."""
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.endswith("bias"):
                weight.zero_()
    return made


@cache
def opened(family: str) -> opening.Opened:
    """A shared model: for tests that change nothing in it."""
    return opening.open_model(model(family))


def tokens(size: int = 3, length: int = 12, seed: int = 1) -> Tensor:
    return torch.randint(
        1, VOCABULARY, (size, length), generator=torch.Generator().manual_seed(seed)
    )


def attention_of(made: opening.Opened, layer: int) -> nn.Module:
    return getattr(made.block(layer), made.architecture.attention)


def projection_of(made: opening.Opened, layer: int) -> nn.Module:
    """The output projection of a layer: its input holds the heads side by side, its output has them
    mixed."""
    return getattr(attention_of(made, layer), made.architecture.output)


@contextmanager
def heard(**modules: nn.Module):
    """Record each module's `(first input, output)` during the forward passes inside the block."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def listen(name):
        return lambda module, inputs, kwargs, output: found.update(
            {name: (inputs[0] if inputs else kwargs["hidden_states"], output)}
        )

    handles = [
        module.register_forward_hook(listen(name), with_kwargs=True)
        for name, module in modules.items()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def edited(made: opening.Opened, change):
    """Inside the block `change(layer, z)` replaces what each output projection reads; z is [batch,
    position, head, d_head]."""

    def listen(layer):
        def hook(module, inputs):
            z = inputs[0].unflatten(-1, (made.n_heads, made.d_head))
            return (change(layer, z.clone()).flatten(-2),)

        return hook

    handles = [
        projection_of(made, layer).register_forward_pre_hook(listen(layer))
        for layer in range(made.n_layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def losses(made: opening.Opened, ids: Tensor) -> Tensor:
    """Loss in nats of each token from the second on, by the model alone."""
    logp = made.module(ids).logits.float().log_softmax(-1)
    return -logp[:, :-1].gather(2, ids[:, 1:, None])[..., 0]


def save_gpt2(directory: Path, seed: int = 0, context: int = 256) -> Path:
    """A tiny GPT-2 on disk as published ones are, with a byte-level tokenizer that spells any
    text."""
    words = ByteLevelBPETokenizer()
    spelled = [f" {word}\n" for group in english.ENGLISH.values() for word in group]
    words.train_from_iterator(
        spelled + 20 * [" true\n", " false\n"],  # each often enough to be one token
        vocab_size=320,
        show_progress=False,
    )
    words.add_special_tokens(["<|endoftext|>"])
    opening = words.token_to_id("<|endoftext|>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words._tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    )
    tokenizer.save_pretrained(directory)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=16,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=context,
        bos_token_id=opening,
        eos_token_id=opening,
    )
    made_of(config, seed).save_pretrained(directory)
    return directory
