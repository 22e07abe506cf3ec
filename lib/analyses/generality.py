"""Do heads that match tokens also match what tokens have in common? (Olsson et al., argument 4)

Idea. On repeats an induction head finds where the *same* token stood. Two tasks ask for more
(`lib.data.abstraction`): in a list, does attention go to lines of the query's class, and in a
translation to the word behind the current word's source?

    seen = looks(opened, lists)                          # [prompt, layer, head, line]
    excess(seen, lists.right)                            # [prompt, layer, head]
    following(opened, texts) - following(opened, counted)

Two things could be mistaken for abstraction, and are kept out. A head that attends to lines at all
attends to right ones by chance: `excess` takes off the share of right lines among all. A head may
count places: what it gives to the same place in texts without correspondence is taken off.

Caveat. Attention to the right line is not yet its use; take the heads out (`label_accuracy`) before
you say so. And a model that cannot do a task says nothing about its heads (`can_do`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lib.analyses import ablation_effects
from lib.data import abstraction
from lib.data.abstraction import Lists, Translations
from lib.measures import scores
from lib.measures.statistics import Estimate, bootstrap_mean, draws, interval
from lib.models import opening, planted
from lib.tracing import batches, capture, interventions

Excess = Float[Tensor, "text layer head"]
DEALINGS, PLANTED = 100, 10  # trials behind a rate
REMOVED = ("nothing", "induction heads", "as many others")
ABSTRACT = ("literal", "category", "source")


# --- attention ---


@capture.there
def looks(opened, lists: Lists) -> Float[Tensor, "prompt layer head line"]:
    """Attention of each head from each query to each line of its list."""

    def looked(tokens: Tensor, query: Tensor) -> Tensor:
        rows = torch.arange(len(query))
        at_query = lambda layer, z, pattern: {"seen": pattern[rows, :, query]}
        return capture.stream(opened, tokens, at_query)["seen"]

    seen = batches.fitting(looked, lists.tokens, lists.query, along=1)
    lines = lists.right.shape[1]
    inside = lists.line[:, :, None] == torch.arange(lines)
    return torch.einsum("lphk,pkn->plhn", seen, inside.float())


def excess(
    seen: Float[Tensor, "prompt layer head line"], right: Bool[Tensor, "prompt line"]
) -> Excess:
    """Attention to right lines beyond their chance share of the attention to all lines.

    A perfect matcher has 1 - chance, one that attends to lines without regard to class 0.
    """
    chance = right.float().mean(1)[:, None, None]
    on_right = (seen * right[:, None, None]).sum(3)
    return on_right - chance * seen.sum(3)


def best_excess(opened, lists: Lists) -> float:
    """The largest mean excess of a model's heads on lists."""
    return float(excess(looks(opened, lists), lists.right).mean(0).max())


def of_favourite_places(right: Bool[Tensor, "prompt line"], last: int = 4) -> list[float]:
    """Mean excess of a head that attends to the last lines whatever they hold, on lists as they
    are and with the right lines last."""
    seen = torch.zeros(right.shape)
    seen[:, -last:] = 1 / last
    orders = right, right.sort(1).values
    return [float(excess(seen[:, None, None], order).mean()) for order in orders]


def following(opened, texts: Translations) -> Excess:
    """Attention from words of the second side to the word behind their source, mean over words."""
    weight = scores.weights({"next": texts.target()})[0]

    def followed(tokens: Tensor, weight: Tensor) -> Tensor:
        near = capture.near(opened, weight[None])
        to_next = lambda layer, z, pattern: {"score": scores.attention_to(pattern, near)[0]}
        return capture.stream(opened, tokens, to_next)["score"]

    return batches.fitting(followed, texts.tokens, weight, along=1).transpose(0, 1)


def laid_out(opened, lists: Lists, prompt: int, heads: dict[str, tuple[int, int]]) -> pd.DataFrame:
    """One prompt's lines as rows of words and a label with the attention that each token gets from
    the query, by named head.

    Line names carry their number, and a star for the query's class.
    """
    query = int(lists.query[prompt])
    seen = capture.patterns(opened, lists.tokens[prompt : prompt + 1])[:, 0, :, query]
    words = opened.tokenizer.convert_ids_to_tokens(lists.tokens[prompt])
    rows = []
    for number in range(lists.right.shape[1]):
        places = (lists.line[prompt] == number).nonzero()[:, 0].tolist()
        star = " *" if lists.right[prompt, number] else ""
        name = f"{number + 1:02d} {' '.join(words[i] for i in places)}{star}"
        for cell, place in enumerate(places, 1):
            kind = f"{cell} {'label' if place == places[-1] else 'word'}"
            for label, (layer, head) in heads.items():
                attention = float(seen[layer, head, place])
                rows.append({"head": label, "line": name, "place": kind, "attention": attention})
    return pd.DataFrame(rows)


