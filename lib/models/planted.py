"""Transformers whose heads are set by hand, so that a detector can be held against the truth.

Idea. The residual stream is cut into four orthogonal subspaces, hidden behind a random rotation:
what a token *is*, what the token *before* it was, what to *say* next, and where it stands. A head
is then a statement about subspaces:
the induction head looks for its own *is* among the *before* of earlier tokens and moves their *is*
into *say*. Nothing is trained, so what each head does is known; every other head is noise.

    made = induction()
    opened = opening.open_model(made.model, tokenizer=made.tokenizer)
    made.truth["induction head"]                       # [(1, 2), (1, 6)]

Caveat: planted heads are cleaner than trained ones. A detector that fails here is wrong; one that
passes may still be.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lib.models import organisms

SHARP = 30.0  # logit of a match: e^30 leaves nothing for the other positions
LABELLED = {
    "induction head": [(1, 2), (1, 6)],
    "positional copier": [(0, 3), (1, 5)],
    "previous-token head": [(0, 0)],
}
UNLABELLED = {
    "copying head that looks at its own token": [(0, 5)],
    "anti-copying head that matches prefixes": [(1, 4)],
}


@dataclass
class Space:
    """The four subspaces, as rows of one random rotation, and the features of positions. All [size,
    d_model]."""

    size: int
    context: int
    generator: torch.Generator
    token: Tensor = field(init=False)
    before: Tensor = field(init=False)
    say: Tensor = field(init=False)
    place: Tensor = field(init=False)
    frequencies: Tensor = field(init=False)

    def __post_init__(self) -> None:
        rotation = torch.linalg.qr(
            torch.randn(4 * self.size, 4 * self.size, generator=self.generator)
        )[0]
        self.token, self.before, self.say, self.place = rotation.split(self.size)
        # Random frequencies have no common period, so that no two places look alike.
        self.frequencies = torch.rand(self.size // 2, generator=self.generator) * torch.pi

    def positions(self) -> Float[Tensor, "context d_model"]:
        """The table of positions: cosines and sines in the subspace of places."""
        angles = torch.arange(self.context)[:, None] * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], 1) @ self.place

    def back(self, steps: int) -> Float[Tensor, "d_model size"]:
        """The query that looks `steps` places back: the place's features, turned back by that
        angle."""
        cos, sin = (steps * self.frequencies).cos().diag(), (steps * self.frequencies).sin().diag()
        return self.place.T @ torch.cat([torch.cat([cos, -sin], 1), torch.cat([sin, cos], 1)], 0)


Head = tuple[
    Tensor, Tensor, Tensor, Tensor
]  # W_Q, W_K, W_V [d_model, d_head] and W_O [d_head, d_model]


def looks_back(space: Space, steps: int, into: Tensor, gain: float = 1.0) -> Head:
    """A head that attends `steps` places back, whatever stands there, and moves that token into the
    subspace `into`."""
    return space.back(steps), space.place.T, space.token.T, gain * into


def matches(space: Space, key: Tensor, into: Tensor, gain: float = 1.0) -> Head:
    """A head that attends where the subspace `key` holds the current token, and moves what it finds
    into `into`."""
    return SHARP * space.token.T, key.T, space.token.T, gain * into


@dataclass(frozen=True)
class Planted:
    """A hand-set model, its tokenizer, and the heads of each kind as (layer, head)."""

    model: organisms.OrganismForCausalLM
    tokenizer: object
    truth: dict[str, list[tuple[int, int]]]

    def names(self) -> dict[str, str]:
        """`layer.head` -> what was planted there."""
        return {f"{i}.{h}": kind for kind, heads in self.truth.items() for i, h in heads}


def induction(
    seed: int = 0, size: int = 128, context: int = 512, copier_length: int = 25
) -> Planted:
    """Two layers of eight heads: one previous-token head, two induction heads, two positional
    copiers that pass for induction heads at the repeat length `copier_length` alone, a copying
    head, an anti-copying head, and noise."""
    generator = torch.Generator().manual_seed(seed)
    space = Space(size, context, generator)
    copier = looks_back(space, copier_length - 1, space.say)
    heads = {
        (0, 0): looks_back(space, 1, space.before),
        (0, 3): copier,
        (0, 5): matches(space, space.token, space.say),
        (1, 2): matches(space, space.before, space.say, 4.0),
        (1, 4): matches(space, space.before, space.say, -1.0),
        (1, 5): copier,
        (1, 6): matches(space, space.before, space.say, 2.0),
    }
    model = build(space, heads, n_layers=2, n_heads=8, noise=0.01)
    words = ["<bos>", *(f"w{i}" for i in range(1, size))]
    return Planted(model, organisms.tokenizer(words), {**LABELLED, **UNLABELLED})


@torch.no_grad()
def build(
    space: Space, heads: dict[tuple[int, int], Head], n_layers: int, n_heads: int, noise: float
) -> organisms.OrganismForCausalLM:
    """An organism without norms, with the given heads and with Gaussian noise of that scale in all
    others."""
    model = organisms.OrganismForCausalLM(_config(space, n_layers, n_heads))
    model.model.embed_tokens.weight.copy_(space.token)
    model.model.positions.weight.copy_(space.positions())
    model.lm_head.weight.copy_(space.say)
    for layer, block in enumerate(model.model.layers):
        for head in range(n_heads):
            shape = (4 * space.size, space.size)
            random = [noise * torch.randn(shape, generator=space.generator) for _ in range(4)]
            _set_head(block.self_attn, head, heads.get((layer, head), (*random[:3], random[3].T)))
    return model.eval()


def _set_head(attn: torch.nn.Module, head: int, weights: Head) -> None:
    rows = slice(head * attn.head_dim, (head + 1) * attn.head_dim)
    for projection, w in zip((attn.q_proj, attn.k_proj, attn.v_proj), weights[:3], strict=True):
        projection.weight[rows] = w.T
    attn.o_proj.weight[:, rows] = weights[3].T


def _config(space: Space, n_layers: int, n_heads: int) -> organisms.OrganismConfig:
    return organisms.OrganismConfig(
        vocab_size=space.size, hidden_size=4 * space.size, head_dim=space.size,
        num_hidden_layers=n_layers, num_attention_heads=n_heads,
        max_position_embeddings=space.context, norm="none", attention_scale=1.0,
    )  # fmt: skip


def alike(world, kind: str) -> Float[Tensor, "word word"]:
    """Which words of the book's world are taken for the current one: `literal` (itself), `category`
    (all of its category), `source` (the word that it translates)."""
    size = len(world.words)
    if kind == "literal":
        return torch.eye(size)
    same = torch.zeros(size, size)
    for ids in world.categories.values() if kind == "category" else ():
        same[ids[:, None], ids] = 1
    for word, foreign in world.translation.items() if kind == "source" else ():
        same[foreign, word] = 1
    return same


def matcher(world, seed: int, kinds: tuple[str, ...]) -> Planted:
    """Two layers of four heads whose one induction head, 1.2, finds what stands behind words that
    are `alike` the current one in any of some ways."""
    size = len(world.words)
    space = Space(size, world.context, torch.Generator().manual_seed(seed))
    taken = sum(alike(world, kind) for kind in kinds)
    heads = {
        (0, 0): looks_back(space, 1, space.before),
        (1, 2): matches(space, taken @ space.before, space.say),
    }
    model = build(space, heads, n_layers=2, n_heads=4, noise=0.01)
    return Planted(model, organisms.tokenizer(world.words), {"induction head": [(1, 2)]})
