"""Detection of all heads against plain forward passes, and against TransformerLens 4 where it is
installed.

GPT-2-small's shape with random weights; blocks of 50 random tokens, four times, after BOS; CPU.
The contenders take turns within one process, so that whatever else the machine does falls on all of
them alike, and
only ratios are written: of medians, beside those of the fastest repeats.
Memory is the peak of the resident set above what stood there before, each contender in a process of
its own.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

from lib.analyses import detection
from lib.measures import scores
from lib.models import opening
from lib.tracing import capture

SEQUENCES, BLOCK, REPEATS, BOS = 10, 50, 4, 0
THREE = ("prefix", "previous", "duplicate")


def setting() -> tuple[opening.Opened, torch.Tensor]:
    torch.manual_seed(0)
    config = GPT2Config(bos_token_id=BOS, eos_token_id=BOS)
    module = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    tokens = scores.repeated_random(
        np.random.default_rng(0), SEQUENCES, BLOCK, REPEATS, torch.arange(1, config.vocab_size), BOS
    )
    return opening.open_model(module), tokens


def three_weights(tokens: torch.Tensor) -> torch.Tensor:
    targets = (
        scores.prefix_target(tokens),
        scores.previous_target(tokens),
        scores.duplicate_target(tokens),
    )
    return scores.weights(dict(zip(THREE, targets, strict=True)))


# --- contenders: each does the whole work, targets included, for the same batch ---


@torch.no_grad()
def plain(opened: opening.Opened, tokens: torch.Tensor) -> torch.Tensor:
    """The forward pass with logits."""
    return opened.module(tokens, use_cache=False).logits


def attention(opened: opening.Opened, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Prefix-matching, previous-token and duplicate-token score of every head."""
    weight = three_weights(tokens)
    return capture.stream(
        opened, tokens, lambda layer, z, pattern: {"score": scores.attention_to(pattern, weight)}
    )


def with_copying(opened: opening.Opened, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same and the copying score, in one pass."""
    weight, copying = three_weights(tokens), detection.copying_measure(opened, tokens)
    return capture.stream(
        opened,
        tokens,
        lambda layer, z, pattern: {
            "score": scores.attention_to(pattern, weight),
            **copying(layer, z, pattern),
        },
    )


@torch.no_grad()
def from_cache(bridge, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same three scores from TransformerLens's cache of everything."""
    weight = three_weights(tokens)
    _, cache = bridge.run_with_cache(tokens)
    return {
        "score": torch.stack(
            [
                scores.attention_to(cache["pattern", layer], weight)
                for layer in range(bridge.cfg.n_layers)
            ]
        )
    }


def bridge_of(opened: opening.Opened):
    """The same module in TransformerLens's hands."""
    from tokenizers import Tokenizer
    from tokenizers import models as kinds
    from transformer_lens.model_bridge import TransformerBridge

    words = Tokenizer(kinds.WordLevel({"<bos>": 0}, unk_token="<bos>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<bos>", eos_token="<bos>", pad_token="<bos>"
    )
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # the bridge opens a tokenizer anew, by the folder that it came from
        tokenizer.save_pretrained(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        return TransformerBridge.boot_transformers(
            "gpt2", hf_model=opened.module, tokenizer=tokenizer, device="cpu", dtype=torch.float32
        )


# --- measuring ---


def interleaved(
    contenders: dict[str, Callable[[], object]], repeats: int
) -> dict[str, list[float]]:
    """Seconds of each contender, which take turns; the first round is for warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def peak(name: str) -> float:
    """MiB of memory that a contender takes above the model, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.detection", "memory", name]
    # Freed blocks go back to the system at once; else what is counted is the allocator's thrift.
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000"},
    )
    return float(run.stdout.splitlines()[-1])


def memory(name: str) -> float:
    """The same, in this process. Linux only: the peak so far has to be forgotten first."""
    opened, tokens = setting()
    subject = bridge_of(opened) if name == "from_cache" else opened
    contender = globals()[name]
    contender(
        subject, tokens[:1, :8]
    )  # what is made once, such as folded weights, belongs to the model
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = resident()
    contender(subject, tokens)
    return resident() - before


def resident() -> float:
    """Peak resident set in MiB."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def ratio(
    seconds: dict[str, list[float]], ours: str, other: str, what: str, limit: float
) -> dict[str, object]:
    """A row of the page."""
    median, fastest = (of(seconds[ours]) / of(seconds[other]) for of in (statistics.median, min))
    return row(what, median, fastest, limit)


def row(what: str, measured: float | str, fastest: float | str, limit: float) -> dict[str, object]:
    held = "not measured" if isinstance(measured, str) else "yes" if measured <= limit else "no"
    return {
        "What": what,
        "Ratio": measured,
        "Of the fastest repeats": fastest,
        "Limit": limit,
        "Within": held,
    }


def run(repeats: int, peer: bool) -> dict[str, object]:
    opened, tokens = setting()
    contenders: dict[str, Callable[[], object]] = {
        f.__name__: partial(f, opened, tokens) for f in (plain, attention, with_copying)
    }
    if peer:
        bridge = bridge_of(setting()[0])
        theirs, ours = from_cache(bridge, tokens)["score"], attention(opened, tokens)["score"]
        torch.testing.assert_close(
            theirs, ours, rtol=1e-3, atol=1e-4
        )  # else the two do not compute the same thing
        contenders["from_cache"] = partial(from_cache, bridge, tokens)
    seconds = interleaved(contenders, repeats)
    rows = [
        ratio(
            seconds,
            "attention",
            "plain",
            "time: prefix, previous and duplicate scores of all heads / the plain forward pass "
            "with logits",
            0.75,
        ),
        ratio(
            seconds,
            "with_copying",
            "plain",
            "time: the same and copying / the plain forward pass with logits",
            1.0,
        ),
    ]
    what = "time: prefix, previous and duplicate scores of all heads / "
    what += "TransformerLens 4, from its full cache"
    rows += [
        ratio(seconds, "attention", "from_cache", what, 0.75) if peer else row(what, "–", "–", 0.75)
    ]
    rows += [memory_row(peer)]
    return {"setting": described(repeats, peer), "rows": rows}


def memory_row(peer: bool) -> dict[str, object]:
    what, limit = (
        "peak memory above the weights: the same three scores / TransformerLens 4, its full cache",
        0.25,
    )
    if not peer or not sys.platform.startswith("linux"):
        return row(what, "–", "–", limit)
    return row(what, peak("attention") / peak("from_cache"), "–", limit)


def described(repeats: int, peer: bool) -> dict[str, str]:
    """What was measured on what; no times and no dates, which say nothing about the book."""
    packages = ["torch", "transformers", "nnsight", *(["transformer-lens"] if peer else [])]
    return {
        "Model": "GPT-2 small's shape (12 layers of 12 heads, width 768, 50,257 tokens), random "
        "weights, eager attention",
        "Input": f"{SEQUENCES} sequences of {BLOCK} random tokens, {REPEATS} times, after BOS",
        "Machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} "
        "threads, CPU",
        "Versions": ", ".join(f"{name} {metadata.version(name)}" for name in packages),
        "Repeats": f"{repeats}, the contenders taking turns; ratios are of medians",
    }


if __name__ == "__main__":
    if sys.argv[1] == "memory":
        print(memory(sys.argv[2]))
    else:
        print(json.dumps(run(int(sys.argv[1]), sys.argv[2] == "1")))