# --- answers ---


def label_accuracy(
    opened, lists: Lists, groups: Sequence[interventions.Heads]
) -> Float[Tensor, "set prompt"]:
    """Whether the right label is the most probable next token, with each set of heads set to zero
    (patterns run free)."""
    rows = torch.arange(len(lists.tokens))

    def measure(logits: Tensor, tokens: Tensor) -> Tensor:
        times = len(tokens) // len(rows)
        last = logits[torch.arange(len(tokens)), lists.query.repeat(times)]
        return (last.argmax(-1) == lists.label.repeat(times).to(last.device)).float()

    gone = interventions.Silence(interventions.sets(groups, opened))
    return interventions.run(opened, lists.tokens, [gone], measure=measure)


def translation_accuracy(
    opened, texts: Translations, groups: Sequence[interventions.Heads]
) -> Float[Tensor, "set text"]:
    """Share of each text's translated words, from the second of a line on, that are the most
    probable next token, with each set of heads set to zero (patterns run free)."""
    queries = texts.target().any(2)[:, :-1]

    def measure(logits: Tensor, tokens: Tensor) -> Tensor:
        right = logits[:, :-1].argmax(-1) == tokens[:, 1:].to(logits.device)
        asked = queries.repeat(len(tokens) // len(queries), 1).to(right.device)
        return (right & asked).sum(1) / asked.sum(1).clamp(min=1)

    gone = interventions.Silence(interventions.sets(groups, opened))
    return interventions.run(opened, texts.tokens, [gone], measure=measure)


def removals(
    heads: interventions.Heads, opened, rng: np.random.Generator, draws: int
) -> list[interventions.Heads]:
    """Nothing, the heads, and random sets of as many others: what `by_removal` tells apart. Nothing
    alone where there are no such heads."""
    if not heads:
        return [[]]
    return [[], heads, *ablation_effects.controls(heads, opened, rng, draws)[0]]


def least_accuracy(guess: float) -> float:
    """The share of right answers from which a model can do a task: half-way from a guess to none
    wrong."""
    return (1 + guess) / 2


def by_removal(
    right: Float[Tensor, "set text"], rng: np.random.Generator, resamples: int
) -> pd.DataFrame:
    """The share of right answers with each of `REMOVED`, a row each: nothing (set 0), the induction
    heads (set 1), the mean over all further sets; fewer rows for fewer sets."""
    rows = []
    for name, given in zip(REMOVED, (right[:1], right[1:2], right[2:]), strict=True):
        if not len(given):
            break
        share, low, high = map(float, bootstrap_mean(given.mean(0), rng, resamples))
        rows.append({"removed": name, "accuracy": share, "low": low, "high": high})
    return pd.DataFrame(rows)


# --- parts of claims ---


def best_of_half(
    part: str,
    seed: int,
    given: Excess,
    heads: interventions.Heads,
    rng: np.random.Generator,
    resamples: int,
) -> Estimate:
    """The head with the largest excess on every second text, measured on the others, so that
    choosing it adds nothing.

    Not a number where there are no heads.
    """
    if not heads:
        return unanswered(part, seed)
    rows = torch.stack([given[:, layer, head] for layer, head in heads], 1)
    measured = rows[1::2, rows[::2].mean(0).argmax()]
    return Estimate.of(part, seed, bootstrap_mean(measured, rng, resamples), len(measured))


def others(heads: interventions.Heads, given: Excess) -> list[tuple[int, int]]:
    """All heads of a model beside some."""
    _, layers, count = given.shape
    return [pair for pair in np.ndindex(layers, count) if pair not in set(heads)]


def contrast(
    part: str,
    seed: int,
    given: Excess,
    heads: interventions.Heads,
    rng: np.random.Generator,
    resamples: int,
) -> Estimate:
    """Mean excess of the heads less that of all other heads. Not a number where either side is
    empty."""
    chosen = _mask(heads, given)
    if chosen.all() or not chosen.any():
        return unanswered(part, seed)
    gap = given[:, chosen].mean(1) - given[:, ~chosen].mean(1)
    return Estimate.of(part, seed, bootstrap_mean(gap, rng, resamples), len(gap))


def unanswered(part: str, seed: int) -> Estimate:
    """The estimate of a seed that cannot be asked."""
    return Estimate(part, seed, math.nan, math.nan, math.nan, 0)


def mean_draws(
    given: Excess, rng: np.random.Generator, resamples: int
) -> Float[Tensor, "draw layer head"]:
    """A model's mean excess by head, then what it could have been, resampled over texts."""
    return draws(lambda means: means, given, rng, resamples)


def separation(
    part: str,
    seed: int,
    means: Float[Tensor, "draw layer head"],
    heads: interventions.Heads,
    texts: int,
) -> Estimate:
    """How often one of the heads has a larger mean excess than another head of its layer: the share
    of pairs (ties count half), 0.5 by luck. Not a number without such pairs."""
    others_of = {layer: _others_in(layer, heads, means.shape[2]) for layer, _ in heads}
    pairs = [(layer, head, other) for layer, head in heads for other in others_of[layer]]
    if not pairs:
        return unanswered(part, seed)
    layer, head, other = torch.tensor(pairs).T
    gap = means[:, layer, head] - means[:, layer, other]
    wins = (gap > 0).float() + (gap == 0).float() / 2
    return Estimate.of(part, seed, interval(wins.mean(1)), texts)


def _others_in(layer: int, heads: interventions.Heads, count: int) -> list[int]:
    return [head for head in range(count) if (layer, head) not in set(heads)]


def answers(
    part: str,
    seed: int,
    given: dict[str, Excess],
    heads: interventions.Heads,
    able: bool,
    rng: np.random.Generator,
    resamples: int,
) -> list[Estimate]:
    """A model's estimates of a part and of `<part>-heads`.

    On the subject, `given[""]` (not a number where the model is not `able` to do the task), on each
    null in `given`, and, of the part alone, on `other heads`.
    """
    made = []
    for null, excess in given.items():
        best = best_of_half(part, seed, excess, heads, rng, resamples)
        means = mean_draws(excess, rng, resamples)
        apart = separation(f"{part}-heads", seed, means, heads, len(excess))
        made += [e.on(null) if null or able else unanswered(e.part, seed) for e in (best, apart)]
    rest = others(heads, given[""])
    best = best_of_half(part, seed, given[""], rest, rng, resamples)
    return [*made, best.on("other heads")]


# --- how often a rule passes: each trial is what one judgement is given ---


def with_dealt_labels(
    part: str,
    given: dict[int, Excess],
    heads: dict[int, interventions.Heads],
    rng: np.random.Generator,
    resamples: int,
) -> list[list[Estimate]]:
    """Separation of heads whose labels were dealt anew within their layers, in every seed."""
    means = {seed: mean_draws(excess, rng, resamples) for seed, excess in given.items()}
    trials = []
    for _ in range(DEALINGS):
        trial = []
        for seed, drawn in means.items():
            dealt = _dealt(heads[seed], drawn.shape[2], rng)
            trial.append(separation(part, seed, drawn, dealt, len(given[seed])))
        trials.append(trial)
    return trials


def with_dealt_classes(
    part: str,
    seen: dict[int, Float[Tensor, "prompt layer head line"]],
    lists: Lists,
    heads: dict[int, interventions.Heads],
    rng: np.random.Generator,
    resamples: int,
) -> list[list[Estimate]]:
    """The best head, in every seed, where classes were dealt anew among the lines."""
    trials = []
    for _ in range(DEALINGS):
        right = abstraction.dealt_anew(lists, rng).right
        given = {seed: excess(looked, right) for seed, looked in seen.items()}
        trials.append([best_of_half(part, s, given[s], heads[s], rng, resamples) for s in seen])
    return trials


def planted_trials(
    world, rng: np.random.Generator, resamples: int, kinds: tuple[str, ...] = ABSTRACT
) -> list[list[Estimate]]:
    """Every part on planted models whose one induction head matches in the given ways
    (`planted.alike`), one model a trial."""
    lists = abstraction.world_lists(world, rng, "singles", lines=16, n=16)
    texts = abstraction.world_translations(world, rng, n=16)
    counted = abstraction.without_correspondence(texts, world, rng)
    trials = []
    for seed in range(PLANTED):
        made = planted.matcher(world, seed, kinds)
        opened = opening.open_model(made.model, tokenizer=made.tokenizer)
        asked = (seed, made.truth["induction head"], True, rng, resamples)
        found = excess(looks(opened, lists), lists.right)
        spoken = following(opened, texts) - following(opened, counted)
        trials.append(
            _own("category", found, *asked) + _own("translation", spoken, *asked),
        )
    return trials


def _own(part: str, given: Excess, seed: int, *asked) -> list[Estimate]:
    """The estimates of a part without its nulls."""
    return [e for e in answers(part, seed, {"": given}, *asked) if not e.null]


def _dealt(
    heads: interventions.Heads, n_heads: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """As many heads of each layer, whichever they are."""
    layers = [layer for layer, _ in heads]
    return [
        (layer, int(head))
        for layer in sorted(set(layers))
        for head in rng.choice(n_heads, layers.count(layer), replace=False)
    ]


def _mask(heads: interventions.Heads, given: Excess) -> Bool[Tensor, "layer head"]:
    chosen = torch.zeros(given.shape[1:], dtype=torch.bool)
    for layer, head in heads:
        chosen[layer, head] = True
    return chosen
