"""A model through training: losses and head scores at every snapshot, and what claims ask of them.

Idea. `follow` loads the snapshots of a run one after the other into one opened model, and reads at
each of them the
losses on fixed texts and the scores of all heads on fixed repeats of random tokens. What comes out,
a `Course`, holds
one value per snapshot *and text*, so that every number about training has an interval over texts:

    course = follow("two_layer", 0, p, texts_of("two_layer", p))
    course.window                                   # (start, end) of the phase change, in steps
    course.estimate("gain", course.scores, share_formed(course), rng, p)

The estimators stand in `lib.measures.onsets`; this module says which curve they are asked about.

Caveat. An interval over texts says how well *this* model is known; how much models differ is what
the seeds are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor

from lib.analyses import detection
from lib.measures import onsets, scores, statistics
from lib.measures.statistics import Estimate
from lib.models import opening, training
from lib.tracing import capture

REPEATS = 4  # of the random block, as in the paper; the block is as long as the context allows


@dataclass(frozen=True)
class Course:
    """One run: per-token losses, and prefix-matching and previous-token scores of every head, at
    every snapshot."""

    name: str
    seed: int | None
    steps: Float[Tensor, "snapshot"]
    losses: Float[Tensor, "snapshot text position"]
    prefix: Float[Tensor, "snapshot sequence layer head"]
    previous: Float[Tensor, "snapshot sequence layer head"]
    warmup: int = 0

    @cached_property
    def scores(self) -> Float[Tensor, "text snapshot"]:
        """In-context score of each text in nats: loss near the end less loss near the start of the
        context."""
        early, late = scores.windows(self.losses.shape[2] + 1)
        return scores.in_context_score(self.losses, early, late).T

    @cached_property
    def loss(self) -> Float[Tensor, "text snapshot"]:
        """Mean loss of each text."""
        return self.losses.mean(2).T

    @cached_property
    def heads(self) -> Float[Tensor, "sequence head snapshot"]:
        """Prefix-matching scores, heads of all layers in one axis."""
        return self.prefix.flatten(2).permute(1, 2, 0)

    @cached_property
    def best(self) -> Float[Tensor, "sequence snapshot"]:
        """Prefix matching of the head that matches most at the end of training."""
        return self.heads[:, self.heads[..., -1].mean(0).argmax()]

    @cached_property
    def window(self) -> tuple[float, float]:
        """The doubling of training in which most of the in-context score forms."""
        return onsets.window(self.steps, self.scores.mean(0))

    @cached_property
    def slopes(self) -> Float[Tensor, "text snapshot"]:
        """Slope of each text's loss over ln(index), past a tenth of the context, in nats per
        e-fold."""
        return onsets.slope_in_log(self.losses, round(0.1 * self.losses.shape[2])).T

    def frame(self, **labels: object) -> pd.DataFrame:
        """One row per snapshot: score, loss, prefix matching of the best head then, and labels."""
        best = self.heads.mean(0).amax(0)
        columns = {
            "step": self.steps,
            "in-context score": self.scores.mean(0),
            "loss": self.loss.mean(0),
            "prefix matching": best,
        }
        return pd.DataFrame(
            {k: v.numpy() for k, v in columns.items()}
            | {"model": self.name, "seed": str(self.seed)}
            | labels
        )

    def head_frame(self) -> pd.DataFrame:
        """One row per snapshot and head: prefix-matching and previous-token score."""
        index = pd.MultiIndex.from_product(
            [self.steps.int().tolist(), *(range(n) for n in self.prefix.shape[2:])],
            names=["step", "layer", "head"],
        )
        columns = {"prefix matching": self.prefix, "previous token": self.previous}
        return pd.DataFrame(
            {k: v.mean(1).flatten().numpy() for k, v in columns.items()}, index
        ).reset_index()


# --- reading ---


def texts_of(name: str, p) -> Int[Tensor, "text token"]:
    """`p.course_texts` fresh texts of the kind that a recipe trains on; the same for every model of
    that kind."""
    rng = np.random.default_rng([p.seed, 1])
    return torch.from_numpy(training.RECIPES[name].make_corpus().batch(rng, p.course_texts))


def follow(name: str, seed: int, p, texts: Int[Tensor, "text token"]) -> Course:
    """Read one of the book's own models at every snapshot, training it first if it is not there
    yet."""
    kept = opening.organism_snapshots(name, seed, p)
    warmup = training.scaled(training.RECIPES[name], p.training_scale).warmup
    return read(name, seed, list(kept), list(kept.values()), p, texts, warmup)


def read(
    name: str,
    seed: int | None,
    steps: Sequence[int],
    places: Sequence[str | Path],
    p,
    texts: Int[Tensor, "text token"],
    warmup: int = 0,
) -> Course:
    """Read snapshots of one architecture, given as directories in order of training."""
    opened = opening.open_model(places[0])
    length = (opened.context - 1) // REPEATS
    tokens = detection.random_repeats(
        opened, np.random.default_rng([p.seed, 2]), length, REPEATS, p.examples
    )
    rows = [snapshot(o, texts, tokens) for _, o in opening.snapshots_in_turn(opened, places)]
    losses, prefix, previous = (torch.stack(column) for column in zip(*rows, strict=True))
    return Course(
        name, seed, torch.tensor(steps, dtype=torch.float32), losses, prefix, previous, warmup
    )


def snapshot(
    opened, texts: Int[Tensor, "text token"], repeats: Int[Tensor, "sequence place"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses [text, position]; prefix-matching and previous-token scores [sequence, layer,
    head]."""
    weight = scores.weights(
        {"prefix": scores.prefix_target(repeats), "previous": scores.previous_target(repeats)}
    )
    weight = capture.near(opened, weight)
    found = capture.stream(
        opened, repeats, lambda layer, z, pattern: {"score": scores.attention_to(pattern, weight)}
    )["score"]
    prefix, previous = found.permute(1, 2, 0, 3)
    return capture.token_losses(opened, texts), prefix, previous


