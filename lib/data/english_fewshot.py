"""The few-shot tasks of Ren et al. (2024), section 4, in English, for models of language.

    asked = questions(opened, rng, "binary", shots=5, n=64)    # `apple, January: 0`

The paper names its categories and relations and prints no word lists. These are ours: twelve
words a category, sixteen pairs a relation. A category has words that most people
would put into it and into no other of the lists; pairs are such that the relation holds of them
without further context, and false pairs are, as in the paper, an animal and a month.

A label is one token in its place: the text is spelled with every label of the task, and must agree
in all tokens but the last.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lib.data import fewshot
from lib.data.fewshot import JUSTIFY, TASKS, Prompts

WORDS = {
    "fruit": "apple pear plum grape lemon cherry peach banana melon mango fig lime",
    "month": "January February March April May June July August September October November "
    "December",
    "animal": "dog cat horse lion tiger bear wolf rabbit mouse sheep snake goat",
    "furniture": "table chair sofa bed desk shelf bench stool couch cabinet wardrobe dresser",
    "profession": "baker judge nurse pilot farmer poet miner tailor doctor lawyer teacher chef",
}
PAIRS = {  # a relation's true pairs, in the order of its name
    "subj-verb": "dog barks, cat meows, bird sings, sun shines, wind blows, baby cries, rain falls,"
    " fire burns, river flows, lion roars, clock ticks, horse gallops, bell rings, fish swims,"
    " snow melts, teacher teaches",
    "verb-obj": "drink water, eat bread, read books, write letters, drive cars, sing songs,"
    " play games, bake cakes, ride bicycles, wear clothes, watch movies, paint pictures,"
    " climb mountains, wash dishes, cook meals, solve problems",
    "mod-obj": "red rose, hot coffee, cold ice, sharp knife, tall tower, deep ocean, bright star,"
    " heavy stone, soft pillow, sweet honey, loud thunder, green grass, fast train, old castle,"
    " wet towel, dark night",
    "part-whole": "wheel car, leaf tree, page book, finger hand, roof house, petal flower,"
    " keyboard computer, wing airplane, toe foot, sleeve shirt, handle door, string guitar,"
    " key piano, lens camera, pedal bicycle, chapter novel",
}


def questions(opened, rng: np.random.Generator, task: str, shots: int, n: int) -> Prompts:
    """Balanced prompts `w1, w2: label` of a task of `TASKS` or `JUSTIFY`, a line each; no line is
    asked that stands among its own examples.

    Errors: ValueError for an unknown task, and where the tokenizer does not give every label one
    token of its own.
    """
    if task not in (*TASKS, *JUSTIFY):
        raise ValueError(f"No task {task!r} in English. There are {', '.join((*TASKS, *JUSTIFY))}.")
    categories = {name: np.array(words.split()) for name, words in WORDS.items()}
    true = np.array([pair.split() for pair in PAIRS[task].split(", ")]) if task in PAIRS else None
    words, line_class = fewshot.lines(categories, true, rng, task, shots, n, balanced=True)
    labels = fewshot.said(task)
    texts = [_text(*given, labels) for given in zip(words, line_class, strict=True)]
    legal = torch.tensor(_one_token_each(opened, texts[0], labels))
    due = line_class[:, -1].tolist()
    made = [_spelled(opened, f"{x} {labels[c]}") for x, c in zip(texts, due, strict=True)]
    tokens, last = _padded([ids[:-1] for ids in made])
    return Prompts(task, shots, tokens, last, legal[due], legal, fewshot.classes_of(task))


def _text(words: np.ndarray, line_class: np.ndarray, labels: tuple[str, ...]) -> str:
    """The lines of a prompt, up to the last one's label."""
    said = [", ".join(line) + ":" for line in words.tolist()]
    shown = [f"{line} {labels[c]}" for line, c in zip(said, line_class, strict=False)]
    return "\n".join([*shown[:-1], said[-1]])


def _spelled(opened, text: str) -> list[int]:
    """Tokens of a text, behind the one that opens texts if there is one."""
    first = [] if opened.bos is None else [opened.bos]
    return first + opened.tokenizer(text, add_special_tokens=False)["input_ids"]


def _one_token_each(opened, text: str, labels: tuple[str, ...]) -> list[int]:
    """The one token that each label is behind a text. Error: ValueError where one is not."""
    made = [_spelled(opened, f"{text} {label}") for label in labels]
    stems, tokens = {tuple(ids[:-1]) for ids in made}, [ids[-1] for ids in made]
    if len(stems) != 1 or len(set(tokens)) != len(labels):
        raise ValueError(
            f"The tokenizer of {opened.name} does not give each label of {', '.join(labels)} one "
            "token of its own behind a colon, so that one token cannot answer. Use another model."
        )
    return tokens


def _padded(rows: list[list[int]]) -> tuple[Int[Tensor, "n position"], Int[Tensor, "n"]]:
    """Rows filled up at the end, and where each one's own last token stands."""
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return tokens, torch.tensor([len(row) - 1 for row in rows])
