"""Training is repeatable to the bit, survives kill -9 at any moment, and never reads what is stale
or broken."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lib import sources
from lib.models import recipes, store, training
from lib.models.organisms import OrganismForCausalLM
from lib.models.recipes import Architecture, Recipe, grid

ROOT = Path(__file__).resolve().parents[2]
TINY = Recipe(
    name="tiny",
    architecture=Architecture(layers=2, width=16, heads=2, d_head=8, smeared=True),
    arguments={"size": 12, "context": 16, "shortest": 3, "longest": 5},
    steps=60,
    lr=1e-2,
    warmup=5,
    batch=4,
    snapshots=grid(60, 20),
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """The run as it comes out when nothing interrupts it."""
    torch.set_num_threads(1)
    return training.ensure(TINY, 3, tmp_path_factory.mktemp("reference"), progress=False)


def weights(run: Path) -> list[bytes]:
    return [(path / "model.safetensors").read_bytes() for _, path in training.snapshots(run)]


def test_a_run_holds_what_it_promises(reference):
    assert reference == training.directory(TINY, 3, reference.parent)
    assert [step for step, _ in training.snapshots(reference)] == [0, 20, 40, 60]
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (
            training.snapshots(reference)[-1][1] / name
        ).stat().st_mode & 0o044  # others may read it
    log = training.read_log(reference)
    assert log["step"].tolist() == list(range(60))
    assert log["loss"][-10:].mean() < log["loss"][:10].mean() - 0.1  # it learns
    assert not (reference / training.STATE).exists()


def test_the_logged_loss_is_that_of_the_saved_weights(reference):
    """Snapshot 40 and the batch of step 40 give the loss logged for step 40, to the bit."""
    model = OrganismForCausalLM.from_pretrained(dict(training.snapshots(reference))[40])
    assert model.config._attn_implementation == "eager"
    model.set_attn_implementation("fused")
    tokens = torch.from_numpy(TINY.make_corpus().batch(np.random.default_rng([3, 40]), TINY.batch))
    assert model(tokens, labels=tokens).loss.item() == training.read_log(reference)["loss"][40]


def test_repeat_is_equal_to_the_bit_and_seeds_differ(reference, tmp_path):
    before = torch.random.get_rng_state()
    again = training.ensure(TINY, 3, tmp_path, progress=False)
    other = training.ensure(TINY, 4, tmp_path, progress=False)
    assert weights(again) == weights(reference)
    assert training.read_log(again).equals(training.read_log(reference))
    assert all(a != b for a, b in zip(weights(other), weights(again), strict=True))
    assert torch.equal(
        before, torch.random.get_rng_state()
    )  # nobody else's random numbers were touched


def test_a_finished_run_is_not_repeated(reference, monkeypatch):
    monkeypatch.setattr(training, "_train", lambda *_: pytest.fail("trained again"))
    assert training.ensure(TINY, 3, reference.parent) == reference


KILL = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from lib.models import training
from tests.unit.test_training import TINY

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def at_step(n):
    step = training.train_step
    training.train_step = lambda r, seed, s, *rest: die() if s == n else step(r, seed, s, *rest)

def before_rename(n):
    rename = Path.rename
    Path.rename = lambda self, to: die() if to.name == f"step_{n:06d}" else rename(self, to)

def in_state():
    replace = os.replace
    os.replace = lambda a, b: die() if Path(b).name == training.STATE else replace(a, b)

moments = {
    "step": lambda: at_step(37), "start": lambda: at_step(0), "snapshot": lambda: before_rename(40),
    "state": in_state, "end": lambda: setattr(training, "_finish", die),
    "twice a": lambda: None, "twice b": lambda: None,
}
children = {}
for name, arrange in moments.items():
    child = os.fork()
    if child == 0:
        arrange()
        training.ensure(TINY, 3, Path(sys.argv[1]) / name.split()[0], progress=False)
        os._exit(0)
    children[name] = child
for name, child in children.items():
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sep="=")
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Runs killed at different moments, and one run that two processes ask for at once: folder and
    exit codes."""
    folder = tmp_path_factory.mktemp("killed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILL, str(folder)]
    out = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return folder, dict(line.split("=") for line in out.stdout.splitlines())


@pytest.mark.parametrize("moment", ["start", "step", "snapshot", "state", "end"])
def test_kill_and_resume(moment, killed, reference):
    folder, codes = killed
    assert codes[moment] == "-9"
    run = training.directory(TINY, 3, folder / moment)
    assert run.exists() and not (run / training.DONE).exists()
    assert training.ensure(TINY, 3, folder / moment, progress=False) == run
    assert weights(run) == weights(reference)
    assert training.read_log(run).equals(training.read_log(reference))
    assert not list(run.glob(".partial*")) and not (run / training.STATE).exists()


def die():
    raise KeyboardInterrupt


def test_two_processes_at_once(killed, reference):
    folder, codes = killed
    assert codes["twice a"] == codes["twice b"] == "0"
    assert weights(training.directory(TINY, 3, folder / "twice")) == weights(reference)


def interrupted(folder: Path, monkeypatch) -> Path:
    """A run that stopped in step 50, with a state of step 40."""
    step = training.train_step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "train_step", lambda *a: step(*a) if a[2] < 50 else die())
        training.ensure(TINY, 3, folder, progress=False)
    return training.directory(TINY, 3, folder)


