"""What each organism of the book is made of: architecture, corpus, optimiser, snapshots.

A recipe says everything that its weights depend on, beside the seed and the code;
`lib.models.training` follows it.
Recipes were searched with seeds from 100 upwards; rules were revised with seeds 0 to 2 in view, and
are judged on seeds from 3 upwards (see the pages of chapters 2 and 3).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator


@runtime_checkable
class Corpus(Protocol):
    """What a recipe's corpus offers; see `lib.data.sequences`."""

    words: list[str]
    context: int

    def batch(self, rng: np.random.Generator, size: int) -> np.ndarray: ...


@dataclass(frozen=True)
class Source:
    """A corpus class by module and name, imported only when it is called: some need heavy
    packages."""

    module: str
    name: str

    def __call__(self, **arguments: Any) -> Corpus:
        return getattr(import_module(self.module), self.name)(**arguments)


CORPORA: dict[str, Source] = {
    "bigram_blocks": Source("lib.data.sequences", "BigramBlocks"),
    "phrases": Source("lib.data.sequences", "Phrases"),
    "world": Source("lib.data.worlds", "World"),
    "lists": Source("lib.data.worlds", "ListWorld"),
    "repeated_random": Source("lib.data.sequences", "RepeatedRandom"),
}

Positive = Annotated[int, Field(gt=0)]


class Strict(BaseModel):
    """Frozen, and unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Architecture(Strict):
    """Shape of the organism; vocabulary and context come from the corpus."""

    layers: Positive = 2
    width: Positive = 64
    heads: Positive = 4
    d_head: Positive = 16
    mlp: Annotated[int, Field(ge=0)] = 0
    smeared: Annotated[int, Field(ge=0)] = 0  # with the key of how many tokens before


class Recipe(Strict):
    """Everything the weights depend on beside the seed and the code."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    architecture: Architecture = Architecture()
    corpus: str = "bigram_blocks"
    arguments: dict[str, bool | int | float | str] = {}
    steps: Positive
    lr: Annotated[float, Field(gt=0)]
    warmup: Annotated[int, Field(ge=0)] = 50
    schedule: Literal["cosine", "constant"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(gt=0)] = 1.0
    batch: Positive = 32
    snapshots: tuple[
        int, ...
    ]  # steps after which the weights are kept; the first and the last step always are

    @model_validator(mode="after")
    def check(self) -> "Recipe":
        if self.corpus not in CORPORA:
            raise ValueError(f"no corpus {self.corpus!r}; there are {', '.join(sorted(CORPORA))}")
        if self.snapshots != tuple(sorted({0, *self.snapshots, self.steps})):
            raise ValueError("snapshots must rise from 0 to the last step; use recipes.grid")
        return self

    def make_corpus(self) -> Corpus:
        """The corpus that this recipe trains on."""
        return CORPORA[self.corpus](**self.arguments)


def grid(steps: int, every: int, dense: Iterable[int] = ()) -> tuple[int, ...]:
    """Snapshot steps: 0, every `every` steps, the last, and those in `dense`."""
    return tuple(sorted({*range(0, steps, every), steps, *(s for s in dense if 0 <= s <= steps)}))


def scaled(recipe: Strict, factor: float | int) -> Strict:
    """The recipe with `factor` times the steps, warm-up and snapshot places; never fewer than 8
    steps."""
    if factor == 1:
        return recipe
    if factor <= 0:
        raise ValueError(f"training_scale is {factor}: it must be above 0")
    steps = max(8, round(recipe.steps * factor))
    places = {round(s * steps / recipe.steps) for s in recipe.snapshots}
    changed = {
        "steps": steps,
        "warmup": round(recipe.warmup * factor),
        "snapshots": tuple(sorted(places)),
    }
    return type(recipe)(**{**recipe.model_dump(), **changed})


# --- the recipes of chapters 1 to 4 ---

BLOCKS = {"size": 256, "context": 64, "shortest": 6, "longest": 31, "sharpness": 1.5}


def _blocks(name: str, layers: int, *, mlp: int = 0, smeared: int = 0, **changes: Any) -> Recipe:
    """An organism of repeated blocks: 600 steps of 2,048 tokens, kept every 20 steps while it
    changes most."""
    shape = Architecture(layers=layers, d_head=32, mlp=mlp, smeared=smeared)
    kept = grid(
        600, 50, range(0, 401, 10 if smeared else 20)
    )  # smeared ones change within a few tens of steps
    common = {"arguments": BLOCKS, "steps": 600, "lr": 3e-3, "warmup": 100, "snapshots": kept}
    return Recipe(name=name, architecture=shape, **{**common, **changes})


PHRASES = {"size": 256, "context": 64, "phrases": 3, "shortest": 4, "longest": 9, "decay": 0.5}
# Of few words, so that one stands in several phrases, and it takes two to know which goes on.
FEW_WORDS = PHRASES | {"size": 64}

_ALL = (
    _blocks("one_layer", 1),
    _blocks("two_layer", 2),
    _blocks("three_layer", 3),
    _blocks("two_layer_mlp", 2, mlp=256),
    _blocks("one_layer_smeared", 1, smeared=1),
    _blocks("two_layer_smeared", 2, smeared=1),
    _blocks("one_layer_smeared_two", 1, smeared=2),
    _blocks("two_layer_smeared_two", 2, smeared=2),
    _blocks("one_layer_smeared_no_warmup", 1, smeared=1, warmup=0),
    _blocks("one_layer_mlp", 1, mlp=256),
    _blocks("two_layer_no_warmup", 2, warmup=0),
    _blocks("one_layer_phrases", 1, corpus="phrases", arguments=PHRASES),
    _blocks("two_layer_constant", 2, schedule="constant"),
    _blocks(
        "two_layer_phrases",
        2,
        corpus="phrases",
        arguments=PHRASES,
        snapshots=grid(600, 50, range(0, 501, 20)),
    ),
    # Chapter 1 asks in which layer their induction heads sit.
    _blocks("three_layer_phrases", 3, corpus="phrases", arguments=FEW_WORDS),
    _blocks("four_layer_phrases", 4, corpus="phrases", arguments=FEW_WORDS),
    Recipe(
        name="world",
        corpus="world",
        steps=4000,
        lr=4e-3,
        warmup=100,
        architecture=Architecture(heads=8),
        weight_decay=0.05,
        snapshots=grid(4000, 250, range(0, 1500, 50)),
    ),
    # By parameter only: what holds of two layers, does it hold of three with MLPs?
    Recipe(
        name="world_three_layer",
        corpus="world",
        steps=4000,
        lr=4e-3,
        warmup=100,
        architecture=Architecture(layers=3, heads=8, mlp=256),
        weight_decay=0.05,
        snapshots=grid(4000, 1000),
    ),
    Recipe(
        name="lists",
        corpus="lists",
        steps=3000,
        lr=4e-3,
        warmup=100,
        architecture=Architecture(heads=8),
        weight_decay=0.05,
        snapshots=grid(3000, 250),
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
