"""Each clamp against a case worked out by hand, its gradients, and what an empty list does."""

import numpy as np
import pytest
import torch

from lib.data.fewshot_features import Sequences, Task
from lib.models.runs import Runs, losses
from lib.tracing import clamping

BATCH = 4


def models(runs: int) -> Runs:
    """The same weights in every run."""
    generators = [torch.Generator().manual_seed(1) for _ in range(runs)]
    return Runs(20, 5, generators, width=16, heads=2)


def sequences(runs: int) -> Sequences:
    """The same sequences for every run."""
    rng = np.random.default_rng(0)
    task = Task.of(torch.from_numpy(rng.random((12, 2, 20), np.float32)), 8, 5, rng)
    one = task.training(rng, (1, BATCH))
    return one[[0] * runs]


def passed(*said, read=()):
    """Model, sequences, logits and what was read, for runs with these clamps."""
    model, shown = models(len(said)), sequences(len(said))
    return model, shown, *clamping.run(model, shown, clamping.of(said, heads=2), read)


def test_an_empty_list_changes_no_bit():
    model, shown = models(2), sequences(2)
    plain, (none, _), (read, _) = (
        model(shown),
        clamping.run(model, shown, clamping.of([{}, {}])),
        clamping.run(model, shown, (), clamping.PLACES),
    )
    assert torch.equal(plain, none) and torch.equal(plain, read)


def test_a_run_without_a_clamp_is_not_touched_by_its_neighbours():
    every = [{word: EXAMPLES[word]} for word in clamping.WORDS]
    model, shown, logits, _ = passed({}, *every)
    assert torch.equal(logits[0], model(shown)[0])
    assert all(not torch.equal(logits[0], other) for other in logits[1:])


EXAMPLES = {
    "previous_token": {"heads": [0]},
    "layer_one": {},
    "match": {"head": 1},
    "only": {"heads": [1]},
    "silence": {"layer": 0, "heads": [1]},
    "no_direct_path": {},
    "copy": {"head": 1},
    "labels": {"count": 3},
}


def test_labels_beyond_the_count_cannot_be():
    _, _, logits, _ = passed({}, {"labels": {"count": 3}})
    assert torch.equal(logits[1, :3], logits[0, :3])
    assert (logits[1, 3:] == clamping.NEVER).all() and (logits[0, 3:] > clamping.NEVER).all()


def test_previous_token():
    _, _, _, seen = passed({}, {"previous_token": {"heads": [1]}}, read=["first.pattern"])
    pattern = seen["first.pattern"]
    ideal = torch.tensor([[1.0, 0, 0, 0, 0], *torch.eye(5)[:4].tolist()])
    assert torch.equal(pattern[1, 1], ideal[..., None].expand(-1, -1, BATCH))
    assert torch.equal(pattern[1, 0], pattern[0, 0])


@pytest.mark.parametrize("zeroed", [False, True])
def test_layer_one_is_the_two_passes_of_the_paper(zeroed):
    """Patterns from a stream of shifted embeddings, all else from plain ones."""
    places = ["embedded", "second.pattern", "final"]
    clamp = {"layer_one": {"zeroed": zeroed}}
    model, shown, logits, seen = passed(clamp, read=places)
    embedded = seen["embedded"]
    shifted = embedded.clone()
    shifted[:, :, 1:4] = embedded[:, :, 0:3]
    if zeroed:
        shifted[:, :, [0, 2]] = 0
    first = clamping.run(model, shown, [clamping.Hold("middle", shifted)], ["second.pattern"])[1]
    torch.testing.assert_close(seen["second.pattern"], first["second.pattern"])
    second = [
        clamping.Hold("middle", embedded),
        clamping.Hold("second.pattern", first["second.pattern"]),
    ]
    torch.testing.assert_close(logits, clamping.run(model, shown, second)[0])


@pytest.mark.parametrize("strength", [1.0, 0.25])
def test_match(strength):
    clamp = {"match": {"head": 1, "strength": strength}}
    _, shown, _, seen = passed({}, clamp, read=["second.pattern"])
    pattern = seen["second.pattern"]
    for sequence in range(BATCH):
        right = (1, 3)[shown.answer[1, sequence]]
        expected = torch.zeros(5)
        expected[right], expected[4 - right] = strength, 1 - strength
        assert torch.equal(pattern[1, 1, 0, :, sequence], expected)
    assert torch.equal(pattern[1, 0], pattern[0, 0])


