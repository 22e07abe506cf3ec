"""What the book takes, from the records of its runs, and what models of each size need.

Chapters record seconds and memory when they close; training does so for each model; bytes are
those that lie in the folders now.
"""

from __future__ import annotations

import html
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lib.models import store
from lib.report import machine
from pipeline import cost, numbers
from pipeline.cost import Sizes
from pipeline.markup import table

# Sizes as the configs of well-known models have them.
KNOWN = {
    "openai-community/gpt2": Sizes(12, 12, 12, 768, 64, 3072, 50257, 1024, True, False),
    "EleutherAI/pythia-160m": Sizes(
        12, 12, 12, 768, 64, 3072, 50304, 2048, False, False, "float16"
    ),
    "EleutherAI/pythia-1.4b": Sizes(
        24, 16, 16, 2048, 128, 8192, 50304, 2048, False, False, "float16"
    ),
    "Qwen/Qwen2.5-1.5B": Sizes(28, 12, 2, 1536, 128, 8960, 151936, 131072, True, True, "bfloat16"),
    "internlm/internlm2-1_8b": Sizes(
        24, 16, 8, 2048, 128, 8192, 92544, 32768, False, True, "bfloat16"
    ),
    "meta-llama/Llama-3.1-8B": Sizes(
        32, 32, 8, 4096, 128, 14336, 128256, 131072, False, True, "bfloat16"
    ),
    "meta-llama/Llama-3.1-70B": Sizes(
        80, 64, 8, 8192, 128, 28672, 128256, 131072, False, True, "bfloat16"
    ),
}


def page(runs: Path, chapters: Sequence[str], first: str, models: Iterable[Path]) -> str:
    """The page: each profile's chapters, the training of the book's own models, and what a model of
    yours needs. `models`: directories of the trained models that this site's profile has."""
    names = [path.parent.name for path in sorted(runs.glob("*/results"))]
    names.sort(key=lambda name: name != first)
    lines = ["# What it takes", "", INTRO, ""]
    for name in names:
        if rows := list(_chapters(runs / name, chapters)):
            lines += [f"## Profile {name}", "", _machine(runs / name / "results"), ""]
            head = ("Chapter", "Minutes", "Memory at most", "Results and notebook")
            lines += [table(head, [*rows, _total(runs / name, chapters)], "bk-costs"), ""]
    lines += ["## Training the book's own models", "", TRAINING, "", _training(models)]
    return "\n".join([*lines, "## Your model", "", YOURS, "", _sizes()])


def _records(folder: Path, chapters: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Provenance of each chapter of a profile that was run."""
    files = {name: folder / "results" / name / "provenance.json" for name in chapters}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}


def _chapters(folder: Path, chapters: Iterable[str]) -> Iterable[list[str]]:
    for name, record in _records(folder, chapters).items():
        yield [str(numbers.number(name)), *_cells([record]), _bytes(_left(folder, name))]


def _total(folder: Path, chapters: Sequence[str]) -> list[str]:
    """Minutes of all chapters together, the most memory of one, and all bytes."""
    records = _records(folder, chapters)
    size = sum(_left(folder, name) for name in records)
    return ["all", *_cells(list(records.values())), _bytes(size)]


def _cells(records: Sequence[dict[str, Any]]) -> list[str]:
    minutes = sum(record["wall_seconds"] for record in records) / 60
    held = max(record.get("peak_memory_mib", 0) for record in records)
    cards = max(record.get("peak_gpu_memory_mib", 0) for record in records)
    memory = machine.in_gib(held) if held else "–"
    return [f"{minutes:.1f}", memory + (f", {machine.in_gib(cards)} on GPUs" if cards else "")]


def _left(folder: Path, name: str) -> int:
    """Bytes of a chapter's results and of its executed notebook."""
    files = [*(folder / "results" / name).glob("*"), folder / "chapters" / f"{name}.ipynb"]
    return sum(file.stat().st_size for file in files if file.is_file())


def _machine(results: Path) -> str:
    """The machines on which a profile's chapters ran, as they recorded it."""
    said = {
        ", ".join(f"{key} {value}" for key, value in machines.items())
        for file in sorted(results.glob("*/provenance.json"))
        if (machines := json.loads(file.read_text()).get("machine"))
    }
    return "Ran on: " + html.escape("; and on ".join(sorted(said)) or "not recorded") + "."


def _training(models: Iterable[Path]) -> str:
    """A row a recipe: how many models, minutes, and bytes of their snapshots."""
    rows = defaultdict(list)
    for place in models:
        if (place / store.DONE).is_file() and (said := store.RUN.fullmatch(place.name)):
            seconds = json.loads((place / store.DONE).read_text())["seconds"]
            rows[said["recipe"]].append((seconds, _weight(place)))
    cells = []
    for name, each in sorted(rows.items()):
        seconds, sizes = map(sum, zip(*each, strict=True))
        cells.append([f"<code>{name}</code>", str(len(each)), f"{seconds / 60:.1f}", _bytes(sizes)])
    seconds, sizes = (sum(one[i] for each in rows.values() for one in each) for i in (0, 1))
    count = sum(map(len, rows.values()))
    cells.append(["all", str(count), f"{seconds / 60:.1f}", _bytes(sizes)])
    return table(("Recipe", "Models", "Minutes", "On disk"), cells, "bk-costs")


def _weight(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


def _sizes() -> str:
    """What known models of each size need, by `cost.memory`."""
    rows = []
    for name, sizes in KNOWN.items():
        needs = [cost.in_bytes(cost.memory(sizes, dtype)) for dtype in ("float32", "bfloat16")]
        fetched = sizes.parameters * cost.BYTES[sizes.stored]
        heads = f"{sizes.layers} × {sizes.heads}"
        rows.append([name, cost.in_count(sizes.parameters), heads, cost.in_bytes(fetched), *needs])
    memory = ("Memory in float32", "in bfloat16")
    return table(("Model", "Parameters", "Layers × heads", "Download", *memory), rows, "bk-costs")


def _bytes(count: float) -> str:
    return f"{count / machine.MIB:,.1f} MiB"


INTRO = """\
Times were taken on the machine that is named, under whatever load it had; memory is the most that
a chapter's process held at once."""
TRAINING = """\
Each model is trained once for all profiles with the same steps; minutes are those of one thread."""
YOURS = """\
Estimated from the sizes in a model's config alone, as `python -m pipeline.cost PROFILE` and the
build do before they fetch anything: the weights in the given format, and beside them the matrices
of all heads and both embeddings as float32, in which every score is computed.
With a GPU the weights are in its memory, and the rest may be in either; the download takes disk
space, once for each checkpoint.
With `dtype: bfloat16` the weights take half the space, and scores differ from those of float32 by
rounding."""
