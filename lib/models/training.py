"""The one training loop, and the cache of what it made.

Idea. A run is a directory: snapshots of the weights on a schedule, a log, and, until it is
finished, the state needed to go on. `lib.models.store` says what it is called.

Use. `ensure(recipe, seed, models_dir)` returns the run's directory and trains only what is missing.
`snapshots(run)` lists its checkpoints, `read_log(run)` its losses.

Interrupted at any moment, the next call continues from the last state and reaches the same weights
to the bit: the batch of step s is drawn from a generator made of (seed, s), and the optimiser's
tensors are saved with the weights. Files appear whole (written beside, then renamed), and a lock
keeps two processes from training the same run at once.

Caveat. The same weights to the bit need the same number of threads, so training takes one, whoever
calls it; more runs at once, in processes of their own, use more cores better than more threads do.
"""

import fcntl
import hashlib
import json
import math
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from lib.files import write_json, write_whole
from lib.models.organisms import OrganismConfig, OrganismForCausalLM, tokenizer
from lib.models.recipes import RECIPES, Corpus, Recipe, scaled
from lib.models.store import DONE, directory

__all__ = ["DONE", "RECIPES", "build", "directory", "ensure", "read_log", "scaled", "snapshots"]

STATE = "state.safetensors"  # weights, moments and step of a run that is not finished
LOG = "log.csv"
SAVE_EVERY = 200  # steps between two states, if no snapshot comes first


# What is trained


