"""The book's world for chapters 4 and 5: lists, translations and repeats, and nothing else.

Idea. Whether heads that match tokens also match categories and translations can be asked only of a model that has learnt
all three. The world of `lib.worlds` speaks of much else; here its documents come in other shares, from the same words,
categories and held-out pairs, so that prompts and annotation are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.worlds import World

SHARES: dict[str, float] = {"pairs": 0.22, "singles": 0.13, "categories": 0.05, "repeats": 0.45, "translations": 0.15}


@dataclass(frozen=True)
class ListWorld(World):
    """A world that shows its lists, translations and repeats; it has few entities, for it never speaks of them."""

    topics: int = 1
    shortest: int = 6
    longest: int = 30

    def batch(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Draw int64 [size, context], kinds mixed by this module's `SHARES`."""
        counts = rng.multinomial(size, list(SHARES.values())).tolist()
        parts = [self.documents(rng, n, kind).tokens for kind, n in zip(SHARES, counts, strict=True) if n]
        return rng.permutation(np.concatenate(parts))
