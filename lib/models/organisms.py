"""The book's own transformer: as little as induction heads need, under the names that Llama uses.

Idea. Olsson et al. (2022) watch induction heads form in small attention-only models.
Ours has the same parts: embedding, layers of causal attention (optionally with an MLP),
unembedding, no biases.
Positions are a learned table that is added to the inputs of queries and keys only, never to the
residual stream or the values ("Shortformer"; appendix of Olsson et al.): what a head moves is then
free of positions, and a second-layer head can see an earlier token only if a first-layer head
brought it there.

Use. `OrganismForCausalLM(OrganismConfig(...))` is an ordinary transformers model:
`save_pretrained`, `from_pretrained` and `AutoModelForCausalLM` work, once this module is imported.
`tokenizer(words)` makes the word-level tokenizer beside it.

Caveat. The attention is the eager one on purpose: it is the only one that shows its pattern.
Training alone asks for "fused", which computes the same and keeps no pattern. There is no key-value
cache.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.output_capturing import capture_outputs


class OrganismConfig(PreTrainedConfig):
    """Shape of an organism; `head_dim` need not be `hidden_size / num_attention_heads`."""

    model_type = "organism"

    vocab_size: int = 128
    hidden_size: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    head_dim: int = 16
    intermediate_size: int = 0  # width of the MLP; 0: attention only
    max_position_embeddings: int = 64
    norm: str = "rms"  # "rms", or "none" for weights that are set by hand
    rms_norm_eps: float = 1e-6
    # Olsson et al., argument 2: keys may lean on the token so many places before; 0: they do not
    smeared: int = 0
    attention_scale: float | None = None  # None: head_dim ** -0.5
    bos_token_id: int | None = 0
    pad_token_id: int | None = 0
    eos_token_id: int | None = None
    tie_word_embeddings: bool = False
    use_cache: bool = False

    def __post_init__(self, **kwargs) -> None:
        if self.norm not in ("rms", "none"):
            raise ValueError(f"norm is {self.norm!r}: choose 'rms' or 'none'")
        if self.attention_scale is None:
            self.attention_scale = self.head_dim**-0.5
        super().__post_init__(**kwargs)


def eager_attention_forward(
    module: nn.Module,
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch head key d_head"],
    value: Float[Tensor, "batch head key d_head"],
    attention_mask: Float[Tensor, "#batch 1 query key"] | None,
    scaling: float,
    **_: object,
) -> tuple[Float[Tensor, "batch query head d_head"], Float[Tensor, "batch head query key"]]:
    """Return each head's output z and its pattern; the mask is added to the logits of the
    pattern."""
    attn_weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask
    attn_weights = nn.functional.softmax(attn_weights, dim=-1)
    attn_output = torch.matmul(attn_weights, value)
    return attn_output.transpose(1, 2).contiguous(), attn_weights


def fused_attention_forward(
    module: nn.Module,
    query: Float[Tensor, "batch head query d_head"],
    key: Float[Tensor, "batch head key d_head"],
    value: Float[Tensor, "batch head key d_head"],
    attention_mask: Float[Tensor, "#batch 1 query key"] | None,
    scaling: float,
    **_: object,
) -> tuple[Float[Tensor, "batch query head d_head"], None]:
    """Return each head's output z, as above, from one operation that never holds the pattern."""
    attn_output = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling
    )
    return attn_output.transpose(1, 2), None