def build(recipe: Recipe, seed: int, corpus: Corpus) -> OrganismForCausalLM:
    """A fresh organism for the recipe, its weights drawn from `seed`; the global random state is
    left as it was."""
    shape = recipe.architecture
    config = OrganismConfig(
        vocab_size=len(corpus.words),
        max_position_embeddings=corpus.context,
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        num_attention_heads=shape.heads,
        head_dim=shape.d_head,
        intermediate_size=shape.mlp,
        smeared=shape.smeared,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = OrganismForCausalLM(config).train()
    model.set_attn_implementation("fused")  # not kept with the weights: what is opened is eager
    return model


def optimiser(recipe: Recipe, model: nn.Module) -> torch.optim.AdamW:
    """AdamW; single gains (norms, alphas) are not decayed, for zero means nothing to them."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(
        groups, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
    )


def learning_rate(recipe: Recipe, step: int) -> float:
    """Rate at `step` (from 0): linear warm-up, then constant, or a cosine down to a tenth."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    if recipe.schedule == "constant":
        return recipe.lr
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.lr * (0.55 + 0.45 * math.cos(math.pi * done))


def train_step(
    recipe: Recipe, seed: int, step: int, corpus: Corpus, model: nn.Module, adam: torch.optim.AdamW
) -> float:
    """One step on the batch that belongs to (seed, step); returns its loss in nats per token."""
    tokens = torch.from_numpy(corpus.batch(np.random.default_rng([seed, step]), recipe.batch))
    for group in adam.param_groups:
        group["lr"] = learning_rate(recipe, step)
    adam.zero_grad()
    loss = model(tokens, labels=tokens).loss
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    adam.step()
    return loss.item()


# The loop


def ensure(recipe: Recipe, seed: int, models_dir: str | Path, progress: bool = True) -> Path:
    """Return the directory of the finished run, training or resuming whatever is missing.

    Raises PermissionError where nothing can be written, ValueError for a checkpoint that cannot be
    read or was changed; both name the place and the cure.
    """
    run = directory(recipe, seed, models_dir)
    if not (run / DONE).exists():
        with _claimed(run), _one_thread():
            if not (run / DONE).exists():  # another process may have finished it while we waited
                _train(recipe, seed, run, progress)
    _check(run)
    return run


@contextmanager
def _claimed(run: Path) -> Iterator[None]:
    """Hold the run for this process; the system lets go of the lock when the process dies, however
    it dies."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / ".lock").open("w")
    except OSError as error:
        raise PermissionError(
            f"cannot write the organism to {run} ({error.strerror}): "
            "make the folder writable, or set the parameter runs_dir to one that is"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    """Train on one thread and give the caller's number of threads back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(recipe: Recipe, seed: int, run: Path, progress: bool) -> None:
    for left in run.glob(".partial-*"):
        shutil.rmtree(left)
    began, corpus = perf_counter(), recipe.make_corpus()
    words = tokenizer(corpus.words)
    model = build(recipe, seed, corpus)
    adam = optimiser(recipe, model)
    write_json(run / "recipe.json", {"seed": seed, **recipe.model_dump()})
    first, losses = _resume(run, model, adam)
    label = f"{recipe.name} seed {seed}"
    pause = 0.1 if sys.stderr.isatty() else 20.0  # seconds between two lines of a log
    shown = {
        "initial": first,
        "disable": not progress,
        "leave": False,
        "mininterval": pause,
        "maxinterval": pause,
    }
    for step in tqdm(range(first, recipe.steps), label, recipe.steps, **shown):
        if step in recipe.snapshots:
            _snapshot(run, step, model, words)
        if step > first and (step in recipe.snapshots or step % SAVE_EVERY == 0):
            _save_state(run, step, losses, model, adam)
        losses.append(train_step(recipe, seed, step, corpus, model, adam))
    _snapshot(run, recipe.steps, model, words)
    _finish(recipe, run, losses, first, perf_counter() - began)


def _resume(run: Path, model: nn.Module, adam: torch.optim.AdamW) -> tuple[int, list[float]]:
    """Load the last state into model and optimiser; return the next step and the losses so far."""
    path = run / STATE
    if not path.exists():
        return 0, []
    try:
        with safe_open(path, "pt") as file:
            step = int(file.metadata()["step"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            losses = tensors.pop("losses").tolist()
        for name, parameter in model.named_parameters():
            parameter.data.copy_(tensors[f"weight.{name}"])
            names = ("exp_avg", "exp_avg_sq", "step")
            adam.state[parameter] = {key: tensors[f"{key}.{name}"] for key in names}
    except (SafetensorError, KeyError, RuntimeError, OSError) as error:
        raise ValueError(
            f"cannot read {path} ({error}): delete this file, and the run starts from step 0"
        ) from error
    return step, losses


def _save_state(
    run: Path, step: int, losses: list[float], model: nn.Module, adam: torch.optim.AdamW
) -> None:
    """One file, so that weights, moments, losses and step can never be of different moments."""
    tensors = {"losses": torch.tensor(losses, dtype=torch.float64)}
    for name, parameter in model.named_parameters():
        tensors[f"weight.{name}"] = parameter.detach()
        tensors |= {f"{key}.{name}": value for key, value in adam.state[parameter].items()}
    write_whole(run / STATE, save(tensors, {"step": str(step)}))


def _snapshot(
    run: Path, step: int, model: OrganismForCausalLM, words: PreTrainedTokenizerFast
) -> None:
    """Write config, weights and tokenizer beside, then rename the folder into place."""
    place, beside = run / f"step_{step:06d}", run / f".partial-{step:06d}"
    beside.mkdir()
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(beside)
    write_whole(beside / "model.safetensors", save(model.state_dict(), {"format": "pt"}))
    words.save_pretrained(beside)
    # Written just before an interruption, after the last state: the same bits again.
    if place.exists():
        shutil.rmtree(place)
    beside.rename(place)


def _finish(recipe: Recipe, run: Path, losses: list[float], first: int, seconds: float) -> None:
    frame = pd.DataFrame({"step": range(len(losses)), "loss": losses})
    frame["lr"] = [learning_rate(recipe, step) for step in frame["step"]]
    write_whole(run / LOG, frame.to_csv(index=False))
    sums = {path.name: _checksum(path) for _, path in snapshots(run)}
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    spent = {"from_step": first, "seconds": round(seconds, 1), "threads": torch.get_num_threads()}
    write_json(run / DONE, {**spent, "versions": versions, "sha256": sums})
    (run / STATE).unlink(missing_ok=True)


def _checksum(snapshot: Path) -> str:
    return hashlib.sha256((snapshot / "model.safetensors").read_bytes()).hexdigest()


def _check(run: Path) -> None:
    """Compare every snapshot with the checksum taken when the run was finished."""
    try:
        sums = json.loads((run / DONE).read_text())["sha256"]
        wrong = [name for name, expected in sums.items() if _checksum(run / name) != expected]
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"cannot read {run} ({error}): delete this folder, and it is trained again"
        ) from error
    if wrong:
        changed = run / wrong[0] / "model.safetensors"
        raise ValueError(
            f"{changed} was changed after training: "
            f"delete the folder {run}, and it is trained again"
        )


# What a run offers


def snapshots(run: str | Path) -> list[tuple[int, Path]]:
    """Step and directory of every checkpoint of the run, in order of training."""
    return [(int(path.name[5:]), path) for path in sorted(Path(run).glob("step_*"))]


def read_log(run: str | Path) -> pd.DataFrame:
    """Columns step, loss (nats per token on that step's batch, before its update) and lr."""
    return pd.read_csv(Path(run) / LOG)