def test_resuming_does_not_start_over(tmp_path, monkeypatch):
    interrupted(tmp_path, monkeypatch)
    step, steps = training.train_step, []
    monkeypatch.setattr(training, "train_step", lambda *a: steps.append(a[2]) or step(*a))
    training.ensure(TINY, 3, tmp_path, progress=False)
    assert steps == list(range(40, 60))


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_corrupt_state_names_the_file_and_the_cure(content, tmp_path, monkeypatch, reference):
    state = interrupted(tmp_path, monkeypatch) / training.STATE
    state.write_bytes(state.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ValueError, match=r"state\.safetensors.*delete this file"):
        training.ensure(TINY, 3, tmp_path, progress=False)
    state.unlink()
    assert weights(training.ensure(TINY, 3, tmp_path, progress=False)) == weights(reference)


def test_changed_snapshot_and_record_are_noticed(tmp_path):
    run = training.ensure(TINY, 3, tmp_path, progress=False)
    file = training.snapshots(run)[1][1] / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"step_000020.*was changed.*delete the folder"):
        training.ensure(TINY, 3, tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match="delete this folder"):
        training.ensure(TINY, 3, tmp_path)
    (run / training.DONE).write_text("{")
    with pytest.raises(ValueError, match="delete this folder"):
        training.ensure(TINY, 3, tmp_path)


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="runs_dir"):
        training.ensure(TINY, 3, tmp_path / "file" / "models")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match="runs_dir"):
        training.ensure(TINY, 3, tmp_path)


def test_fingerprint_follows_what_the_weights_depend_on(monkeypatch, tmp_path):
    """Recipe and code change it; comments, docstrings and other recipes do not."""
    base = store.fingerprint(TINY)
    assert store.fingerprint(TINY.model_copy(update={"lr": 2e-2})) != base
    said = {}
    monkeypatch.setattr(
        sources, "file", lambda m, lib=sources.LIB, file=sources.file: said.get(m) or file(m, lib)
    )
    text, changed = sources.file("lib.data.sequences").read_text(), tmp_path / "changed.py"
    said["lib.data.sequences"] = changed
    changed.write_text("# a comment\n" + text.replace('"""Token-level', '"""Other'))
    assert store.fingerprint(TINY) == base
    changed.write_text(text.replace("self.context - 1", "self.context - 2"))
    assert store.fingerprint(TINY) != base
    assert "lib.models.recipes" not in sources.closure(
        ["lib.models.organisms", "lib.data.sequences"]
    )


def test_scaled_keeps_the_shape_of_the_schedule():
    recipe = recipes.RECIPES["two_layer"]
    tenth = training.scaled(recipe, 0.1)
    assert (
        tenth.steps == round(recipe.steps / 10)
        and tenth.snapshots[0] == 0
        and tenth.snapshots[-1] == tenth.steps
    )
    assert training.scaled(recipe, 1) is recipe and training.scaled(recipe, 1e-6).steps == 8
    with pytest.raises(ValueError, match="training_scale"):
        training.scaled(recipe, 0)


def test_recipes_reject_what_makes_no_sense():
    with pytest.raises(ValueError, match="bigram_blocks"):
        Recipe(name="x", corpus="bigram_block", steps=10, lr=1e-3, snapshots=grid(10, 5))
    with pytest.raises(ValueError, match="grid"):
        Recipe(name="x", steps=10, lr=1e-3, snapshots=(0, 5))
    with pytest.raises(ValueError, match="layer"):
        Architecture(layer=2)


def test_every_recipe_names_its_own_place_and_a_corpus_that_opens():
    places = {training.directory(r, 0, "m") for r in recipes.RECIPES.values()}
    assert len(places) == len(recipes.RECIPES)
    for name, recipe in recipes.RECIPES.items():
        assert name == recipe.name
        if recipe.corpus in ("bigram_blocks", "phrases"):
            assert recipe.make_corpus().batch(np.random.default_rng(0), 2).shape == (
                2,
                recipe.make_corpus().context,
            )


def test_learning_rate():
    assert training.learning_rate(TINY, 0) == pytest.approx(TINY.lr / 5)
    assert training.learning_rate(TINY, 5) == pytest.approx(TINY.lr)
    assert training.learning_rate(TINY, 60) == pytest.approx(TINY.lr / 10)
    constant = TINY.model_copy(update={"schedule": "constant"})
    assert training.learning_rate(constant, 59) == TINY.lr
