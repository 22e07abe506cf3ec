"""Open any causal language model under one set of names, with per-head weights.

`open_model` takes a hub id, a local directory, a module in memory or a remote model, and returns an
`Opened`.
Four families of code hide behind it: GPT-2's fused Conv1D, GPT-NeoX's interleaved projection,
Llama-like separate
projections (grouped keys and values too), and the book's own organisms, which are Llama-like.

    opened = open_model("EleutherAI/pythia-160m", revision="step3000")
    z, pattern = opened.attention(3).output      # inside a trace
    opened.head_weights(3).W_O                   # [head, d_head, d_model]

Per-head weights have the gain and centring of the norm before them folded in, so that the residual
stream is read as
it is, up to the norm's positive scale. Biases and rotary positions are left out: what these
matrices say holds for
content, at relative position zero.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import nnsight
import torch
from jaxtyping import Float
from nnsight import TransformersModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from lib import files
from lib.models import organisms, training  # noqa: F401  organisms: registers the book's own architecture with transformers

transformers_logging.disable_progress_bar()


@dataclass(frozen=True)
class HeadWeights:
    """The four matrices of every head of a layer, float32, norm gains folded in, grouped heads
    repeated."""

    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "head d_model d_head"]
    W_V: Float[Tensor, "head d_model d_head"]
    W_O: Float[Tensor, "head d_head d_model"]


Matrices = tuple[Tensor, Tensor, Tensor]


def _conv1d(attn: nn.Module) -> Matrices:
    return attn.c_attn.weight.chunk(3, dim=1)


def _interleaved(attn: nn.Module) -> Matrices:
    heads = attn.query_key_value.weight.unflatten(0, (-1, 3, attn.head_size))
    return tuple(heads[:, k].flatten(0, 1).T for k in range(3))


def _separate(attn: nn.Module) -> Matrices:
    return attn.q_proj.weight.T, attn.k_proj.weight.T, attn.v_proj.weight.T


@dataclass(frozen=True)
class Architecture:
    """Where a family keeps its parts. `rename` gives nnsight the book's names: `layers`, `attn`,
    `final_norm`."""

    layers: str
    attention: str
    final_norm: str
    input_norm: str
    output: str
    split: Callable[[nn.Module], Matrices]

    @property
    def rename(self) -> dict[str, str]:
        names = {self.layers: "layers", self.attention: "attn", self.final_norm: "final_norm"}
        return {old: new for old, new in names.items() if old != new}


_GPT2 = Architecture("transformer.h", "attn", "transformer.ln_f", "ln_1", "c_proj", _conv1d)
_NEOX = Architecture(
    "gpt_neox.layers",
    "attention",
    "gpt_neox.final_layer_norm",
    "input_layernorm",
    "dense",
    _interleaved,
)
_LLAMA = Architecture(
    "model.layers", "self_attn", "model.norm", "input_layernorm", "o_proj", _separate
)

ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": _GPT2,
    "gpt_neox": _NEOX,
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "olmo", "olmo2", "olmo3", "organism"), _LLAMA
    ),
}


@dataclass
class Opened:
    """An opened model. Sizes, `nn` (the nnsight model under the book's names), `tokenizer`,
    weights."""

    name: str
    revision: str | None
    nn: TransformersModel
    tokenizer: Any
    config: Any
    architecture: Architecture
    remote: bool | str = False
    _cache: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def n_layers(self) -> int:
        return self.config.num_hidden_layers

    @property
    def n_heads(self) -> int:
        return self.config.num_attention_heads

    @property
    def d_model(self) -> int:
        return self.config.hidden_size

    @property
    def d_head(self) -> int:
        return getattr(self.config, "head_dim", None) or self.d_model // self.n_heads

    @property
    def vocabulary(self) -> int:
        return self.config.vocab_size

    @property
    def context(self) -> int:
        return self.config.max_position_embeddings

    @property
    def bos(self) -> int | None:
        """Token that opens a text, or None where the tokenizer has none."""
        return getattr(self.tokenizer, "bos_token_id", None)

    @cached_property
    def module(self) -> nn.Module:
        """The torch module. Error: ValueError for a remote model, whose weights are not here."""
        if self.remote:
            raise ValueError(
                f"{self.name} runs remotely, so its weights are not here. Open it with remote=False to read them."
            )
        return self.nn._module

    @property
    def device(self) -> torch.device:
        return self.module.device

    def block(self, layer: int) -> nn.Module:
        """The torch module of a layer."""
        return self.module.get_submodule(self.architecture.layers)[layer]

    def attention(self, layer: int) -> Any:
        """The nnsight operation, to be used inside a trace, whose output is `(z, pattern)`:
        z [batch, query, head, d_head], before the output projection; pattern [batch, head, query,
        key]."""
        return self.nn.layers[layer].attn.source.attention_interface_1

    def head_weights(self, layer: int) -> HeadWeights:
        """W_Q, W_K, W_V [head, d_model, d_head] and W_O [head, d_head, d_model] of a layer (kept
        after the first call)."""
        if layer not in self._cache:
            self._cache[layer] = _head_weights(self, layer)
        return self._cache[layer]

    @property
    def W_E(self) -> Float[Tensor, "vocabulary d_model"]:
        """Token embeddings, without positions."""
        return self.module.get_input_embeddings().weight.detach().float()

    @property
    def W_U(self) -> Float[Tensor, "d_model vocabulary"]:
        """The whole unembedding with the final norm folded in; `unembedding(ids)` copies only the
        columns asked for."""
        return self.unembedding()

    def unembedding(self, ids: Tensor | None = None) -> Float[Tensor, "d_model tokens"]:
        """Columns of the unembedding for `ids` (all when None), the final norm's gain and centring
        folded in."""
        weight = self.module.get_output_embeddings().weight.detach()
        columns = (weight if ids is None else weight[ids]).float().T
        return _fold(columns, self.module.get_submodule(self.architecture.final_norm))

    def unembedding_mean(self) -> Float[Tensor, "d_model"]:
        """Mean column of the unembedding over the vocabulary, the final norm folded in (kept after
        the first call)."""
        if "mean" not in self._cache:
            mean = self.module.get_output_embeddings().weight.detach().mean(0, dtype=torch.float32)
            self._cache["mean"] = _fold(
                mean[:, None], self.module.get_submodule(self.architecture.final_norm)
            )[:, 0]
        return self._cache["mean"]

    def load_weights(self, directory: str | Path) -> None:
        """Swap in another snapshot of the same architecture. Errors: FileNotFoundError, ValueError
        (corrupt or other shapes)."""
        path = Path(directory) / "model.safetensors"
        if not path.is_file():
            raise FileNotFoundError(
                f"No weights {path}. A snapshot directory holds model.safetensors and config.json."
            )
        try:
            weights = load_file(path)
            tied = {
                name: weights[source]
                for name, source in self.module.all_tied_weights_keys.items()
                if source in weights
            }
            self.module.load_state_dict(
                tied | weights, strict=True
            )  # the file holds tied weights once
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(
                f"{path} is corrupt or of another architecture: {error}. Delete it; the next run makes it again."
            ) from error
        self.module.tie_weights()
        self._cache.clear()


def open_model(
    source: str | Path | nn.Module,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    remote: bool | str = False,
    trust_remote_code: bool = False,
    tokenizer: Any = None,
) -> Opened:
    """Open a hub id, a directory, a module in memory or (remote) a model on NDIF, with eager
    attention.

    Errors, all before any weight is read: FileNotFoundError (nothing there, or the hub not
    reached), ValueError (an
    architecture that the book does not know, code that would have to be trusted, weights that are
    not safetensors, a
    device that is not there, no key for NDIF).
    """
    if isinstance(source, nn.Module):
        return _opened("in memory", None, source.eval(), tokenizer, source.config, False)
    name = str(source)
    config, tokenizer = _read_head(name, revision, device, remote, trust_remote_code, tokenizer)
    if remote:
        made = TransformersModel(
            name,
            task="text-generation",
            revision=revision,
            attn_implementation="eager",
            tokenizer=tokenizer,
            rename=architecture_of(config).rename,
        )
        return Opened(name, revision, made, tokenizer, config, architecture_of(config), remote)
    module = (
        _read_weights(name, config, revision, dtype, trust_remote_code).to(_device(device)).eval()
    )
    return _opened(name, revision, module, tokenizer, config, remote)


def open_parameters(p: Any) -> Opened:
    """Open the model that a profile names (`model`, `revision`, `device`, `dtype`,
    `trust_remote_code`), weights and all.

    Error: ValueError for `remote`: what chapters ask of a model reads its weights (`head_weights`),
    and NDIF keeps them.
    """
    if p.remote:
        raise ValueError(
            f"remote: true, but this chapter reads the weights of {p.model}, which NDIF does not hand out. Set remote: false."
        )
    return open_model(p.model, p.revision, p.device, p.dtype, False, p.trust_remote_code)


def check_parameters(p: Any) -> None:
    """Find out cheaply whether the model and the checkpoints that a profile names can be opened.
    Errors: as `open_model`."""
    for name, revision in [(p.model, p.revision), *checkpoints(p)] if p.model else checkpoints(p):
        _read_head(name, revision, p.device, p.remote, p.trust_remote_code)


def checkpoints(p: Any) -> list[tuple[str, str | None]]:
    """(name, revision) of each of a profile's `checkpoints`: a directory, or a revision of its
    `model`."""
    return [(place, None) if Path(place).is_dir() else (p.model, place) for place in p.checkpoints]


def open_organism(name: str, seed: int, p: Any, step: int | None = None) -> Opened:
    """Open one of the book's own models at a snapshot (the last when None), training it first if it
    is not there yet.

    name: of a recipe; p: a profile, which says where runs are kept and how the steps are scaled.
    Errors: ValueError for an unknown recipe or a step that was not kept.
    """
    kept = organism_snapshots(name, seed, p)
    wanted = max(kept) if step is None else step
    if wanted not in kept:
        raise ValueError(
            f"{name}, seed {seed}, was not kept at step {wanted}. Kept: {sorted(kept)}."
        )
    return open_model(kept[wanted])


def organism_snapshots(name: str, seed: int, p: Any) -> dict[int, Path]:
    """Step -> directory of every snapshot of one of the book's own models, trained first if it is
    not there yet."""
    if name not in training.RECIPES:
        raise ValueError(f"No recipe {name!r}. Recipes: {', '.join(sorted(training.RECIPES))}.")
    recipe = training.scaled(training.RECIPES[name], p.training_scale)
    return dict(training.snapshots(training.ensure(recipe, seed, files.runs(p) / "models")))


def architecture_of(config: Any) -> Architecture:
    """The family of a config. Error: ValueError that lists the families that work."""
    kind = getattr(config, "model_type", None)
    if kind not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(
            f"Architecture {kind!r} is not supported. Supported: {known}. To add one, see ARCHITECTURES in lib/models/opening.py."
        )
    return ARCHITECTURES[kind]


def _opened(
    name: str,
    revision: str | None,
    module: nn.Module,
    tokenizer: Any,
    config: Any,
    remote: bool | str,
) -> Opened:
    architecture = architecture_of(config)
    module.set_attn_implementation("eager")  # the fused kernels return no pattern
    tokenizer = tokenizer or PreTrainedTokenizerFast(tokenizer_object=_no_words())
    wrapped = TransformersModel(
        module, task="text-generation", tokenizer=tokenizer, rename=architecture.rename
    )
    return Opened(name, revision, wrapped, tokenizer, config, architecture, remote)


def _no_words() -> Any:
    """A tokenizer without words, for modules in memory that are only ever fed token ids."""
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<bos>": 0}, unk_token="<bos>"))


def _read_head(
    name: str,
    revision: str | None,
    device: str,
    remote: bool | str,
    trust: bool,
    tokenizer: Any = None,
) -> tuple[Any, Any]:
    """Config and tokenizer, read after all that can be known without them, and before any
    weight."""
    if remote is True and not (os.environ.get("NDIF_API_KEY") or nnsight.CONFIG.API.APIKEY):
        raise ValueError(
            f"{name} is to run on NDIF, which needs a key: export NDIF_API_KEY=… (see https://ndif.us), or set remote: false."
        )
    if not remote:
        _device(device)
    config = _read_config(name, revision, trust)
    architecture_of(config)
    return config, tokenizer or _read_tokenizer(name, revision, trust)


def _device(name: str) -> torch.device:
    """The torch device of that name; `auto` is the first GPU, or the CPU. Error: ValueError for one
    that is not there."""
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    )
    there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }[device.type]
    if (device.index or 0) >= there:
        raise ValueError(
            f"device: {name}, but torch sees {there or 'no'} such device{'s' if there != 1 else ''} here. Use `auto`, or install a torch that knows your GPU."
        )
    return device


def _read_config(name: str, revision: str | None, trust: bool) -> Any:
    if not name:
        raise ValueError("No model named. Set the parameter `model` to a hub id or a directory.")
    local = Path(name)
    if not local.is_dir() and (
        local.is_absolute() or name.startswith(("./", "../", "~")) or name.count("/") > 1
    ):
        raise FileNotFoundError(
            f"No directory {name}. Give a directory with config.json and model.safetensors, or a hub id such as openai-community/gpt2."
        )
    if local.is_dir() and not (local / "config.json").is_file():
        raise FileNotFoundError(
            f"Cannot open model {name!r}: config.json is missing there. Give a directory with config.json and model.safetensors."
        )
    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust)
    except OSError as error:
        cure = (
            "config.json is unreadable there"
            if local.is_dir()
            else "no such directory, and the hub has no such model or was not reached"
        )
        raise FileNotFoundError(
            f"Cannot open model {name!r} (revision {revision}): {cure}. Check the name, the revision and the network."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"Cannot open model {name!r}: {error} If it brings its own code, read that code, then set trust_remote_code: true."
        ) from error


def _read_tokenizer(name: str, revision: str | None, trust: bool) -> Any:
    # A directory's tokenizer.json is taken as it is: AutoTokenizer would replace it by the class of
    # the model type.
    if (Path(name) / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast.from_pretrained(name)
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=trust)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"Model {name!r} has no tokenizer that can be read. Add its tokenizer.json beside the weights."
        ) from error


def _read_weights(
    name: str, config: Any, revision: str | None, dtype: str, trust: bool
) -> nn.Module:
    try:
        return AutoModelForCausalLM.from_pretrained(
            name,
            config=config,
            revision=revision,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust,
            attn_implementation="eager",
        )
    except SafetensorError as error:
        raise ValueError(
            f"The weights of {name} are corrupt ({error}). Delete that directory or file and make or fetch it again."
        ) from error
    except OSError as error:
        raise FileNotFoundError(
            f"{name} (revision {revision}) has no weights as safetensors that can be read: {error}"
        ) from error


@torch.no_grad()
def _head_weights(opened: Opened, layer: int) -> HeadWeights:
    """Cut the projections of a layer into heads, repeat grouped keys and values, fold the norms
    in."""
    block, arch = opened.block(layer), opened.architecture
    attn, d_head = getattr(block, arch.attention), opened.d_head
    q, k, v = (
        w.detach().float().unflatten(1, (-1, d_head)).transpose(0, 1) for w in arch.split(attn)
    )
    q, k = (
        _scale_heads(q, getattr(attn, "q_norm", None)),
        _scale_heads(k, getattr(attn, "k_norm", None)),
    )
    k, v = (w.repeat_interleave(opened.n_heads // w.shape[0], 0) for w in (k, v))
    before = getattr(block, arch.input_norm, None)
    q, k, v = (torch.stack([_fold(head, before) for head in w]) for w in (q, k, v))
    output = getattr(attn, arch.output).weight.detach().float()
    output = output if arch.split is _conv1d else output.T
    if before is None:  # OLMo 2 and 3 normalise what attention writes, not what it reads
        output = output * block.post_attention_layernorm.weight.detach().float()
    return HeadWeights(q, k, v, output.unflatten(0, (opened.n_heads, d_head)).contiguous())


def _scale_heads(w: Tensor, norm: nn.Module | None) -> Tensor:
    """Fold the gain of a query or key norm (one per head dimension, or one for all heads) into
    [head, d_model, d_head]."""
    if norm is None or getattr(norm, "weight", None) is None:
        return w
    gain = norm.weight.detach().float()
    return w * (
        gain if gain.numel() == w.shape[-1] else gain.unflatten(0, (w.shape[0], 1, w.shape[-1]))
    )


def _fold(w: Tensor, norm: nn.Module | None) -> Tensor:
    """Fold a norm's gain, and its centring if it is a LayerNorm, into the rows of w [d_model,
    n]."""
    if norm is None or isinstance(norm, nn.Identity):
        return w
    gain = getattr(norm, "weight", None)
    w = w if gain is None else w * gain.detach().float()[:, None]
    return w - w.mean(0, keepdim=True) if "LayerNorm" in type(norm).__name__ else w


def snapshots_in_turn(
    opened: Opened, directories: Iterable[str | Path]
) -> Iterable[tuple[str, Opened]]:
    """Yield (directory, opened) with each snapshot's weights loaded into the same opened model."""
    for directory in directories:
        opened.load_weights(directory)
        yield str(directory), opened
