"""What is asked of a model through training, on courses whose truth is known, and the reading of
real snapshots."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib import profiles
from lib.analyses import detection, trajectories
from lib.measures import onsets
from lib.models import opening, planted, recipes
from lib.tracing import capture

STEPS = torch.arange(0, 620, 20).float()
TEXTS, POSITIONS, HEADS = 12, 63, 4
P = SimpleNamespace(resamples=200)


def sigmoid(middle: float, width: float = 20) -> torch.Tensor:
    return torch.sigmoid((STEPS - middle) / width)


def course(
    middle: float = 250,
    *,
    late: float = 4.0,
    heads_at: float | None = None,
    seed: int = 0,
    slow: float = 0.0,
) -> trajectories.Course:
    """Late tokens (from the eighth on) get `late` nats easier around `middle`; head 1.1 matches
    around `heads_at`."""
    noise = 0.05 * torch.randn(TEXTS, 1, generator=torch.Generator().manual_seed(seed))
    losses = (
        torch.full((len(STEPS), TEXTS, POSITIONS), 5.0)
        - slow * (1 - torch.exp(-STEPS / 150))[:, None, None]
    )
    losses[..., 8:] -= ((late + noise) * sigmoid(middle)).T[..., None]
    prefix = torch.full((len(STEPS), 5, 2, 2), 0.03)
    prefix[:, :, 1, 1] += 0.8 * sigmoid(middle if heads_at is None else heads_at)[:, None]
    prefix += 0.01 * torch.randn(5, 1, 1, generator=torch.Generator().manual_seed(seed + 1))
    return trajectories.Course(
        "made", seed, STEPS, losses, prefix, torch.zeros_like(prefix), warmup=100
    )


def value(estimate) -> float:
    assert estimate.low <= estimate.value + 1e-6 and estimate.value <= estimate.high + 1e-6
    return estimate.value


def test_what_a_course_derives():
    made = course()
    assert made.scores.shape == (TEXTS, len(STEPS)) and made.scores[
        :, -1
    ].mean().item() == pytest.approx(-4, abs=0.1)
    assert made.loss[:, -1].mean().item() == pytest.approx(5 - 4 * 55 / 63, abs=0.1)
    assert made.best[:, -1].mean().item() == pytest.approx(0.83, abs=0.02)
    assert made.window[1] == 2 * made.window[0] and made.window[0] < 200 and made.window[1] > 300
    frame = made.frame(model="two")
    assert frame["prefix matching"].iloc[-1] == pytest.approx(0.83, abs=0.02) and set(
        frame.model
    ) == {"two"}
    heads = made.head_frame()
    assert len(heads) == len(STEPS) * HEADS
    top = heads[heads.step == 600].sort_values("prefix matching").iloc[-1]
    assert (top.layer, top["head"]) == (1, 1)


def test_parts_about_forming(rng):
    jump, smooth = course(), course(late=0.0)
    smooth.losses[..., 8:] -= 2 * (1 - torch.exp(-STEPS / 150))[:, None, None] + 0.01 * torch.rand(
        TEXTS, 1
    )
    assert value(trajectories.formed("it", jump, rng, P)) > 0.9
    assert value(trajectories.formed("it", smooth, rng, P)) < 0.35
    assert value(trajectories.formed_later("it", [jump, course(200)], rng, P)) < 0.05
    assert value(trajectories.formed_later("it", [jump, smooth], rng, P)) > 0.05


def test_parts_about_heads(rng):
    good, behind = course(), course(heads_at=500)
    assert (
        value(trajectories.matching_at("it", [good], 0, rng, P)) < 0.2
        and value(trajectories.matching_at("it", [good], 1, rng, P)) > 0.6
    )
    assert (
        value(trajectories.matching_at("it", [good, behind], 1, rng, P)) < 0.2
    )  # the worst model counts
    assert value(trajectories.most_matching("it", behind, rng, P)) > 0.8
    assert value(trajectories.matching_finally("it", good, rng, P)) == pytest.approx(0.83, abs=0.02)
    assert value(trajectories.together("it", [good], rng, P)) < 0.05
    assert value(trajectories.together("it", [good, behind], rng, P)) == pytest.approx(1, abs=0.1)


def test_parts_about_the_loss(rng):
    bent, convex = course(slow=1.0), course(late=0.01, slow=1.0)
    assert (
        value(trajectories.bump("it", [bent], rng, P)) > 3
        and value(trajectories.bump("it", [convex], rng, P)) < 1.3
    )
    assert value(trajectories.bump("it", [bent, convex], rng, P)) < 1.3
    assert value(trajectories.bump_place("it", [bent], rng, P)) < 0.3
    assert value(trajectories.flatness("it", [bent], rng, P)) < 0.1
    assert value(trajectories.slope_after("it", [bent], rng, P)) < -0.3


def test_parts_that_compare(rng):
    small, large = course(200, slow=1.0), course(400, slow=0.5)
    assert value(trajectories.later("it", large, small, rng, P)) == pytest.approx(1, abs=0.05)
    assert value(trajectories.later("it", small, large, rng, P)) == pytest.approx(-1, abs=0.05)
    assert value(
        trajectories.share_of("it", course(late=1.0), course(late=4.0), rng, P)
    ) == pytest.approx(0.25, abs=0.02)
    assert value(
        trajectories.spread("it", [course(late=3.0), course(late=5.0)], rng, P)
    ) == pytest.approx(0.5, abs=0.03)
    assert value(trajectories.spread("it", [course(), course()], rng, P)) == pytest.approx(
        0, abs=1e-6
    )
    assert value(trajectories.faster("it", small, large, 100.0, 140.0, rng, P)) > 0.1
    assert value(trajectories.faster("it", small, large, 300.0, 600.0, rng, P)) < -0.1
    assert np.isnan(
        trajectories.faster("it", small, large, 600.0, 600.0, rng, P).value
    )  # no training left: not testable


def test_change_of_a_loss_over_the_window(rng):
    made = course()
    losses = 6 - 2 * sigmoid(250)[None].expand(TEXTS, -1) + 0.1 * torch.rand(TEXTS, 1)
    assert value(trajectories.changed("it", made, losses, rng, P)) == pytest.approx(-2, abs=0.1)


def bending(turn: torch.Tensor) -> torch.Tensor:
    """Losses that move along one direction up to step 300 and then along `turn`: [snapshot, text,
    position]."""
    generator = torch.Generator().manual_seed(5)
    first = torch.randn(TEXTS, POSITIONS, generator=generator)
    second = torch.randn(TEXTS, POSITIONS, generator=generator)
    early, later = (STEPS / 300).clamp(max=1), ((STEPS - 300) / 300).clamp(min=0)
    return early[:, None, None] * first + later[:, None, None] * (
        turn[0] * first + turn[1] * second
    )


def test_paths_are_the_joint_plane_and_turns_are_found(rng):
    turned = dataclasses.replace(course(300), losses=bending(torch.tensor([0.0, 1.0])))
    straight = dataclasses.replace(course(300), losses=bending(torch.tensor([1.0, 0.0])))
    for made in (turned, straight):
        made.__dict__["window"] = (212.0, 424.0)  # cached: the losses here are not about context
    parts = trajectories.paths([turned, straight], rng)
    assert parts.shape == (TEXTS, 2, len(STEPS), 2)
    assert value(trajectories.turns(parts[:, :1], "it", [turned], rng, P)) == pytest.approx(
        90, abs=25
    )
    assert value(trajectories.turns(parts[:, 1:], "it", [straight], rng, P)) < 5
    assert value(trajectories.turns(parts, "it", [turned, straight], rng, P)) < 5
    assert value(trajectories.turn_place(parts[:, :1], "it", [turned], rng, P)) < 0.1
    path = parts.mean(0)[0]
    lengths = (path[1:] - path[:-1]).norm(dim=-1)
    torch.testing.assert_close(
        lengths[:15], lengths[:1].expand(15), rtol=1e-3, atol=1e-4
    )  # even speed stays even


def test_pair_texts(rng):
    corpus = recipes.RECIPES["two_layer"].make_corpus()
    texts = trajectories.pair_texts(corpus, rng, 50)
    repeated, conflicting, unpaired = (texts[kind] for kind in trajectories.PAIR_KINDS)
    a, b = repeated[:, -2], repeated[:, -1]
    for places in ((13, 14), (27, 28)):
        for text in (repeated, conflicting):
            assert torch.equal(text[:, places[0]], a) and torch.equal(text[:, places[1]], b)
        assert (unpaired[:, places[0]] != a).all()
    assert torch.equal(unpaired[:, 13:15], unpaired[:, 27:29])
    assert torch.equal(conflicting[:, -2], a) and (conflicting[:, -1] != b).all()
    assert torch.equal(unpaired[:, -2:], conflicting[:, -2:])
    assert (
        repeated.shape[1] <= corpus.context
        and repeated.max() < len(corpus.words)
        and (repeated[:, 0] == 0).all()
    )


def test_successors_are_likely_and_differ(rng):
    corpus = recipes.RECIPES["two_layer"].make_corpus()
    words = np.full(20_000, 7)
    drawn = trajectories.successors(corpus, rng, words)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    share = np.bincount(drawn[:, 0] - 1, minlength=corpus.size) / len(words)
    chain = corpus.chain()[7]
    assert np.abs(share - chain).max() < 5 * np.sqrt(chain.max() / len(words))


def test_a_snapshot_of_planted_heads(rng):
    made = planted.induction(seed=0)
    opened = opening.open_model(made.model, tokenizer=made.tokenizer)
    tokens = detection.random_repeats(opened, rng, length=15, repeats=4, examples=3)
    losses, prefix, previous = trajectories.snapshot(opened, tokens, tokens)
    assert prefix.shape == (3, opened.n_layers, opened.n_heads)
    truth = made.truth
    assert all(prefix[:, layer, head].min() > 0.9 for layer, head in truth["induction head"])
    assert all(previous[:, layer, head].min() > 0.9 for layer, head in truth["previous-token head"])
    torch.testing.assert_close(losses, capture.token_losses(opened, tokens))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A profile under which a run takes a second."""
    folder = str(tmp_path_factory.mktemp("runs"))
    values = {
        "profile": "tiny",
        "runs_dir": folder,
        "seeds": [0],
        "training_scale": 0.02,
        "course_texts": 4,
        "examples": 2,
        "resamples": 100,
    }
    return profiles.validate(values, "test")


