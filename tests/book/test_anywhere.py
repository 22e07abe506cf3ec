"""A build holds in any folder, under any profile: no value reaches a shell, what is missing is said
before any work, and a reader's model is opened by one job at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from safetensors.torch import load_file, save_file

from lib import profiles
from lib.models import opening
from pipeline import build, dependencies, precheck, process, run_chapter
from tests import tiny
from tests.book import project
from tests.book.test_pipeline import edit, until

TARGET = "runs/tiny/chapters/01_tiny.ipynb"


def profile(folder: Path, **values) -> None:
    """The project's profile with some other values."""
    both = yaml.safe_load(project.PROFILE) | values
    (folder / "params" / "tiny.yaml").write_text(yaml.safe_dump(both))


def asking(folder: Path) -> None:
    """Let the project's chapter ask a reader's model."""
    chapter = folder / "chapters" / "01_tiny.ipynb"
    edit(chapter, '"seed = 0', '"model = \'\'\\n",\n    "seed = 0')


def test_folders_with_spaces_are_built_served_and_cleaned(tmp_path):
    folder = project.make(tmp_path / "a folder; of 'mine'")
    profile(folder, runs_dir="my runs")
    project.run(folder, "pipeline.build", "tiny", TARGET.replace("runs", "my runs", 1))
    assert (folder / "my runs" / "tiny" / "results" / "01_tiny" / "claims.json").is_file()
    said = project.run(folder, "pipeline.serve", "tiny", "8000", check=False).stderr
    assert "No site of profile tiny yet" in said  # looked for where the profile says
    project.run(folder, "pipeline.clean", "tiny")
    assert not (folder / "my runs" / "tiny").exists() and not (folder / "runs").exists()


def test_no_part_of_a_profiles_name_reaches_the_shell(tmp_path):
    folder = project.make(tmp_path)
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(project.ROOT / file, folder)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for name in ("tiny;touch pwned", "$(touch pwned)", "`touch pwned`", "$(shell touch pwned)"):
        for goal in ("help", "book", "clean"):
            command = ["make", "-o", ".venv/.installed", goal, f"PROFILE={name}"]
            made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
            assert goal == "help" or made.returncode, (goal, name, made.stdout)
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"seed: 1\n\tseeds: [2]\n", "params/tiny.yaml cannot be read as YAML"),
        ("profile: tiny # caf\u00e9".encode("latin-1"), "params/tiny.yaml cannot be read as YAML"),
        (b"profile: tiny\nruns_dir: $(touch pwned)runs\n", "`runs_dir` = '$(touch pwned)runs'"),
        (b"profile: tiny\nruns_dir: '{x}'\n", "`runs_dir` = '{x}'"),
        (b"profile: tiny\nruns_dir: params/tiny.yaml\n", "cannot be written to"),
    ],
)
def test_a_profile_that_cannot_be_used_is_said_in_a_sentence(tmp_path, content, said):
    folder = project.make(tmp_path)
    (folder / "params" / "tiny.yaml").write_bytes(content)
    result = project.run(folder, "pipeline.build", "tiny", TARGET, check=False)
    assert result.returncode == 1 and said in result.stderr and "Traceback" not in result.stderr
    assert not (folder / "runs").exists() and not (folder / "pwned").exists()


@pytest.mark.parametrize("given", [[], [""]])
def test_a_build_of_no_profile_says_how_to_name_one(tmp_path, given):
    result = project.run(project.make(tmp_path), "pipeline.build", *given, check=False)
    assert result.returncode == 1 and result.stderr.startswith("Name a profile: make book")


def test_a_file_system_without_shared_locks_is_named_with_its_cure(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(process.fcntl, "flock", refuse)
    with pytest.raises(SystemExit, match=r"without locks that all nodes share .*-o flock"):
        process.hold(tmp_path / "x" / ".lock")


def test_a_dead_kernel_is_one_sentence_with_chapter_and_memory(tmp_path):
    folder = project.make(tmp_path)
    edit(
        folder / "chapters" / "01_tiny.ipynb",
        "rng = np.random.default_rng(p.seed)",
        "import os; os.kill(os.getpid(), 9)",
    )
    said = project.run(folder, "pipeline.build", "tiny", TARGET, check=False).stderr
    line = next(line for line in said.splitlines() if "its kernel was killed" in line)
    assert line.startswith("01_tiny.ipynb: ") and "GiB of this machine's" in line
    assert "Traceback" not in said and not (folder / TARGET).exists()


def test_a_kernel_that_was_gone_before_its_first_word_is_started_again(tmp_path, monkeypatch):
    """The fixture's chapter, of whose kernels the first finds its port taken."""
    started, begin = [], run_chapter.papermill.execute_notebook

    def first_gone(*given, **options):
        started.append(1)
        if len(started) == 1:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return begin(*given, **options)

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    nbformat.write(notebook, tmp_path / "01_x.ipynb")
    monkeypatch.setattr(run_chapter.papermill, "execute_notebook", first_gone)
    run_chapter.papermill_engines.register("book", run_chapter.Engine)
    run_chapter.execute(tmp_path / "01_x.ipynb", tmp_path / "done" / "01_x.ipynb", {})
    assert len(started) == 2 and (tmp_path / "done" / "01_x.ipynb").is_file()


def test_a_site_whose_build_has_gone_is_not_built(tmp_path):
    folder = project.make(tmp_path)
    driver = subprocess.Popen(["sleep", "60"])
    waiting = "from pipeline import build_site, process; import time; "
    waiting += "build_site.gates.check = lambda *_: time.sleep(60); "
    waiting += "build_site.main('params/tiny.yaml')"
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        process.DRIVER: f"{os.uname().nodename}:{driver.pid}",
    }
    site = subprocess.Popen([sys.executable, "-c", waiting], cwd=folder, env=environment)
    try:
        driver.kill()
        driver.wait()
        until(lambda: site.poll() is not None, 30)
        assert site.returncode == 75
    finally:
        site.kill()