class OrganismAttention(nn.Module):
    """Causal attention; positions reach queries and keys only; keys may be smeared."""

    def __init__(self, config: OrganismConfig, layer_idx: int) -> None:
        super().__init__()
        inner = config.num_attention_heads * config.head_dim
        self.config, self.layer_idx = config, layer_idx
        self.head_dim, self.scaling = config.head_dim, config.attention_scale
        self.num_key_value_groups = 1
        self.q_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.o_proj = nn.Linear(inner, config.hidden_size, bias=False)
        if config.smeared:
            self.smear = nn.Parameter(
                torch.zeros(config.num_attention_heads)
            )  # alpha; sigma(0) = one half

    def smear_keys(
        self, key: Float[Tensor, "batch head key d_head"]
    ) -> Float[Tensor, "batch head key d_head"]:
        """k_j := sigma(alpha) k_j + (1 - sigma(alpha)) k_(j-n) with n = `smeared`; the first n keys
        unchanged."""
        own, back = torch.sigmoid(self.smear)[:, None, None], self.config.smeared
        before = torch.cat([key[:, :, :back], key[:, :, :-back]], dim=2)
        return torch.lerp(before, key, own)

    def forward(
        self,
        hidden_states: Float[Tensor, "batch position d_model"],
        positions: Float[Tensor, "#batch position d_model"],
        attention_mask: Float[Tensor, "#batch 1 position position"] | None = None,
    ) -> tuple[
        Float[Tensor, "batch position d_model"],
        Float[Tensor, "batch head position position"] | None,
    ]:
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)
        placed = hidden_states + positions
        query_states = self.q_proj(placed).view(hidden_shape).transpose(1, 2)
        key_states = self.k_proj(placed).view(hidden_shape).transpose(1, 2)
        value_states = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        if self.config.smeared:
            key_states = self.smear_keys(key_states)
        # The next two statements are written as in transformers' Llama: what reads and edits heads
        # finds the call
        # of `attention_interface` in any model under the one name `attention_interface_1`.
        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attn_output, attn_weights = attention_interface(
            self, query_states, key_states, value_states, attention_mask, scaling=self.scaling
        )
        attn_output = attn_output.reshape(*input_shape, -1).contiguous()
        return self.o_proj(attn_output), attn_weights


class OrganismMLP(nn.Module):
    """Two linear maps with a GELU between."""

    def __init__(self, config: OrganismConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(
        self, hidden_states: Float[Tensor, "*shape d_model"]
    ) -> Float[Tensor, "*shape d_model"]:
        return self.down_proj(nn.functional.gelu(self.up_proj(hidden_states)))


def _norm(config: OrganismConfig) -> nn.Module:
    if config.norm == "none":
        return nn.Identity()
    return nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class OrganismLayer(nn.Module):
    """Attention and, if the config has a width for it, an MLP, each added to the residual
    stream."""

    def __init__(self, config: OrganismConfig, layer_idx: int) -> None:
        super().__init__()
        self.input_layernorm = _norm(config)
        self.self_attn = OrganismAttention(config, layer_idx)
        self.post_attention_layernorm = _norm(config) if config.intermediate_size else None
        self.mlp = OrganismMLP(config) if config.intermediate_size else None

    def forward(
        self,
        hidden_states: Float[Tensor, "batch position d_model"],
        positions: Float[Tensor, "#batch position d_model"],
        attention_mask: Float[Tensor, "#batch 1 position position"] | None = None,
    ) -> Float[Tensor, "batch position d_model"]:
        attn_output, _ = self.self_attn(
            self.input_layernorm(hidden_states), positions, attention_mask
        )
        hidden_states = hidden_states + attn_output
        if self.mlp is not None:
            hidden_states = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return hidden_states


class PositionTable(nn.Embedding):
    """A learned vector for each position; it starts as sinusoids."""


class OrganismPreTrainedModel(PreTrainedModel):
    """What both classes below share: the config class and the initial weights."""

    config_class = OrganismConfig
    base_model_prefix = "model"
    _supports_sdpa = False  # eager only: the pattern must be there to be read
    _no_split_modules: ClassVar = ["OrganismLayer"]
    _can_record_outputs: ClassVar = {
        "hidden_states": OrganismLayer,
        "attentions": OrganismAttention,
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, PositionTable):
            init.copy_(module.weight, sinusoids(*module.weight.shape))
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=module.embedding_dim**-0.5)
        elif isinstance(module, nn.Linear):
            init.uniform_(module.weight, -(module.in_features**-0.5), module.in_features**-0.5)
        elif isinstance(module, nn.RMSNorm):
            init.ones_(module.weight)
        elif isinstance(module, OrganismAttention) and self.config.smeared:
            init.zeros_(module.smear)