def test_following_a_run_reads_every_snapshot(small):
    texts = trajectories.texts_of("one_layer_smeared", small)
    assert texts.shape == (4, 64) and torch.equal(
        texts, trajectories.texts_of("one_layer_smeared", small)
    )
    found = trajectories.follow("one_layer_smeared", 0, small, texts)
    kept = opening.organism_snapshots("one_layer_smeared", 0, small)
    assert found.steps.tolist() == list(kept) and found.losses.shape == (len(kept), 4, 63)
    last = opening.open_model(kept[max(kept)])
    torch.testing.assert_close(found.losses[-1], capture.token_losses(last, texts))
    assert not torch.equal(found.losses[0], found.losses[-1])
    steps, pairs = trajectories.pair_losses("one_layer_smeared", 0, small)
    assert torch.equal(steps, found.steps) and all(
        v.shape == (4, len(kept)) for v in pairs.values()
    )


def test_alphas_start_at_a_half_and_move(small):
    frame = trajectories.alphas("one_layer_smeared", 0, small)
    assert (frame[frame.step == 0].own == 0.5).all() and (frame[frame.step == 12].own != 0.5).all()
    assert frame["head"].nunique() == 4 and frame.layer.unique().tolist() == [0]
    assert trajectories.alphas("one_layer", 0, small).columns.tolist() == [
        "seed"
    ]  # nothing is smeared there


def test_a_series_of_checkpoints(small):
    kept = opening.organism_snapshots("one_layer_smeared", 0, small)
    places = [str(kept[step]) for step in (0, 4, 12)]
    found = trajectories.series(small.model_copy(update={"checkpoints": places}))
    assert found.steps.tolist() == [1, 2, 3]
    assert not torch.equal(found.losses[0], found.losses[2])
    assert torch.isfinite(onsets.crossing(found.steps, found.loss.mean(0)))