@pytest.mark.parametrize("options", [["--executor", "nowhere"], ["--executor=nowhere"]])
def test_an_executor_that_is_not_installed_is_named_with_its_package(options):
    with pytest.raises(ValueError, match="needs the package snakemake-executor-plugin-nowhere"):
        build.executor(["--jobs", "3", *options])
    build.executor(["--executor", "local", "--cores", "1"])


# --- a reader's model ---


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Path:
    """A tiny model on disk, in a folder that is nobody's business."""
    return tiny.save_gpt2(tmp_path_factory.mktemp("home") / "net")


def planned(folder: Path, *options: str) -> str:
    """What a dry run says of its jobs."""
    return project.run(folder, "pipeline.build", "tiny", TARGET, "--dry-run", *options).stdout


def test_one_job_of_a_machine_opens_a_readers_model(tmp_path, net):
    folder = project.make(tmp_path)
    asking(folder)
    profile(folder, model=str(net), device="auto")
    assert "model=1, gpu=1" in planned(folder, "--quiet", "host")  # which shows resources
    profile(folder)
    assert "model=1" not in planned(folder, "--quiet", "host")
    given = build.arguments("tiny", [])
    assert given[given.index("--resources") + 1 :][:2] == ["model=1", "gpu=1"]


@pytest.mark.parametrize(
    ("values", "chapter", "opens"),
    [
        ({}, "01_induction_heads", False),
        ({"model": "x/y"}, "01_induction_heads", True),
        ({"model": "x/y", "remote": True}, "01_induction_heads", False),
        ({"model": "x/y"}, "02_phase_change", False),
        ({"model": "x/y", "checkpoints": ["a", "b", "c"]}, "02_phase_change", True),
        ({"model": "x/y"}, "13_data_properties", False),
    ],
)
def test_a_chapter_takes_the_model_where_it_opens_one(values, chapter, opens):
    given = profiles.validate(values, "test")
    notebook = project.ROOT / "chapters" / f"{chapter}.ipynb"
    assert dependencies.opens(notebook, given) is opens


def test_only_a_model_on_a_gpu_takes_the_gpu():
    on = {"cpu": {"model": 1}, "cuda:1": {"model": 1, "gpu": 1}, "auto": {"model": 1, "gpu": 1}}
    for device, slots in on.items():
        assert dependencies.slots(profiles.validate({"device": device}, "test")) == slots


def test_the_line_for_slurm_is_understood(tmp_path, net):
    pytest.importorskip(
        "snakemake_executor_plugin_slurm", reason="pip install snakemake-executor-plugin-slurm"
    )
    folder = project.make(tmp_path)
    asking(folder)
    profile(folder, model=str(net), device="auto")
    said = planned(
        folder,
        *("--executor", "slurm", "--jobs", "20", "--quiet", "host"),
        *("--default-resources", "slurm_account=mine", "slurm_partition=long", "mem_mb=8000"),
    )
    assert "slurm_partition=long" in said and "gpu=1" in said


def cut(place: Path) -> None:
    os.truncate(place / "model.safetensors", 1000)


def holed(place: Path) -> None:
    held = load_file(place / "model.safetensors")
    del held["transformer.h.0.attn.c_attn.weight"]
    save_file(held, place / "model.safetensors", {"format": "pt"})


def swapped(place: Path) -> None:
    edit(place / "config.json", '"n_embd": 16', '"n_embd": 32')


def pickled(place: Path) -> None:
    (place / "model.safetensors").rename(place / "pytorch_model.bin")


def short(place: Path) -> None:
    tiny.save_gpt2(place, context=8)


@pytest.mark.parametrize(
    ("hurt", "said"),
    [
        (cut, "are corrupt"),
        (holed, r"lack transformer\.h\.0\.attn\.c_attn\.weight"),
        (swapped, r"have other shapes than its config.json says"),
        (pickled, "no weights as safetensors, but pytorch_model.bin"),
        (short, "holds no three block lengths twice"),
    ],
)
def test_what_would_stop_a_chapter_is_found_before_any_training(tmp_path, net, hurt, said):
    place = tmp_path / "net"
    shutil.copytree(net, place)
    hurt(place)
    named = profiles.validate({"model": str(place)}, "test")
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        precheck.found(named)


def test_a_whole_model_passes_is_read_once_and_its_cost_is_said(net, capsys, monkeypatch):
    read, real = [], opening._read_tokenizer
    monkeypatch.setattr(opening, "_read_tokenizer", lambda *a: (read.append(a), real(*a))[1])
    precheck.found(profiles.validate({"model": str(net)}, "test"))
    assert "3 layers of 4 heads" in capsys.readouterr().out
    assert len(read) == 1
