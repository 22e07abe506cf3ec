"""The three levels of in-context learning of Ren et al. (2024), section 4, as numbers.

Idea. The same few-shot prompts tell two levels apart: whether the answer is a label at all
(format), and whether it is the right one (pattern). A third level needs no prompt: by how much a
text's later tokens are easier than its first ones.

    marks = graded(logits, label, legal)     # logits of the token that follows each prompt
    marks["in_format"].mean(), marks["right"].mean()
    loss_reduction(losses)                   # [text], nats; below zero the context helps

Caveat. `right` asks for the most probable token of the whole vocabulary, so a model that writes no
label is never right. `right_among_legal` leaves the form out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def graded(
    logits: Float[Tensor, "n vocabulary"], label: Int[Tensor, "n"], legal: Int[Tensor, "k"]
) -> dict[str, Tensor]:
    """Mark one generated token for each prompt, greedily over the full vocabulary.

    label: the right token; legal: the task's label tokens. Returns, each [n]: `answer` (token),
    `in_format` (it is legal) and `right` (it is the label), `right_among_legal` (the label is the
    most probable legal token), `legal_mass` (probability of all legal tokens) and `p_right` (that
    of the label). Error: ValueError for a label that is not legal.
    """
    if not bool(torch.isin(label, legal).all()):
        raise ValueError("A label is not among the legal tokens: give every label of the task.")
    p = logits.float().softmax(-1)
    answer = logits.argmax(-1)
    return {
        "answer": answer,
        "in_format": torch.isin(answer, legal),
        "right": answer == label,
        "right_among_legal": legal[logits[:, legal].argmax(-1)] == label,
        "legal_mass": p[:, legal].sum(-1),
        "p_right": p.gather(1, label[:, None])[:, 0],
    }


def loss_reduction(
    losses: Float[Tensor, "*rest position"], first: int = 50, later: int = 50
) -> Float[Tensor, "*rest"]:
    """Mean loss of tokens later..first+later of each text, less that of tokens 0..first; in nats.

    The paper's (i, j) are (50, 50) and (50, 450). Where a text is shorter than i + j, both shrink
    by one factor so that it is just long enough (rounded down): its halves for (50, 50), its first
    and last tenth for (50, 450).
    """
    start, begin = windows(losses.shape[-1], first, later)
    return losses[..., begin : begin + start].mean(-1) - losses[..., :start].mean(-1)


def windows(positions: int, first: int = 50, later: int = 50) -> tuple[int, int]:
    """(i, j) of `loss_reduction` in a text of so many losses: the number of early tokens, and where
    as many late ones begin."""
    factor = min(1.0, positions / (first + later))
    return max(1, int(first * factor)), max(1, int(later * factor))


def beyond_guessing(marks: dict[str, Tensor], own: Int[Tensor, "c"]) -> Float[Tensor, "*n"]:
    """1 less guessing for a right answer, 0 less guessing for another label of the task, else 0.

    own: the c labels of the task's classes. An answer among them is right by luck in one of c
    cases, classes being asked equally often; so this is 0 on average for a model that knows the
    form and nothing more, as for one that does not know the form, and 1 - 1/c for one that is
    always right.
    """
    return marks["right"].float() - torch.isin(marks["answer"], own).float() / len(own)


def bias(answer: Int[Tensor, "*rest n"], label: Int[Tensor, "k"]) -> Float[Tensor, "*rest k"]:
    """How often each of the labels of a task is the answer, less the share that is due to it where
    classes are asked equally often: 1 over their number."""
    return (answer[..., None] == label).float().mean(-2) - 1 / len(label)


def fewest(
    shots: Int[Tensor, "cell"], share: Float[Tensor, "*rest cell"], goal: float = 0.8
) -> Float[Tensor, "*rest"]:
    """The fewest shots with which a share reaches the goal, NaN if none does. The paper's goal for
    the right format is 80 %."""
    enough = torch.where(share >= goal, shots.float(), torch.inf).amin(-1)
    return torch.where(enough.isfinite(), enough, torch.nan)
