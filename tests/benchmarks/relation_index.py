"""The relation index of all heads against plain forward passes and against the literal equations.

GPT-2-small's shape with random weights, queries enlarged so that attention is about as sharp as in
a trained model (flat
attention would pass no gate and cost nothing); 100 AGENDA abstracts where the file is there, else
texts of their size; CPU.
Run by hand: `python -m tests.benchmarks.relation_index`. Only ratios are written, the contenders
taking turns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from lib.analyses import relation_maps
from lib.data import agenda, triplets
from lib.measures import relation_index
from lib.models import opening, organisms
from lib.tracing import capture
from tests import relation_reference
from tests.benchmarks.detection import described, interleaved, resident, row

DATA = (Path("data"), Path("../shared/data"))
DOCUMENTS, BATCH = 100, 10
LITERAL_EVENTS = 20
READINGS = {
    "printed": relation_index.PRINTED,
    "source": relation_index.CALIBRATED,
    "context": replace(relation_index.CALIBRATED, ov_input="context"),
}


def documents() -> list[triplets.Document]:
    """Lettered abstracts, or random words of the same numbers."""
    file = next(
        (
            folder / "agenda/preprocessed.test.tsv"
            for folder in DATA
            if (folder / "agenda/preprocessed.test.tsv").is_file()
        ),
        None,
    )
    if file:
        return agenda.lettered(agenda.read(file)[: DOCUMENTS + 10], np.random.default_rng(0))[0][
            :DOCUMENTS
        ]
    return [invented(np.random.default_rng(i)) for i in range(DOCUMENTS)]


def invented(rng: np.random.Generator) -> triplets.Document:
    """140 words, of which 16 are mentions of ten entities; five triplets."""
    words = [f"w{i}" for i in rng.zipf(1.3, 140).clip(max=3000)]
    places = rng.choice(140, 16, replace=False).tolist()
    for i, place in enumerate(places):
        words[place] = agenda.LETTERS[i % 10]
    links = [triplets.Link("Used-for", (places[2 * i],), (places[2 * i + 1],)) for i in range(5)]
    return triplets.Document.of_words(
        words, links, ["entity" if i in places else None for i in range(140)]
    )


def setting(layers: int = 12) -> tuple[opening.Opened, triplets.Encoded]:
    told = documents()
    words = ["<bos>", *dict.fromkeys(word for document in told for word in document.words)]
    torch.manual_seed(0)
    module = AutoModelForCausalLM.from_config(
        GPT2Config(n_layer=layers, bos_token_id=0, eos_token_id=0), attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        for block in module.transformer.h:
            block.attn.c_attn.weight[:, :768] *= 12
    encoded = triplets.collate(told, organisms.tokenizer(words), agenda.RELATIONS, 512)
    return opening.open_model(module), encoded


@torch.no_grad()
def plain(opened: opening.Opened, encoded: triplets.Encoded) -> None:
    """The forward passes with logits, in the same batches."""
    for start in range(0, len(encoded.tokens), BATCH):
        opened.module(encoded.part(start, start + BATCH).tokens, use_cache=False)


def index(
    opened: opening.Opened, encoded: triplets.Encoded, *names: str
) -> dict[str, relation_maps.Found]:
    return relation_maps.measure(
        opened, encoded, {name: READINGS[name] for name in names}, batch=BATCH
    )


def against_literal(
    opened: opening.Opened, encoded: triplets.Encoded, repeats: int
) -> tuple[float, float]:
    """Seconds of scoring one batch, ours over literal, median and fastest; both are given the
    patterns.

    Of the literal equations only the tail's share is timed, on a sample of the events, and W_V W_O
    is formed for nothing.
    """
    part = encoded.part(0, BATCH)
    patterns = capture.patterns(opened, part.tokens)
    events = float(index(opened, part, "printed")["printed"].sums["events"].sum())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        measure = relation_maps.layer_measure(opened, part, {"printed": READINGS["printed"]})
        for layer, pattern in enumerate(patterns):
            measure(layer, None, pattern)
        times.append(time.perf_counter() - start)
    literal = literal_seconds(opened, part) * events
    return float(np.median(times)) / literal, min(times) / literal


def literal_seconds(opened: opening.Opened, encoded: triplets.Encoded) -> float:
    """Seconds that equation 2 takes for one event, as it is written."""
    W_U, weights, found = opened.W_U, opened.head_weights(0), encoded.triplets
    W_OV = weights.W_V[0] @ weights.W_O[0]
    start = time.perf_counter()
    for n in range(LITERAL_EVENTS):
        tokens, j = encoded.tokens[found.document[n]], int(found.first[n])
        relation_reference.share(
            opened.W_E[tokens[j]], W_OV, W_U, tokens, j, int(tokens[found.target[n]])
        )
    return (time.perf_counter() - start) / LITERAL_EVENTS


def run(repeats: int) -> dict[str, object]:
    opened, encoded = setting()
    events = float(index(opened, encoded, "printed")["printed"].sums["events"].sum())
    seconds = interleaved(
        {
            "plain": lambda: plain(opened, encoded),
            "printed": lambda: index(opened, encoded, "printed"),
            "all three": lambda: index(opened, encoded, *READINGS),
        },
        repeats,
    )
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    fastest = {name: min(times) for name, times in seconds.items()}
    rows = [
        row(
            "time: printed relation index of all heads / the plain forward pass with logits",
            median["printed"] / median["plain"],
            fastest["printed"] / fastest["plain"],
            1.2,
        ),
        row(
            "time: printed, source and context index together / the plain forward pass with logits",
            median["all three"] / median["plain"],
            fastest["all three"] / fastest["plain"],
            1.2,
        ),
        row(
            "time: scoring one batch, its patterns given / the literal equations, from a sample "
            "of their events",
            *against_literal(opened, encoded, repeats),
            1 / 50,
        ),
        row(
            "peak memory above the weights: 12 layers / 4 layers", peak("12") / peak("4"), "–", 1.25
        ),
        row(
            "peak memory, GiB: one layer of 16 heads, width 2048, 92,544 tokens, with its weights",
            peak("wide") / 1024,
            "–",
            24.0,
        ),
    ]
    told = {
        "Input": f"{DOCUMENTS} abstracts, {len(encoded.triplets)} triplets, {events:,.0f} events "
        "of the printed gate",
        "Repeats": f"{repeats}, taking turns; ratios are of medians",
    }
    return {"setting": described(repeats, False) | told, "rows": rows}


# --- memory, each in a process of its own ---


def peak(what: str) -> float:
    """MiB: above the model for a number of layers, in all for `wide`."""
    command = [sys.executable, "-m", "tests.benchmarks.relation_index", "memory", what]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"},
    )
    return float(done.stdout.splitlines()[-1])


def memory(what: str) -> float:
    if what == "wide":
        index(*wide(), *READINGS)
        return resident()
    opened, encoded = setting(int(what))
    for layer in range(opened.n_layers):
        opened.head_weights(layer)  # folded once and kept: they belong to the model
    index(opened, encoded.part(0, 2), *READINGS)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = resident()
    index(opened, encoded, *READINGS)
    return resident() - before


def wide() -> tuple[opening.Opened, triplets.Encoded]:
    """A model of one layer, as large as those of a 1.8-billion-parameter model, and a batch of
    abstracts."""
    config = LlamaConfig(
        vocab_size=92_544,
        hidden_size=2048,
        num_hidden_layers=1,
        num_attention_heads=16,
        intermediate_size=8192,
        tie_word_embeddings=False,
    )
    told = documents()[:BATCH]
    words = ["<bos>", *dict.fromkeys(word for document in told for word in document.words)]
    opened = opening.open_model(
        AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    )
    return opened, triplets.collate(told, organisms.tokenizer(words), agenda.RELATIONS, 512)


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        print(memory(sys.argv[2]))
    else:
        print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 5)))
