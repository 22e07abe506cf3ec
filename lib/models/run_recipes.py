"""What the few-shot models of chapters 11 to 13 are made of: clamps, task, steps.

A recipe trains several runs side by side, one for each of its variants, as one job. Runs of a seed
start from the same weights and see the same sequences, unless their `stream` says otherwise; so
they differ by their clamps alone, as the paper's do. `lib.models.run_training` follows a recipe;
`lib.tracing.clamping.of` says what clamps there are.

Recipes were searched with seeds from 100 upwards; chapters judge on seeds from 3 upwards.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from lib.models.recipes import Positive, Strict, grid

CODE = ("lib.models.run_training", "lib.models.runs", "lib.data.fewshot_features")
HEADS = 8
LIVE = 3  # the head of layer 2 that clamped runs keep; the paper's too, by chance


class Variant(Strict):
    """One run among others."""

    name: str
    clamps: dict[str, dict[str, Any]] = {}
    stream: Annotated[int, Field(ge=0)] = 0  # of weights and sequences


class RunsRecipe(Strict):
    """Everything the weights depend on beside the seed and the code."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]
    steps: Positive
    snapshots: tuple[int, ...]
    lr: Annotated[float, Field(gt=0)] = 1e-4
    batch: Positive = 32
    classes: Positive = 50
    labels: Positive = 5
    warmup: Annotated[int, Field(ge=0, le=0)] = 0  # Adam at a constant rate, as in the paper

    @model_validator(mode="after")
    def check(self) -> RunsRecipe:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"variants of {self.name} share a name: {', '.join(names)}")
        if self.snapshots != tuple(sorted({0, *self.snapshots, self.steps})):
            raise ValueError("snapshots must rise from 0 to the last step; use recipes.grid")
        return self

    @property
    def names(self) -> list[str]:
        """The runs, in the order of the run axis."""
        return [variant.name for variant in self.variants]

    @property
    def cost(self) -> int:
        """What it takes beside an organism's layers times steps."""
        return max(1, self.steps * len(self.variants) // 3)


def _lone(*heads: int) -> Variant:
    """A run of which only these heads of layer 2 are not silent."""
    name = "head " if len(heads) == 1 else "heads "
    return Variant(name=name + ", ".join(map(str, heads)), clamps={"only": {"heads": heads}})


_ALL = (
    RunsRecipe(
        name="fewshot",
        variants=tuple(Variant(name=f"all, stream {k}", stream=k) for k in range(3)),
        steps=7500,
        snapshots=grid(7500, 500, range(0, 3001, 125)),
    ),
    RunsRecipe(
        name="fewshot_lone",
        variants=(
            *(_lone(head) for head in range(HEADS)),
            *(_lone(head, head + 1) for head in range(0, HEADS, 2)),
        ),
        steps=5000,
        snapshots=grid(5000, 1000),
    ),
)

RUNS: dict[str, RunsRecipe] = {recipe.name: recipe for recipe in _ALL}
