"""Open any causal language model: a hub id, a local directory, a module in memory, or on NDIF.

    opened = open_model("EleutherAI/pythia-160m", revision="step3000")
    z, pattern = opened.attention(3).output      # inside a trace
    opened.head_weights(3).W_O                   # [head, d_head, d_model]

What comes back, an `Opened`, has one set of names for all families (`lib.models.opened`). Chapters
open what a profile names, or one of the book's own models, which is trained if it is not there.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from huggingface_hub.errors import RemoteEntryNotFoundError, RevisionNotFoundError
from nnsight import TransformersModel
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from lib import files
from lib.models import (
    architectures,
    checkpoints,
    internlm2,
    places,
    preflight,
    probe,
    run_training,
    store,
    training,
    weights,
)
from lib.models.architectures import Architecture, architecture_of
from lib.models.opened import Opened
from lib.models.places import Place
from lib.models.remote import ask
from lib.models.run_recipes import RunsRecipe

transformers_logging.disable_progress_bar()


def open_model(
    source: str | Path | nn.Module,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    remote: bool | str = False,
    trust_remote_code: bool = False,
    tokenizer: Any = None,
    architecture: Mapping[str, str] | None = None,
    words: bool = True,
    kept: Path | None = None,
) -> Opened:
    """Open a hub id, a directory, a module in memory or (remote) a model on NDIF, with eager
    attention.

    device: `auto` is the first GPU, or the CPU; `all` spreads the layers over all GPUs. dtype:
    `auto` is the checkpoint's own. architecture: the facts of a kind of model that the book does
    not know (`architectures.Architecture`). words: whether it must have a tokenizer; without, one
    that has none is opened with a warning, to be fed token ids. kept: folder of what a remote model
    has answered, which is not asked again.

    Errors, before any weight is read: FileNotFoundError (nothing there, or the hub not reached, no
    safetensors), ValueError (an architecture that the book does not know, code that would have to
    be trusted, quantised weights, a device that is not there, a model that NDIF does not run for
    you), ConnectionError (NDIF). ValueError, too, for weights that are not all there, or are of
    another model.
    """
    if isinstance(source, nn.Module):
        known = architecture_of(source.config, architecture)
        return _opened("in memory", None, source.eval(), tokenizer, source.config, known)
    name = str(source)
    place, config, tokenizer, known = _read_head(
        name, revision, device, remote, trust_remote_code, tokenizer, architecture, words, kept
    )
    if remote:
        made = TransformersModel(
            name,
            task="text-generation",
            revision=revision,
            attn_implementation="eager",
            tokenizer=tokenizer,
            rename=known.rename,
            **({"trust_remote_code": True} if trust_remote_code else {}),
        )
        return Opened(name, revision, made, tokenizer, config, known, remote, kept, ask)
    module = weights.read(place, config, dtype, device, trust_remote_code)
    return _opened(name, revision, module, tokenizer, config, known)


def open_parameters(p: Any, words: bool = True) -> Opened:
    """Open the model that a profile names; words: whether it is shown text, and so must have a
    tokenizer."""
    return open_named(p, p.model, p.revision, words)


def open_named(p: Any, name: str, revision: str | None = None, words: bool = True) -> Opened:
    """Open a model as a profile says (`device`, `dtype`, `remote`, `trust_remote_code`,
    `architecture`), to be fed what the profile says (`probe_tokens`, `probe_prefix`).

    Errors: those of `open_model` and of `probe.ids`.
    """
    if p.probe_tokens or p.probe_prefix:  # found wrong before any weight is read
        described(p, name, revision, words)
    opened = open_model(
        name,
        revision,
        p.device,
        p.dtype,
        p.remote,
        p.trust_remote_code,
        architecture=p.architecture,
        words=words,
        kept=_kept(p),
    )
    return fed(opened, p)


def _kept(p: Any) -> Path | None:
    """Where what a remote model has answered is kept."""
    return files.far(p) if p.remote else None


def described(p: Any, name: str, revision: str | None = None, words: bool = True) -> Opened:
    """A model as far as its configuration and its tokenizer tell, without weights (`nn` is None):
    enough to make its prompts, and to find out whether it can be fed them. Errors: as
    `open_named`."""
    return fed(_described(p, name, revision, words)[1], p)


def _described(p: Any, name: str, revision: str | None, words: bool = True) -> tuple[Place, Opened]:
    asked = (name, revision, p.device, p.remote, p.trust_remote_code)
    more = {"architecture": p.architecture, "words": words, "kept": _kept(p)}
    place, config, tokenizer, known = _read_head(*asked, **more)
    return place, Opened(name, revision, None, tokenizer, config, known, p.remote)


def fed(opened: Opened, p: Any) -> Opened:
    """The same model, to be fed the tokens that a profile names. Errors: those of `probe.ids`."""
    opened.probe_tokens = list(dict.fromkeys(probe.ids("probe_tokens", p.probe_tokens, opened)))
    opened.probe_prefix = probe.ids("probe_prefix", p.probe_prefix, opened)
    return opened


def check_parameters(p: Any) -> dict[tuple[str, str | None], Opened]:
    """Find out cheaply whether the model and the checkpoints that a profile names can be opened:
    all but the numbers in their weights is looked at. Each (name, revision), as `described`; single
    checkpoints may be missing. Errors: as `open_model` and `checkpoints.named`."""
    found = {(p.model, p.revision): _check(p, p.model, p.revision)} if p.model else {}
    for checkpoint in checkpoints.named(p) if p.checkpoints else []:
        place = str(checkpoint.directory or checkpoint.model), checkpoint.revision
        try:
            if checkpoint.there:
                found[place] = _check(p, *place)
        except OSError as error:
            if not absent(error):
                raise
    return found


def _check(p: Any, name: str, revision: str | None) -> Opened:
    place, found = _described(p, name, revision)
    if not p.remote:
        weights.rehearse(place, found.config, p.trust_remote_code)
    return fed(found, p)


def absent(error: BaseException | None) -> bool:
    """Whether the hub was reached, and said that there is no such revision, or not that file in
    it."""
    while error is not None:
        if isinstance(error, RevisionNotFoundError | RemoteEntryNotFoundError):
            return True
        error = error.__cause__ or error.__context__
    return False


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
    recipe = store.recipe_of(name, p)
    return dict(training.snapshots(training.ensure(recipe, seed, files.store(p))))


def few_shot_runs(name: str, seed: int, p: Any) -> tuple[RunsRecipe, Path]:
    """A recipe of few-shot runs at the profile's scale and the directory of its finished runs,
    trained first if they are not there yet."""
    recipe = store.recipe_of(name, p)
    return recipe, run_training.ensure(recipe, seed, files.store(p))


def snapshots_in_turn(
    opened: Opened, directories: Iterable[str | Path]
) -> Iterable[tuple[str, Opened]]:
    """Yield (directory, opened) with each snapshot's weights loaded into the same opened model."""
    for directory in directories:
        opened.load_weights(directory)
        yield str(directory), opened