def series(p) -> Course:
    """The checkpoint series that a profile names, on repeats of random tokens; its steps are
    counted from 1.

    `checkpoints` are directories or revisions of `model`.
    """
    rows = []
    for name, revision in opening.checkpoints(p):
        opened = opening.open_named(p, name, revision)
        length = min(25, (opened.context - 1) // REPEATS)
        tokens = detection.random_repeats(
            opened, np.random.default_rng([p.seed, 2]), length, REPEATS, p.examples
        )
        rows.append(snapshot(opened, tokens, tokens))
    losses, prefix, previous = (torch.stack(column) for column in zip(*rows, strict=True))
    return Course(
        p.model or "series", None, torch.arange(1.0, len(rows) + 1), losses, prefix, previous
    )


def alphas(name: str, seed: int, p) -> pd.DataFrame:
    """One row per snapshot, layer and head of a model with smeared keys: `own`, sigma(alpha), the
    weight of a key's own token."""
    rows = []
    for step, place in opening.organism_snapshots(name, seed, p).items():
        with safe_open(place / "model.safetensors", "pt") as file:
            for key in sorted(k for k in file.keys() if k.endswith("smear")):  # noqa: SIM118
                layer = int(key.split("layers.")[1].split(".")[0])
                rows += [
                    {"step": step, "layer": layer, "head": h, "own": float(a)}
                    for h, a in enumerate(torch.sigmoid(file.get_tensor(key)))
                ]
    return pd.DataFrame(rows).assign(seed=str(seed))


# --- pairs that repeat and pairs that break ---

PAIR_KINDS = ("repeated", "conflicting", "unpaired")


def pair_texts(
    corpus, rng: np.random.Generator, size: int, gap: int = 12
) -> dict[str, Int[Tensor, "text token"]]:
    """Texts of a bigram corpus in which a pair A B stands twice and A comes a third time, at the
    last but one place.

    repeated: B follows again. conflicting: another likely successor C of A follows. unpaired: C
    follows, but the two
    earlier pairs are of other words, so that nothing in the text speaks against it. Text between is
    `gap` words long.
    """
    fill = [corpus.walk(rng, size, gap) for _ in range(3)]
    first, second = rng.permuted(np.tile(np.arange(corpus.size), (size, 1)), axis=1)[:, :2].T
    pair, other = successors(corpus, rng, first), successors(corpus, rng, second)[:, :1]
    known, strange = (
        np.stack([first + 1, pair[:, 0]], 1),
        np.concatenate([second[:, None] + 1, other], 1),
    )
    bos, ends = (
        np.zeros((size, 1), np.int64),
        {"repeated": pair[:, :1], "conflicting": pair[:, 1:], "unpaired": pair[:, 1:]},
    )
    texts = {}
    for kind, end in ends.items():
        twice = strange if kind == "unpaired" else known
        texts[kind] = torch.from_numpy(
            np.concatenate(
                [bos, fill[0], twice, fill[1], twice, fill[2], known[:, :1], end], axis=1
            )
        )
    return texts


def successors(corpus, rng: np.random.Generator, words: np.ndarray) -> np.ndarray:
    """Two different successors of each word (numbered from 0, without `<bos>`), drawn from the
    chain: ids [word, 2]."""
    rows = corpus.chain()[words]
    noise = -np.log(rng.random(rows.shape)) / rows  # the two smallest are draws without replacement
    return np.argsort(noise, axis=1)[:, :2] + 1


def pair_losses(
    name: str, seed: int, p
) -> tuple[Float[Tensor, "snapshot"], dict[str, Float[Tensor, "text snapshot"]]]:
    """Steps, and for each kind of pair the loss of the last token of each text at every
    snapshot."""
    texts = pair_texts(
        training.RECIPES[name].make_corpus(), np.random.default_rng([p.seed, 3]), p.course_texts
    )
    kept = opening.organism_snapshots(name, seed, p)
    opened = opening.open_model(kept[min(kept)])
    together = torch.cat([texts[kind] for kind in PAIR_KINDS])
    last = torch.stack(
        [
            capture.token_losses(o, together)[:, -1]
            for _, o in opening.snapshots_in_turn(opened, kept.values())
        ],
        1,
    )
    return torch.tensor(list(kept), dtype=torch.float32), dict(
        zip(PAIR_KINDS, last.chunk(3), strict=True)
    )


# --- paths of per-token losses ---

TOKENS = 8  # of each text; the paper takes one, of far more texts


def paths(
    courses: Sequence[Course], rng: np.random.Generator
) -> Float[Tensor, "text course snapshot 2"]:
    """One joint PCA of all snapshots of all courses, each a vector of the losses of the same random
    tokens of each text.

    What a text contributes to each coordinate; the mean over texts is the path. Courses must share
    texts and snapshots.
    """
    vectors = torch.stack([course.losses for course in courses]).transpose(
        0, 2
    )  # [text, snapshot, course, position]
    place = torch.from_numpy(
        rng.permuted(np.tile(np.arange(vectors.shape[3]), (len(vectors), 1)), axis=1)[:, :TOKENS]
    )
    vectors = vectors.gather(3, place[:, None, None].expand(*vectors.shape[:3], -1)).permute(
        2, 1, 0, 3
    )
    flat = vectors.flatten(2).flatten(0, 1)  # [course x snapshot, text x token]
    parts = (flat - flat.mean(0))[..., None] * onsets.plane(flat)
    return parts.unflatten(1, vectors.shape[2:]).sum(2).unflatten(0, vectors.shape[:2]).permute(
        2, 0, 1, 3
    ) * len(place)


# --- parts of claims ---


def estimate(
    part: str,
    seed: int | None,
    statistic: statistics.Statistic,
    samples: Float[Tensor, "sample *rest"],
    rng: np.random.Generator,
    p,
) -> Estimate:
    """A statistic of the mean over texts or sequences, with its interval over them."""
    return Estimate.of(
        part, seed, statistics.bootstrapped(statistic, samples, rng, p.resamples), len(samples)
    )


def doublings(step: Tensor, other: Tensor | float) -> Tensor:
    """How many doublings of training lie between two steps; positive where `step` is the later
    one."""
    return torch.log2(step.clamp(min=1) / other)


def middle(course: Course) -> float:
    """Middle of the window, in doublings."""
    return (course.window[0] * course.window[1]) ** 0.5


def formed(part: str, course: Course, rng: np.random.Generator, p) -> Estimate:
    """Share of the final in-context score that forms within the window."""
    return estimate(
        part,
        course.seed,
        lambda curves: onsets.share_within(course.steps, curves, *course.window),
        course.scores,
        rng,
        p,
    )


def formed_later(part: str, courses: Sequence[Course], rng: np.random.Generator, p) -> Estimate:
    """Share that forms after the window, largest of several models."""

    def largest(curves: Tensor) -> Tensor:
        shares = [
            onsets.share_within(c.steps, curves[:, i], c.window[1], float(c.steps[-1]))
            for i, c in enumerate(courses)
        ]
        return torch.stack(shares).amax(0)

    return estimate(
        part, courses[0].seed, largest, torch.stack([c.scores for c in courses], 1), rng, p
    )


def most_matching(part: str, course: Course, rng: np.random.Generator, p) -> Estimate:
    """Prefix matching of the best head at any snapshot."""
    return estimate(part, course.seed, lambda heads: heads.amax((1, 2)), course.heads, rng, p)


def matching_at(
    part: str, courses: Sequence[Course], edge: int, rng: np.random.Generator, p
) -> Estimate:
    """Prefix matching of the best head at the window's start (`edge` 0: the largest of the models)
    or end (1: the smallest)."""
    drawn = []
    for course in courses:
        values = statistics.draws(
            lambda heads, c=course: onsets.at(c.steps, heads, c.window[edge]).amax(1),
            course.heads,
            rng,
            p.resamples,
        )
        drawn.append(values)
    worst = torch.stack(drawn).amin(0) if edge else torch.stack(drawn).amax(0)
    return Estimate.of(part, courses[0].seed, statistics.interval(worst), len(courses[0].heads))


def onset_draws(course: Course, rng: np.random.Generator, p) -> dict[str, Float[Tensor, "draw"]]:
    """Onsets of the in-context score, of prefix matching (the best head's) and of the loss, over
    resamples."""
    curves = {
        "in-context score": course.scores,
        "prefix matching": course.best,
        "loss": course.loss,
    }
    return {
        name: statistics.draws(
            lambda c: onsets.crossing(course.steps, c), samples, rng, p.resamples
        )
        for name, samples in curves.items()
    }


def together(part: str, courses: Sequence[Course], rng: np.random.Generator, p) -> Estimate:
    """Distance of the onsets of prefix matching and in-context score in doublings, largest of
    several models."""
    apart = []
    for course in courses:
        found = onset_draws(course, rng, p)
        apart.append(doublings(found["prefix matching"], found["in-context score"]).abs())
    return Estimate.of(
        part,
        courses[0].seed,
        statistics.interval(torch.stack(apart).amax(0)),
        len(courses[0].scores),
    )


def bump(part: str, courses: Sequence[Course], rng: np.random.Generator, p) -> Estimate:
    """Steepest fall of the loss after the warm-up over the slowest fall before it, smallest of
    several models."""

    def smallest(curves: Tensor) -> Tensor:
        return torch.stack(
            [onsets.steepening(c.steps, curves[:, i], c.warmup) for i, c in enumerate(courses)]
        ).amin(0)

    return estimate(
        part, courses[0].seed, smallest, torch.stack([c.loss for c in courses], 1), rng, p
    )


def bump_place(part: str, courses: Sequence[Course], rng: np.random.Generator, p) -> Estimate:
    """Distance of that steepest fall from the middle of the window in doublings, largest of several
    models."""

    def largest(curves: Tensor) -> Tensor:
        return torch.stack(
            [
                doublings(onsets.steepest(c.steps, curves[:, i], c.warmup), middle(c)).abs()
                for i, c in enumerate(courses)
            ]
        ).amax(0)

    return estimate(
        part, courses[0].seed, largest, torch.stack([c.loss for c in courses], 1), rng, p
    )


def turns(
    parts: Float[Tensor, "text course snapshot 2"],
    part: str,
    courses: Sequence[Course],
    rng: np.random.Generator,
    p,
) -> Estimate:
    """Angle at the corner of each path in degrees, smallest of several."""
    return estimate(
        part,
        courses[0].seed,
        lambda drawn: onsets.angle(drawn, onsets.corner(drawn)).amin(1),
        parts,
        rng,
        p,
    )


def turn_place(
    parts: Float[Tensor, "text course snapshot 2"],
    part: str,
    courses: Sequence[Course],
    rng: np.random.Generator,
    p,
) -> Estimate:
    """Distance of each path's corner from the middle of its window in doublings, largest of
    several."""

    def largest(drawn: Tensor) -> Tensor:
        corners = onsets.corner(drawn)
        return torch.stack(
            [doublings(c.steps[corners[:, i]], middle(c)).abs() for i, c in enumerate(courses)]
        ).amax(0)

    return estimate(part, courses[0].seed, largest, parts, rng, p)


def flatness(part: str, courses: Sequence[Course], rng: np.random.Generator, p) -> Estimate:
    """Slope of the loss over ln(index) before the window as a share of that after it, largest of
    several models."""

    def largest(curves: Tensor) -> Tensor:
        return torch.stack(
            [
                onsets.at(c.steps, curves[:, i], c.window[0])
                / onsets.at(c.steps, curves[:, i], c.window[1])
                for i, c in enumerate(courses)
            ]
        ).amax(0)

    return estimate(
        part, courses[0].seed, largest, torch.stack([c.slopes for c in courses], 1), rng, p
    )


def slope_after(part: str, courses: Sequence[Course], rng: np.random.Generator, p) -> Estimate:
    """Slope of the loss over ln(index) at the window's end, the least steep of several models."""

    def largest(curves: Tensor) -> Tensor:
        return torch.stack(
            [onsets.at(c.steps, curves[:, i], c.window[1]) for i, c in enumerate(courses)]
        ).amax(0)

    return estimate(
        part, courses[0].seed, largest, torch.stack([c.slopes for c in courses], 1), rng, p
    )


def changed(
    part: str, course: Course, losses: Float[Tensor, "text snapshot"], rng: np.random.Generator, p
) -> Estimate:
    """Change of a loss from the window's start to its end, in nats."""
    start, end = course.window
    return estimate(
        part,
        course.seed,
        lambda c: onsets.at(course.steps, c, end) - onsets.at(course.steps, c, start),
        losses,
        rng,
        p,
    )


def spread(part: str, courses: Sequence[Course], rng: np.random.Generator, p) -> Estimate:
    """Range of the final in-context score over several models, as a share of its mean."""
    samples = torch.stack([c.scores[:, -1] for c in courses], 1)
    return estimate(
        part,
        courses[0].seed,
        lambda ends: (ends.amax(1) - ends.amin(1)) / ends.mean(1).abs(),
        samples,
        rng,
        p,
    )


def faster(
    part: str, small: Course, large: Course, start: float, end: float, rng: np.random.Generator, p
) -> Estimate:
    """Fall of the loss per doubling of training between two steps, that of the small model less
    that of the large one."""
    span = float(np.log2(end / start)) if end > start else float("nan")

    def difference(curves: Tensor) -> Tensor:
        falls = onsets.at(small.steps, curves, start) - onsets.at(small.steps, curves, end)
        return (falls[:, 0] - falls[:, 1]) / span

    return estimate(part, small.seed, difference, torch.stack([small.loss, large.loss], 1), rng, p)


def matching_finally(part: str, course: Course, rng: np.random.Generator, p) -> Estimate:
    """Prefix matching of the best head at the last snapshot."""
    return estimate(part, course.seed, lambda heads: heads[..., -1].amax(1), course.heads, rng, p)


def share_of(part: str, course: Course, other: Course, rng: np.random.Generator, p) -> Estimate:
    """Final in-context score of one model as a share of that of another, on the same texts."""
    samples = torch.stack([course.scores[:, -1], other.scores[:, -1]], 1)
    return estimate(part, course.seed, lambda ends: ends[:, 0] / ends[:, 1], samples, rng, p)


def later(part: str, course: Course, other: Course, rng: np.random.Generator, p) -> Estimate:
    """Onset of the in-context score of one model after that of another, in doublings of training;
    negative is earlier."""
    first, second = (onset_draws(c, rng, p)["in-context score"] for c in (course, other))
    return Estimate.of(
        part, course.seed, statistics.interval(doublings(first, second)), len(course.scores)
    )
