"""Far, as good as near: whatever chapters ask of a model gives the same bits when it travels.

`remote="local"` packs a question up, opens it without our modules, and answers it in this process.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from lib import profiles
from lib.analyses import (
    composition,
    detection,
    function_vectors,
    generality,
    head_families,
    levels,
    phase_reading,
    relation_frames,
    relation_maps,
    syntax_probing,
)
from lib.analyses.ablation_effects import SIX_WAYS, CleanRun
from lib.analyses.causes import WAYS, Trial
from lib.analyses.importance import Importance
from lib.data import abstraction, fewshot, gold, lexicon
from lib.data.worlds import World
from lib.measures import relation_index, scores
from lib.models import opening, organisms, training
from lib.tracing import capture, interventions
from tests import tiny

WORLD, HEADS = World(), [(0, 1), (1, 0)]
READ = profiles.validate({"examples": 2}, "what a checkpoint is asked")
TOKENS = scores.repeated_random(
    np.random.default_rng(0), 3, 6, 3, torch.arange(1, tiny.VOCABULARY), 0
)
LAST = torch.tensor([17, 9, 17])
HIDDEN = scores.prefix_target(TOKENS)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def run(opened) -> CleanRun:
    return CleanRun.of(opened, TOKENS, slice(0, 5), slice(10, 17))


def put(opened) -> interventions.Put:
    return interventions.Put(one(opened), interventions.previous_pattern(TOKENS.shape[1]))


def one(opened):
    return interventions.sets([HEADS], opened)


def answer(logits, prompts):
    return logits[:, 3] - logits[:, 4]


def patched(opened, *clamps, where=None):
    given = interventions.outputs(opened, TOKENS.roll(1, 0))
    patch = interventions.Replace(interventions.every_head(opened), given, where)
    return interventions.run(opened, TOKENS, [*clamps, patch], LAST)


# --- of any model ---

ANY = {
    "scores of attention": lambda o: detection.attention_scores(o, TOKENS, rng()),
    "copying": lambda o: detection.copying_scores(o, TOKENS),
    "scores of weights": lambda o: detection.weight_scores(o, torch.rand(3, 4)),
    "a whole detection": lambda o: detection.detect(o, rng(), examples=2, resamples=100).heads,
    "a checkpoint": lambda o: phase_reading.snapshot(o, TOKENS, TOKENS),
    "a reading of one": lambda o: phase_reading.measure(o, READ),
    "patterns": lambda o: capture.patterns(o, TOKENS, [1, 2]),
    "logits": lambda o: capture.logits(o, TOKENS),
    "next logits": lambda o: capture.next_logits(o, TOKENS),
    "losses": lambda o: capture.token_losses(o, TOKENS),
    "the last stream": lambda o: capture.before_unembedding(o, TOKENS),
    "embeddings": lambda o: capture.embeddings(o, TOKENS),
    "queries and keys": lambda o: capture.queries_and_keys(o, TOKENS),
    "head outputs": lambda o: interventions.outputs(o, TOKENS),
    "patterns under an intervention": lambda o: interventions.patterns(o, TOKENS, [put(o)]),
    "ideal patterns": lambda o: run(o).under([put(o)]),
    "silence": lambda o: run(o).under([interventions.Silence(one(o))]),
    "hidden keys": lambda o: run(o).under([interventions.Hide(one(o), HIDDEN)]),
    "all patterns of our own": lambda o: run(o).under(
        interventions.held(interventions.uniform_pattern(19).expand(3, 3, 4, -1, -1))
    ),
    "a path through patterns": lambda o: composition.pattern_path(run(o), [put(o)]),
    **{
        f"removed: {how}, {'held' if held else 'free'}": lambda o, how=how, held=held: run(
            o
        ).without([HEADS, HEADS[:1]], how, held)
        for how, held in SIX_WAYS
    },
    "patched": lambda o: patched(o),
    "patched at a place": lambda o: patched(o, where=torch.arange(19) == LAST[:, None]),
    "patched, patterns held": lambda o: patched(
        o, *interventions.held(capture.patterns(o, TOKENS))
    ),
    "gradients": lambda o: interventions.gradients(o, TOKENS, LAST, answer),
    "previous-token heads": lambda o: torch.tensor(
        composition.previous_token_heads(o, TOKENS, 0.1, 2)
    ),
    "K-composition": lambda o: composition.k_composition(o, 0, 2),
    "direct logits": lambda o: composition.direct_logits(o, TOKENS),
    "entropies": lambda o: head_families.entropies(o, TOKENS),
}


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def near(request):
    return tiny.opened(request.param)


@pytest.mark.parametrize("question", ANY)
def test_a_model_of_any_family_answers_alike(near, question):
    torch.manual_seed(0)
    here = ANY[question](near)
    torch.manual_seed(0)
    there = ANY[question](replace(near, remote="local", _cache={}))
    assert same(here, there) and says_something(here)


# --- of a model that speaks of the world ---


def asked(task: str):
    return fewshot.questions(WORLD, rng(), task, 4, 4)


@cache
def encoded(tokenizer):
    p = profiles.load("params/smoke.yaml")
    return relation_frames.encode(WORLD, rng(), 6, "graph", tokenizer, list(lexicon.RELATIONS), p)


def trial(opened) -> Trial:
    texts = torch.from_numpy(WORLD.batch(rng(), 4))
    return Trial(opened, [asked("binary"), asked("four")], texts)


def as_said(opened):
    """Lists whose right labels are what the model says."""
    rows = torch.arange(len(LISTS.query))
    said = capture.logits(opened, LISTS.tokens)[rows, LISTS.query].argmax(-1)
    return replace(LISTS, label=said)


LISTS = abstraction.world_lists(WORLD, rng(), "binary", 6, 4)
TRANSLATED = abstraction.world_translations(WORLD, rng(), 4)
SCORED = {
    f"{attention}, {ov}": relation_index.Choices(attention=attention, ov_input=ov)
    for attention, ov in product(("forward", "embedding"), ("current", "context"))
}

OF_THE_WORLD = {
    "answers": lambda o: levels.answered(o, [asked("binary"), asked("four")]),
    "lists": lambda o: generality.looks(o, LISTS),
    "translations": lambda o: generality.following(o, TRANSLATED),
    "labels of lists": lambda o: generality.label_accuracy(o, as_said(o), [[], HEADS]),
    "relations": lambda o: {
        name: found.sums
        for name, found in relation_maps.measure(
            o, encoded(o.tokenizer), SCORED, copying=SCORED
        ).items()
    },
    "ratios": lambda o: relation_maps.ratio_table(o, encoded(o.tokenizer)),
    "what is raised": lambda o: pd.Series(
        relation_frames.raised(o, encoded(o.tokenizer).part(0, 1), (1, 0), 3)
    ),
    "a parsed sentence": lambda o: syntax_probing._parsed(
        o, gold.trees(WORLD, WORLD.documents(rng(), 1, "sentences"))[0][0]
    ),
    "function vectors": lambda o: (
        function_vectors.over(o, [[asked("binary"), asked("binary")]], rng()).samples
    ),
    "importance": lambda o: Importance.of(o, [asked("binary")]),
    **{
        f"levels: {how}": lambda o, how=how: trial(o).without([[], HEADS], how, how == "zero")
        for how in WAYS
    },
}


@pytest.fixture(scope="module")
def reader():
    made = training.build(training.RECIPES["world"], 0, WORLD)
    return opening.open_model(made, tokenizer=organisms.tokenizer(WORLD.words))


@pytest.mark.parametrize("question", OF_THE_WORLD)
def test_a_reader_of_the_world_answers_alike(reader, question):
    here = OF_THE_WORLD[question](reader)
    there = OF_THE_WORLD[question](replace(reader, remote="local", _cache={}))
    assert same(here, there) and says_something(here)


# --- the same bits ---


def parts(value) -> list:
    """The tensors and frames of an answer, whatever holds them."""
    if is_dataclass(value):
        return parts([getattr(value, field.name) for field in fields(value)])
    if isinstance(value, dict):
        return parts(list(value.values()))
    if isinstance(value, list | tuple):
        return [part for one in value for part in parts(one)]
    return [value]


def same(here, there) -> bool:
    pairs = zip(parts(here), parts(there), strict=True)
    return all(
        torch.equal(a, b)
        or bool((a.isnan() == b.isnan()).all() and torch.equal(a.nan_to_num(), b.nan_to_num()))
        if isinstance(a, torch.Tensor)
        else a.equals(b)
        for a, b in pairs
    )


def says_something(value) -> bool:
    """Not nothing but zeros."""
    given = parts(value)
    return any(not isinstance(one, torch.Tensor) or bool(one.bool().any()) for one in given)


def test_weights_are_read_where_they_are_or_not_at_all():
    far = replace(tiny.opened("gpt2"), remote="local", _cache={})
    with pytest.raises(
        ValueError, match="Read them in a function that `lib.tracing.capture.there`"
    ):
        far.head_weights(0)