class OrganismModel(OrganismPreTrainedModel):
    """The residual stream after the last layer and the final norm."""

    def __init__(self, config: OrganismConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = PositionTable(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(
            OrganismLayer(config, i) for i in range(config.num_hidden_layers)
        )
        self.norm = _norm(config)
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: Int[Tensor, "batch position"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "#batch position"] | None = None,
        inputs_embeds: Float[Tensor, "batch position d_model"] | None = None,
        **_: object,
    ) -> BaseModelOutput:
        hidden_states = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        length = hidden_states.shape[1]
        if length > self.config.max_position_embeddings:
            raise ValueError(
                f"{length} tokens, but this organism's context is "
                f"{self.config.max_position_embeddings}: shorten the input"
            )
        if position_ids is None:
            position_ids = torch.arange(length, device=hidden_states.device)[None]
        positions = self.positions(position_ids)
        mask = causal_mask(length, attention_mask, hidden_states)
        for layer in self.layers:
            hidden_states = layer(hidden_states, positions, mask)
        return BaseModelOutput(last_hidden_state=self.norm(hidden_states))


class OrganismForCausalLM(OrganismPreTrainedModel, GenerationMixin):
    """An organism with its unembedding; logits are [batch, position, vocabulary]."""

    def __init__(self, config: OrganismConfig) -> None:
        super().__init__(config)
        self.model = OrganismModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Int[Tensor, "batch position"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "#batch position"] | None = None,
        inputs_embeds: Float[Tensor, "batch position d_model"] | None = None,
        labels: Int[Tensor, "batch position"] | None = None,
        logits_to_keep: int = 0,
        **kwargs: object,
    ) -> CausalLMOutput:
        """Logits, and the mean next-token loss in nats when `labels` (the tokens themselves; -100:
        ignored) are given."""
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        logits = self.lm_head(outputs.last_hidden_state[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            # The last position has no next token; leaving it out by its label copies no logits.
            following = nn.functional.pad(labels[:, 1:], (0, 1), value=-100)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), following.flatten())
        return CausalLMOutput(
            loss=loss,
            logits=logits,
            attentions=outputs.attentions,
            hidden_states=outputs.hidden_states,
        )

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: object
    ) -> dict:
        """Without a cache each step reads the whole text again."""
        return {"input_ids": input_ids, "attention_mask": attention_mask}


def causal_mask(
    length: int, attention_mask: Tensor | None, like: Float[Tensor, "..."]
) -> Float[Tensor, "#batch 1 {length} {length}"]:
    """Additive mask: 0 where a query may look, the lowest finite number elsewhere (padding:
    attention_mask 0)."""
    may = torch.ones(length, length, dtype=torch.bool, device=like.device).tril()[None, None]
    if attention_mask is not None:
        may = may & attention_mask[:, None, None, :].bool()
    return torch.zeros(may.shape, dtype=like.dtype, device=like.device).masked_fill(
        ~may, torch.finfo(like.dtype).min
    )


def sinusoids(length: int, width: int) -> Float[Tensor, "{length} {width}"]:
    """Sines and cosines, where the positions' table starts; their periods are spread from 2 pi to 2
    pi `length` tokens.

    Periods far beyond the context, as in models with long ones, would be constants here.
    """
    angles = torch.arange(length)[:, None] / length ** (torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


def tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that splits at white space; `words[i]` has id i, `words[0]` is `<bos>` and comes
    in front.

    Raises ValueError if the vocabulary does not begin with `<bos>` or names a word twice; a text
    with an unknown word raises when it is encoded.
    """
    if words[0] != "<bos>" or len(set(words)) != len(words):
        raise ValueError("a vocabulary begins with '<bos>' and names each word once")
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<bos>", pad_token="<bos>", padding_side="right"
    )


ALL_ATTENTION_FUNCTIONS.register("fused", fused_attention_forward)
AutoConfig.register("organism", OrganismConfig)
AutoModelForCausalLM.register(OrganismConfig, OrganismForCausalLM)
