"""R runs in one program are R single runs, and the parts of a model add up."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from lib.data.fewshot_features import Sequences, Task
from lib.models import kernels, run_training
from lib.models.run_recipes import RunsRecipe, Variant
from lib.models.runs import Runs, losses, rotation
from lib.tracing import clamping

RUNS, BATCH = 3, 4


def model(seeds=range(RUNS), d_type=torch.float32) -> Runs:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return Runs(20, 5, generators, width=16, heads=2).to(d_type)


@pytest.fixture
def shown(rng) -> Sequences:
    task = Task.of(torch.from_numpy(rng.random((12, 2, 20), np.float32)), 8, 5, rng)
    return task.training(rng, (RUNS, BATCH))


def test_gradients_that_are_written_out():
    draw = torch.Generator().manual_seed(0)

    def make(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.double, requires_grad=True)

    assert gradcheck(kernels.norm, (make(2, 4, 3, 2), make(2, 4, 1, 1), make(2, 4, 1, 1)))
    angle = make(2, 3, 1).detach()
    assert gradcheck(lambda x: kernels.turn(x, angle.cos(), angle.sin()), make(2, 2, 4, 3, 2))
    assert gradcheck(kernels.products, (make(2, 2, 3, 4, 2), make(2, 2, 3, 5, 2)))
    assert gradcheck(kernels.mixture, (make(2, 2, 4, 5, 2), make(2, 2, 3, 5, 2)))


def test_what_the_kernels_compute(rng):
    draw = torch.Generator().manual_seed(0)
    x, gain, shift = (torch.randn(s, generator=draw) for s in ((2, 4, 3, 2), *[(2, 4, 1, 1)] * 2))
    plain = torch.nn.functional.layer_norm(x.transpose(1, 3), (4,)).transpose(1, 3)
    torch.testing.assert_close(kernels.norm(x, gain, shift), plain * gain + shift)
    query, key = (torch.randn(2, 2, 3, n, 2, generator=draw) for n in (4, 5))
    by_hand = torch.einsum("rheib,rhejb->rhijb", query, key)
    torch.testing.assert_close(kernels.products(query, key), by_hand)
    mixed = torch.einsum("rhijb,rhejb->rheib", by_hand, key)
    torch.testing.assert_close(kernels.mixture(by_hand, key), mixed)
    quarter = torch.full((1, 1, 1), torch.pi / 2)
    turned = kernels.turn(
        torch.tensor([1.0, 2.0]).view(1, 1, 2, 1, 1), quarter.cos(), quarter.sin()
    )
    torch.testing.assert_close(turned.flatten(), torch.tensor([-2.0, 1.0]))


def test_rotary_scores_depend_on_the_distance_alone():
    cos, sin = rotation(8)
    draw = torch.Generator().manual_seed(0)
    query, key = (
        torch.randn(1, 1, 8, 1, 1, generator=draw).expand(-1, -1, -1, 5, -1) for _ in "qk"
    )
    scores = kernels.products(kernels.turn(query, cos, sin), kernels.turn(key, cos, sin))
    scores = scores[0, 0, ..., 0]
    for distance in range(-4, 5):
        along = scores.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along))


def test_many_runs_are_single_runs(shown):
    """Logits, losses and gradients, each run beside the same run alone."""
    many = model()
    losses(many(shown), shown).sum().backward()
    for run in range(RUNS):
        alone, own = model([run]), shown[run : run + 1]
        torch.testing.assert_close(alone(own)[0], many(shown)[run])
        losses(alone(own), own).sum().backward()
        for one, all_of_them in zip(alone.parameters(), many.parameters(), strict=True):
            torch.testing.assert_close(one.grad[0], all_of_them.grad[run])


def test_heads_sum_to_the_layer_and_silence_removes_it(shown):
    one = model()
    _, seen = clamping.run(one, shown, read=["first.z", "first", "embedded", "middle"])
    z, weight = seen["first.z"], one.first.out.weight.unflatten(2, (2, 8))
    by_head = torch.einsum("rheib,rdhe->rhdib", z, weight)
    torch.testing.assert_close(by_head.sum(1), seen["first"])
    torch.testing.assert_close(seen["embedded"] + seen["first"], seen["middle"])
    silent = clamping.of([{"silence": {"layer": 0, "heads": [0, 1]}}] * RUNS, heads=2)
    _, gone = clamping.run(one, shown, silent, ["middle"])
    assert torch.equal(gone["middle"], seen["embedded"])


def test_attention_is_causal_and_layer_two_asks_once(shown):
    _, seen = clamping.run(model(), shown, read=["first.pattern", "second.pattern"])
    first = seen["first.pattern"]
    assert first.shape == (RUNS, 2, 5, 5, BATCH) and seen["second.pattern"].shape[2] == 1
    torch.testing.assert_close(first.sum(3), torch.ones(RUNS, 2, 5, BATCH))
    assert (first.permute(0, 1, 4, 2, 3).triu(1) == 0).all()


def test_a_run_that_diverges_harms_no_other(shown):
    healthy, ill = model(), model()
    with torch.no_grad():
        ill.second.out.weight[1] = float("inf")
    for one in (healthy, ill):
        adam = run_training.optimiser(TINY, one)
        for _ in range(3):
            run_training.train_step(one, adam, shown, [])
    for name, weight in ill.named_parameters():
        assert torch.equal(weight[[0, 2]], dict(healthy.named_parameters())[name][[0, 2]]), name
    assert not ill.unembed.weight[1].isfinite().all()


TINY = RunsRecipe(
    name="tiny_runs",
    variants=(
        Variant(name="plain", followed=True),
        Variant(name="match", clamps={"match": {"head": 1}}),
        Variant(name="other", stream=1, followed=True),
    ),
    steps=12,
    snapshots=(0, 6, 12),
    batch=4,
    lr=1e-3,
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return run_training.ensure(TINY, 100, folder, progress=False)


def bits(place) -> list[bytes]:
    kept = run_training.training.snapshots(place)
    return [(path / "model.safetensors").read_bytes() for _, path in kept]


def test_streams_share_or_differ(reference):
    fresh = run_training.build(TINY, 100)
    assert torch.equal(fresh.label[0], fresh.label[1])
    assert not torch.equal(fresh.label[0], fresh.label[2])
    first = next(run_training.sequences(TINY, 100, 0, run_training.tasks_of(TINY, 100)))
    assert torch.equal(first.items[0], first.items[1])
    assert not torch.equal(first.items[0], first.items[2])
    log = run_training.training.read_log(reference)
    assert list(log) == ["step", "plain", "match", "other"] and len(log) == 12


def test_a_run_is_opened_by_its_name(reference):
    start = run_training.open_runs(reference, TINY, ["other", "plain", "plain"], 0)
    assert torch.equal(start.label, run_training.build(TINY, 100).label[[2, 0, 0]])
    for names, step in ((["plain"], 5), (["match"], 6), (["mach"], None)):
        with pytest.raises(ValueError, match="not kept at step"):
            run_training.open_runs(reference, TINY, names, step)
    assert run_training.open_runs(reference, TINY, ["match"]).runs == 1


def test_interrupted_runs_go_on_to_the_same_bits(reference, tmp_path, monkeypatch):
    again = run_training.ensure(TINY, 100, tmp_path / "again", progress=False)
    step, taken = run_training.train_step, []

    def until_nine(*given):
        taken.append(1)
        if len(taken) == 10:
            raise KeyboardInterrupt
        return step(*given)

    monkeypatch.setattr(run_training, "SAVE_EVERY", 4)
    monkeypatch.setattr(run_training, "train_step", until_nine)
    with pytest.raises(KeyboardInterrupt):
        run_training.ensure(TINY, 100, tmp_path, progress=False)
    resumed = run_training.ensure(TINY, 100, tmp_path, progress=False)
    assert len(taken) == 10 + 4  # from step 8 on
    assert bits(again) == bits(resumed) == bits(reference)