def _opened(
    name: str,
    revision: str | None,
    module: nn.Module,
    tokenizer: Any,
    config: Any,
    architecture: Architecture,
) -> Opened:
    architecture.require(module)
    module.set_attn_implementation("eager")  # the fused kernels return no pattern
    tokenizer = tokenizer or _no_words()
    wrapped = TransformersModel(
        module, task="text-generation", tokenizer=tokenizer, rename=architecture.rename
    )
    return Opened(name, revision, wrapped, tokenizer, config, architecture, ask=ask)


def _read_head(
    name: str,
    revision: str | None,
    device: str,
    remote: bool | str,
    trust: bool,
    tokenizer: Any = None,
    architecture: Mapping[str, str] | None = None,
    words: bool = True,
    kept: Path | None = None,
) -> tuple[Place, Any, Any, Architecture]:
    """Where the model lies, its config, tokenizer and architecture, read after all that can be
    known without them, and before any weight."""
    if remote and remote != "local":
        preflight.check(name, revision, remote, kept)
    elif not remote:
        weights.target(device)
    place = places.find(name, revision)
    config = _read_config(place, trust)
    known = architecture_of(config, architecture)
    if not remote:
        weights.check(place, config)
    return place, config, tokenizer or _read_tokenizer(place, trust, words), known


def _read_config(place: Place, trust: bool) -> Any:
    if place.directory is not None:
        _check_json(place)
    try:
        said, _ = place.read(PreTrainedConfig.get_config_dict)
        if said.get("model_type") == internlm2.KIND and not trust:
            return internlm2.config(said)
        return place.read(AutoConfig.from_pretrained, trust_remote_code=trust)
    except OSError as error:
        raise FileNotFoundError(
            f"Cannot open model {place}: its config.json cannot be read: {_first(error)} "
            "Check the name, the revision and the network."
        ) from error
    except ValueError as error:
        own = "trust_remote_code" in str(error)
        cure = (
            "It brings its own code: read that code, then set trust_remote_code: true."
            if own
            else f"Another version of transformers may; otherwise see {architectures.PAGE}."
        )
        raise ValueError(f"Cannot open model {place}: {_first(error)} {cure}") from error


def _first(error: Exception) -> str:
    """The first sentence of an error of transformers, which may go on for a page."""
    return f"{error}".split("\n")[0].split(". ")[0].rstrip(".") + "."


def _check_json(place: Place) -> None:
    """Errors: ValueError for a config.json of a directory that is no JSON, or of no kind of
    model."""
    try:
        said = json.loads((place.directory / "config.json").read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"Cannot open model {place}: its config.json is cut short or no JSON ({error}). "
            "Make or fetch it again."
        ) from error
    if not isinstance(said, dict) or not said.get("model_type"):
        raise ValueError(
            f"Cannot open model {place}: its config.json names no `model_type`, such as gpt2 or "
            "llama. Add the line that says which kind of model it is."
        )


def _read_tokenizer(place: Place, trust: bool, words: bool) -> Any:
    """The tokenizer. Error: FileNotFoundError for none, or one without a word in it, as
    transformers makes for some kinds of model where no file says more."""
    try:
        found = _tokenizer_of(place, trust)
        if set(found.get_vocab()) - set(found.all_special_tokens):
            return found
        cause = None
    except (OSError, ValueError) as error:
        cause = error
    if not words:
        warnings.warn(f"{place} has no tokenizer: it is fed token ids only.", stacklevel=2)
        return _no_words()
    raise FileNotFoundError(
        f"Model {place} has no tokenizer that can be read. "
        "Add its tokenizer.json beside the weights."
    ) from cause


def _tokenizer_of(place: Place, trust: bool) -> Any:
    # A directory's tokenizer.json is taken as it is: AutoTokenizer would replace it by the class of
    # the model type.
    if place.directory is not None and (place.directory / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast.from_pretrained(place.name)
    return place.read(AutoTokenizer.from_pretrained, trust_remote_code=trust)


def _no_words() -> PreTrainedTokenizerFast:
    """A tokenizer without words, for models that are only ever fed token ids."""
    words = tokenizers.models.WordLevel({"<bos>": 0}, unk_token="<bos>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(words))
