"""Transformers in which some heads hold a relation of the generated world by construction, and
decoys that only seem to.

Idea. As in `lib.models.planted`, each head is a statement about orthogonal subspaces. A relation
head writes, for the head token of a fact, its tail: W_V W_O sends the direction of every `s` to
that of `o`. What differs is where heads look and what they read, and so which reading of the index
can see them.

Heads, what they write, and what catches them:

- `source` looks from the relation's word, two back, at the head token, and writes the tail: the
  source and context index.
- `current` looks from a repeated token at its earlier occurrence, and writes the tail: also the
  printed index, for t_j and t_s are then one token.
- `context` looks as `source`, in the second layer, and writes the tail, read from a copy that the
  first layer made: the context index alone.

Decoys, all but two looking as `source`, and what tells them from heads:

- `static` writes all tails of the relation, whatever the head token: reading another head word.
- `partners` writes every tail that some relation joins with the head token: words that another
  relation joins with it.
- `topic` writes all entities of the head token's topic: other words of the tail's class.
- `copy` writes the head token itself: the index itself.
- `self` looks at itself and writes the tail: leaving out j = s.
- `previous` looks at the token before and writes the tail: leaving out j = s + 1.

Caveat: the decoys `self` and `previous` do hold the relation in their weights. They are decoys
because the gate says nothing of them: they look at t_s whatever it is and whatever follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lib.data.lexicon import RELATIONS
from lib.data.worlds import World
from lib.models import organisms, planted
from lib.models.planted import Head, Space

GAIN = 6.0  # logit of the tail: it takes nearly all that is raised
FREQUENCIES = 32  # of the table of positions, enough to tell two places of a short document apart
Plan = dict[tuple[int, int], tuple[str, str]]  # (layer, head) -> what it is, for which relation
HEADS: Plan = {
    (0, 1): ("source", "Used-for"),
    (0, 2): ("source", "Part-of"),
    (0, 4): ("current", "Compare"),
    (1, 3): ("context", "Hyponym-of"),
    (0, 6): ("decoy static", "Used-for"),
    (1, 0): ("decoy topic", "Used-for"),
    (1, 1): ("decoy self", "Used-for"),
    (1, 5): ("decoy previous", "Used-for"),
    (1, 6): ("decoy copy", "Used-for"),
    (1, 2): ("decoy partners", "Used-for"),
}
# Heads that hold pairs but no relation; and beside them a head for each relation.
PRETENDERS: Plan = {
    (1, 0): ("decoy pairs", "Used-for"),
    (1, 1): ("decoy pairs", "Used-for"),
    (1, 2): ("decoy topic", "Used-for"),
    (1, 3): ("decoy copy", "Used-for"),
}
HOLDERS: Plan = PRETENDERS | {
    (0, 1 + number): ("source", relation) for number, relation in enumerate(RELATIONS)
}


@dataclass(frozen=True)
class PlantedRelations:
    """A hand-set model, its tokenizer, the world that it knows, and `HEADS`."""

    model: organisms.OrganismForCausalLM
    tokenizer: object
    world: World
    heads: Plan

    def truth(self, ov_input: str) -> set[tuple[int, int, str]]:
        """The (layer, head, relation) that hold a relation and can be seen with that input of the
        OV circuit."""
        seen = {
            "current": {"current"},
            "source": {"current", "source"},
            "context": {"current", "source", "context"},
        }[ov_input]
        return {
            (*place, relation) for place, (kind, relation) in self.heads.items() if kind in seen
        }


def relations_by_hand(
    world: World | None = None, seed: int = 0, plan: Plan = HEADS
) -> PlantedRelations:
    """Two layers of eight heads: those of `plan`, one that copies tokens for layer 1, and noise."""
    world = world or World(topics=8)
    space = Space(len(world.words), world.context, torch.Generator().manual_seed(seed))
    plant = _Plant(world, space)
    heads = {place: plant.head(kind, relation) for place, (kind, relation) in plan.items()}
    heads[0, 0] = planted.looks_back(
        space, 0, space.before
    )  # every token, copied into the subspace `before`
    model = planted.build(space, heads, n_layers=2, n_heads=8, noise=0.01)
    return PlantedRelations(model, organisms.tokenizer(world.words), world, plan)


@dataclass(frozen=True)
class _Plant:
    """Makes heads of the kinds above."""

    world: World
    space: Space

    def head(self, kind: str, relation: str) -> Head:
        looks = {
            "current": self._repeats,
            "decoy self": lambda: self._back(0),
            "decoy previous": lambda: self._back(1),
        }
        said = RELATIONS if kind == "decoy pairs" else (relation,)
        W_Q, W_K = looks.get(kind, lambda: self._from_words(said))()
        reads = self.space.before if kind == "context" else self.space.token
        return W_Q, W_K, reads.T @ self._written(kind, relation), GAIN * self.space.say

    def _written(self, kind: str, relation: str) -> Float[Tensor, "token token"]:
        """From the token that is read to the tokens that are raised."""
        size, tokens = len(self.world.words), torch.eye(len(self.world.words))
        facts = torch.from_numpy(self.world.graph.reshape(-1, 3))
        said = (facts[:, 1] == self.world.ids[RELATIONS[relation]]) | (
            kind in ("decoy partners", "decoy pairs")
        )
        s, _, o = facts[said].T
        if kind == "decoy static":
            return torch.ones(size, 1) @ tokens[o].sum(0, keepdim=True)
        if kind == "decoy topic":
            topic = torch.zeros(size, self.world.topics)
            topic[
                torch.from_numpy(self.world.entities), torch.arange(self.world.topics)[:, None]
            ] = 1.0
            return topic @ topic.T
        return (
            tokens
            if kind == "decoy copy"
            else torch.zeros(size, size).index_put_((s, o), torch.ones(len(s)))
        )

    def _from_words(self, relations: Iterable[str]) -> tuple[Tensor, Tensor]:
        """Look two back from the relations' words; from any other token, rest at `<bos>`."""
        words = self.world.encode(RELATIONS[relation] for relation in relations)
        entities = self.world.entities.ravel()
        at_word, everywhere = self.space.token[words].sum(0), self.space.token.sum(0)
        entity, bos = self.space.token[entities].sum(0), self.space.token[0]
        query, key = self._places(2)
        return self._padded(
            30 * at_word[:, None], 35 * everywhere[:, None], 20 * query
        ), self._padded(entity[:, None], bos[:, None], key)

    def _repeats(self) -> tuple[Tensor, Tensor]:
        """Look at an earlier occurrence of the same entity, but not at itself."""
        entities = self.space.token[self.world.entities.ravel()].T
        query, key = self._places(0)
        return self._padded(30 * entities, -15 * query), self._padded(entities, key)

    def _back(self, steps: int) -> tuple[Tensor, Tensor]:
        query, key = self._places(steps)
        return self._padded(30 * query), self._padded(key)

    def _places(
        self, steps: int
    ) -> tuple[Float[Tensor, "d_model feature"], Float[Tensor, "d_model feature"]]:
        """Query and key of a head that looks some steps back; a match scores 1."""
        half = self.space.size // 2
        chosen = torch.cat([torch.arange(FREQUENCIES), half + torch.arange(FREQUENCIES)])
        return self.space.back(steps)[:, chosen] / FREQUENCIES, self.space.place.T[:, chosen]

    def _padded(self, *columns: Tensor) -> Float[Tensor, "d_model d_head"]:
        joined = torch.cat(columns, 1)
        return torch.nn.functional.pad(joined, (0, self.space.size - joined.shape[1]))
