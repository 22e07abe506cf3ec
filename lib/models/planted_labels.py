"""Models set by hand in which one head alone carries the label of a few-shot list, or several do.

Idea. A line of a list is `w1 w2 label`. A head that looks, from the second word of the line that is
asked, at whatever followed earlier words of the same category finds labels of its class (and words,
which are spread over a whole category and so count little), and says them. It is the only head that
knows the answer; a previous-token head of the first layer tells it what preceded what.

    made = label_carriers(world, carriers=((1, 2), (1, 3)))
    made.truth["label carrier"]                        # [(1, 2), (1, 3)]

Two carriers say the same thing, and one of them is enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lib.models import organisms, planted
from lib.models.planted import Planted, Space

GAIN = 30.0  # logit of what is looked at: the label wins by far, and more of it changes nothing


def label_carriers(
    world, seed: int = 0, carriers: Sequence[tuple[int, int]] = ((1, 2),), gain: float = GAIN
) -> Planted:
    """Two layers of four heads: previous-token head 0.0, the carriers of the label in layer 1, and
    noise. Error: ValueError for a carrier outside layer 1, where nothing tells what preceded."""
    if any(layer != 1 or not 0 <= head < 4 for layer, head in carriers):
        raise ValueError(f"carriers {list(carriers)}: they stand in layer 1, heads 0 to 3.")
    space = Space(len(world.words), world.context, torch.Generator().manual_seed(seed))
    same = planted.alike(world, "category") @ space.before
    heads = {(0, 0): planted.looks_back(space, 1, space.before)}
    heads |= {place: planted.matches(space, same, space.say, gain) for place in carriers}
    model = planted.build(space, heads, n_layers=2, n_heads=4, noise=0.001)
    truth = {"label carrier": list(carriers), "previous-token head": [(0, 0)]}
    return Planted(model, organisms.tokenizer(world.words), truth)