def test_copy():
    _, shown, logits, seen = passed({"copy": {"head": 1}}, read=["second.scores"])
    for sequence in range(BATCH):
        expected = torch.full((5,), clamping.NEVER)
        expected[shown.labels[0, :, sequence]] = seen["second.scores"][0, 1, 0, [1, 3], sequence]
        assert torch.equal(logits[0, :, sequence], expected)


def test_silence_and_only():
    said = {"only": {"heads": [0]}}, {"silence": {"layer": 1, "heads": [1]}}
    _, _, logits, seen = passed(*said, read=["second.z"])
    assert torch.equal(logits[0], logits[1])
    assert (seen["second.z"][:, 1] == 0).all() and (seen["second.z"][:, 0] != 0).any()
    nothing = {"silence": {"layer": 1, "heads": [0, 1]}}
    _, _, _, without = passed(nothing, read=["middle", "final"])
    assert torch.equal(without["final"], without["middle"][:, :, -1:])


def test_no_direct_path():
    _, _, _, seen = passed({"no_direct_path": {}}, read=["embedded", "second", "final"])
    torch.testing.assert_close(seen["final"], seen["embedded"][:, :, -1:] + seen["second"])


def test_graft():
    donor = Runs(20, 5, [torch.Generator().manual_seed(9)] * 2, width=16, heads=2)
    model, shown = models(2), sequences(2)
    _, own = clamping.run(donor, shown, read=["middle"])
    graft = clamping.Graft(torch.tensor([False, True]), donor)
    logits, seen = clamping.run(model, shown, [graft], ["middle"])
    torch.testing.assert_close(seen["middle"][1], own["middle"][1])
    losses(logits, shown).sum().backward()
    assert all(weight.grad is None for weight in donor.parameters())
    assert model.first.out.weight.grad[1].abs().max() == 0
    assert model.first.out.weight.grad[0].abs().max() > 0


def test_preserved_patterns_leave_values_alone_and_the_other_way_round():
    model, shown = models(1), sequences(1)
    places = ["second.pattern", "second.values", "second.z"]
    _, clean = clamping.run(model, shown, read=places)
    cut = clamping.of([{"silence": {"layer": 0, "heads": [0, 1]}}], heads=2)
    _, free = clamping.run(model, shown, cut, places)
    held = clamping.Hold("second.pattern", clean["second.pattern"])
    _, pattern_kept = clamping.run(model, shown, [*cut, held], places)
    torch.testing.assert_close(pattern_kept["second.values"], free["second.values"])
    expected = torch.einsum("rhijb,rhejb->rheib", clean["second.pattern"], free["second.values"])
    torch.testing.assert_close(pattern_kept["second.z"], expected)
    held = clamping.Hold("second.values", clean["second.values"])
    _, value_kept = clamping.run(model, shown, [*cut, held], places)
    torch.testing.assert_close(value_kept["second.pattern"], free["second.pattern"])


def free(clamp: dict) -> set[str]:
    """Parts of the model that a clamp leaves to learn."""
    model, shown, logits, _ = passed(clamp)
    losses(logits, shown).sum().backward()
    grads = {name: weight.grad for name, weight in model.named_parameters()}
    parts = "first.query", "first.value", "second.query", "second.key", "second.value", "unembed"
    return {p for p in parts if (g := grads[f"{p}.weight"]) is not None and g.abs().max() > 0}


def test_gradients_flow_where_the_papers_do():
    every = {"first.query", "first.value", "second.query", "second.key", "second.value", "unembed"}
    only = {"only": {"heads": [1]}}
    match_and_copy = {"second.query", "second.key"}
    assert free({}) == free(only) == free(only | {"previous_token": {"heads": [0]}}) == every
    assert free({"previous_token": {"heads": [0, 1]}}) == every - {"first.query"}
    assert free(only | {"layer_one": {}}) == match_and_copy | {"second.value", "unembed"}
    assert free(only | {"match": {"head": 1}}) == every - match_and_copy
    assert free({"copy": {"head": 1}}) == match_and_copy | {"first.query", "first.value"}
    assert free({"layer_one": {}, "copy": {"head": 1}}) == match_and_copy


@pytest.mark.parametrize(
    ("said", "message"),
    [({"match": {"head": 2}}, "heads .2.: there are 0 to 1"), ({"mach": {}}, "no clamp mach")],
)
def test_what_makes_no_sense_is_named(said, message):
    with pytest.raises(ValueError, match=message):
        clamping.of([said], heads=2)
    with pytest.raises(ValueError, match="no place third"):
        clamping.run(models(1), sequences(1), read=["third"])
