"""`python -m pipeline.cost PROFILE`: what a reader's model takes, from its config.json alone.

    parameters   from the sizes in the config: attention, MLP, embeddings (no norms, no biases)
    download     parameters in the format in which they are published, for each checkpoint
    memory       the weights in the profile's `dtype`; beside them, as float32, the matrices of all
                 heads and both embeddings; the logits and patterns of one pass; Python and torch
    time         two operations a parameter and token, for the tokens that the chapters feed, at a
                 speed that is assumed: right within a factor of three, and not better

Nothing here imports torch. The build shows it before it fetches any weight.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib import files, profiles
from lib.profiles import Profile
from lib.report import machine
from pipeline import dependencies

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
PLAIN_MLP = ("gpt2", "gpt_neox")  # two matrices; the others have a gate, too
BASE = 0.8 * GIB  # Python, torch and the libraries of a chapter
LOGITS = 10**8  # numbers that one pass holds at once (`ablation_effects`), twice
SPEED = {"cpu": 2e10, "gpu": 2e13}  # operations a second: a CPU thread, a GPU


@dataclass(frozen=True)
class Sizes:
    """The numbers of a config that decide what a model takes."""

    layers: int
    heads: int
    key_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    vocabulary: int
    context: int
    tied: bool
    gated: bool = True
    stored: str = "float32"

    @classmethod
    def of(cls, config: Any) -> Sizes:
        """From a config of transformers."""
        heads, d_model = config.num_attention_heads, config.hidden_size
        inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
        return cls(
            config.num_hidden_layers,
            heads,
            getattr(config, "num_key_value_heads", None) or heads,
            d_model,
            getattr(config, "head_dim", None) or d_model // heads,
            inner or 4 * d_model,
            config.vocab_size,
            config.max_position_embeddings,
            bool(config.tie_word_embeddings),
            config.model_type not in PLAIN_MLP,
            str(getattr(config, "dtype", None) or "float32").removeprefix("torch."),
        )

    @property
    def parameters(self) -> int:
        """How many, without norms and biases."""
        attention = 2 * self.d_model * self.d_head * (self.heads + self.key_heads)
        mlp = (3 if self.gated else 2) * self.d_model * self.d_mlp
        tables = (1 if self.tied else 2) * self.vocabulary
        # GPT-2 alone has a plain MLP and tied embeddings, and learns its positions.
        tables += self.context if self.tied and not self.gated else 0
        return self.layers * (attention + mlp) + tables * self.d_model


@dataclass(frozen=True)
class Cost:
    """Bytes to fetch, bytes of memory, and seconds for each chapter that asks the model."""

    sizes: Sizes
    dtype: str
    download: int
    memory: int
    seconds: dict[str, float]

    def told(self, name: str) -> str:
        """In lines, for a terminal."""
        s, minutes = self.sizes, sum(self.seconds.values()) / 60
        fetched = f"{in_bytes(self.download)} to fetch, less what the hub's cache has"
        fetched = fetched if self.download else "Nothing to fetch"
        asked = ", ".join(f"{int(key)}" for key in self.seconds) or "none"
        return (
            f"{name}: {in_count(s.parameters)} parameters, {s.layers} layers of {s.heads} heads.\n"
            f"  {fetched}; about {in_bytes(self.memory)} of memory with dtype: {self.dtype}.\n"
            f"  About {minutes:.0f} minutes beside the book's own work, give or take a factor of "
            f"three, in chapters {asked}."
        )


def estimate(sizes: Sizes, profile: Profile, chapters: Iterable[str] = ()) -> Cost:
    """What a model of these sizes takes under a profile, in the chapters with these names."""
    dtype = profile.dtype if profile.dtype in BYTES else sizes.stored
    here = Path(profile.model).expanduser().is_dir() or profile.remote
    copies = 0 if here else 1 + len(profile.checkpoints)
    download = copies * sizes.parameters * BYTES.get(sizes.stored, 4)
    fed = {name[:2]: tokens(name[:2], sizes, profile) for name in chapters}
    on_cpu = profile.device == "cpu" or (profile.device == "auto" and not machine.gpus())
    speed = SPEED["cpu"] * profile.threads if on_cpu else SPEED["gpu"]
    seconds = {name: count * 2 * sizes.parameters / speed for name, count in fed.items()}
    return Cost(sizes, dtype, download, memory(sizes, dtype), seconds)


def memory(sizes: Sizes, dtype: str) -> int:
    """Bytes that a chapter holds at most while it examines a model."""
    heads = sizes.layers * 4 * sizes.heads * sizes.d_head * sizes.d_model
    embeddings = 2 * sizes.vocabulary * sizes.d_model
    return int(BASE + sizes.parameters * BYTES[dtype] + 4 * (heads + embeddings) + 2 * 4 * LOGITS)


def tokens(chapter: str, sizes: Sizes, p: Profile) -> int:
    """Tokens that a chapter, by its number, feeds to a model in all its passes, roughly."""
    longest = min(max(p.repeat_lengths) * p.repeats, sizes.context)
    detect = p.examples * (3 * longest + 2 * sum(p.repeat_lengths) * p.repeats)
    series = max(1, len(p.checkpoints))
    shots = sum(shot + 1 for shot in p.level_shots)
    passes = 2 * (9 + min(p.control_sets, 10))  # sets of heads removed, patterns free and held
    counted = {
        "01": detect,
        "02": series * detect,
        "04": detect + passes * min(p.texts, 8) * 3 * min(p.repeat_lengths),
        "05": detect + 3 * p.list_prompts * 6 * p.list_lines,
        "06": 2 * p.documents * 200,
        "08": series * 4 * p.level_prompts * 7 * shots,
        "10": detect + 60 * p.causal_prompts * 7 * p.causal_shots,
    }
    return counted.get(chapter, detect)


def asked(profile: Profile, folder: Path) -> list[str]:
    """Names of the chapters that ask the profile's model."""
    every = sorted(folder.glob("[0-9]*.ipynb"))
    return [path.stem for path in every if dependencies.asks(path, profile)]


def in_bytes(count: float) -> str:
    """A size in words, such as `1.5 GiB`."""
    return machine.in_gib(count / machine.MIB)


def in_count(count: float) -> str:
    """A number of parameters in words, such as `1.5 billion`."""
    return f"{count / 1e9:.1f} billion" if count >= 1e9 else f"{count / 1e6:.0f} million"


def main(name: str = "") -> None:
    """Print the cost of a profile's model. Errors: SystemExit that says what is wrong."""
    if not name:
        raise SystemExit("Name a profile: python -m pipeline.cost gpt2")
    try:
        profile = profiles.load(files.ROOT / "params" / f"{name}.yaml")
        if not profile.model:
            raise SystemExit(f"Profile {name} names no model: it costs what the book costs.")
        from pipeline import precheck

        print(precheck.cost_of(profile))
    except (profiles.ProfileError, FileNotFoundError, ValueError) as error:
        raise SystemExit(f"{error}") from None


if __name__ == "__main__":
    main(*sys.argv[1:])
