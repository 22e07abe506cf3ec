"""What is asked of a model through training, on trajectories whose truth is known, and the reading
of real snapshots."""

import dataclasses

import numpy as np
import pytest
import torch

from lib import profiles
from lib.analyses import (
    detection,
    pairs_and_lists,
    phase_reading,
    trajectories,
    trajectory_nulls,
    trajectory_parts,
    trajectory_paths,
    trajectory_tables,
)
from lib.data import pairs
from lib.measures import onsets
from lib.models import opening, planted, recipes
from lib.tracing import capture

STEPS = torch.arange(0, 620, 20).float()
TEXTS, POSITIONS, HEADS = 12, 63, 4


@pytest.fixture
def ask(rng) -> trajectory_parts.Parts:
    return trajectory_parts.Parts(rng, 200)


def sigmoid(middle: float, width: float = 20) -> torch.Tensor:
    return torch.sigmoid((STEPS - middle) / width)


def made(
    middle: float = 250,
    *,
    late: float = 4.0,
    heads_at: float | None = None,
    seed: int = 0,
    slow: float = 0.0,
) -> trajectories.Trajectory:
    """Late tokens (from the eighth on) get `late` nats easier around `middle`; head 1.1 matches
    around `heads_at`, and head 0.0 looks at the token before around step 200."""
    noise = 0.05 * torch.randn(TEXTS, 1, generator=torch.Generator().manual_seed(seed))
    falling = slow * (1 - torch.exp(-STEPS / 150))[:, None, None]
    losses = torch.full((len(STEPS), TEXTS, POSITIONS), 5.0) - falling
    losses[..., 8:] -= ((late + noise) * sigmoid(middle)).T[..., None]
    prefix = torch.full((len(STEPS), 5, 2, 2), 0.03)
    prefix[:, :, 1, 1] += 0.8 * sigmoid(middle if heads_at is None else heads_at)[:, None]
    prefix += 0.01 * torch.randn(5, 1, 1, generator=torch.Generator().manual_seed(seed + 1))
    previous = torch.zeros_like(prefix)
    previous[:, :, 0, 0] = 0.5 * sigmoid(200)[:, None]
    return trajectories.Trajectory("made", seed, STEPS, losses, prefix, previous, warmup=100)


def smooth(tau: float = 150.0) -> trajectories.Trajectory:
    """A score that flattens exponentially from the end of the warm-up on."""
    run = made(late=0.0)
    way = 1 - torch.exp(-(STEPS - 100).clamp(min=0) / tau)
    run.losses[..., 8:] -= 2 * way[:, None, None] + 0.01 * torch.rand(TEXTS, 1)
    return run


def value(estimate) -> float:
    assert estimate.low <= estimate.value + 1e-6 and estimate.value <= estimate.high + 1e-6
    return estimate.value


def test_what_a_trajectory_derives():
    run = made()
    assert run.scores.shape == (TEXTS, len(STEPS))
    assert run.scores[:, -1].mean().item() == pytest.approx(-4, abs=0.1)
    assert run.loss[:, -1].mean().item() == pytest.approx(5 - 4 * 55 / 63, abs=0.1)
    assert run.best[:, -1].mean().item() == pytest.approx(0.83, abs=0.02)
    assert run.carrier[:, -1].mean().item() == pytest.approx(0.5, abs=0.01)
    assert run.window[1] == 2 * run.window[0] and run.window[0] < 200 and run.window[1] > 300
    assert run.window[0] < run.middle < run.window[1] and run.onset == pytest.approx(250, abs=3)
    frame = run.frame(model="two")
    assert frame["prefix matching"].iloc[-1] == pytest.approx(0.83, abs=0.02)
    assert frame["loss at late tokens"].iloc[-1] == pytest.approx(1, abs=0.1)
    heads = run.head_frame()
    assert len(heads) == len(STEPS) * HEADS
    top = heads[heads.step == 600].sort_values("prefix matching").iloc[-1]
    assert (top.layer, top["head"]) == (1, 1)


def test_tables_of_many_runs(ask):
    followed = {"a": [made(), made(seed=1)], "b": [made(300)]}
    assert set(trajectory_tables.frames(followed).model) == {"a", "b"}
    assert len(trajectory_tables.windows(ask, followed)) == 3
    begun = trajectory_tables.onset_table(ask, followed)
    late = begun[(begun.run == "b, seed 0") & (begun.quantity == "in-context score")]
    assert late["onset (step)"].item() == pytest.approx(300, abs=3)
    speed = trajectory_tables.speeds(followed)
    deepest = speed.loc[speed["dLoss / dln(tokens)"].idxmin()]
    assert deepest["step / onset"] == pytest.approx(1, abs=0.15)
    assert trajectory_tables.progress(followed).groupby("model").size().eq(4 * len(STEPS)).all()


def test_parts_about_forming(ask):
    jump = made()
    assert value(ask.formed("it", jump)) > 0.9
    assert value(ask.formed_later("it", [jump, made(200)])) < 0.05
    assert value(ask.formed_later("it", [jump, smooth()])) > 0.05


@pytest.mark.parametrize("tau", [50.0, 75.0, 150.0])
def test_a_late_start_looks_abrupt_and_is_no_more_than_flattening(ask, tau):
    """The share of the best doubling alone would call it a jump."""
    late = smooth(tau)
    assert value(ask.formed("it", late)) > 0.4
    assert abs(value(ask.excess("it", late))) < 0.05
    assert value(ask.excess("it", made())) > 0.3


def test_made_nulls_keep_what_they_should():
    run = made(200)
    flat = trajectory_nulls.flattening(run)
    assert flat.onset == pytest.approx(run.onset, rel=0.1)
    torch.testing.assert_close(flat.scores[:, -1], run.scores[:, -1])
    gains = flat.scores.mean(0).diff().abs()[STEPS[1:] > 100]
    assert (gains.diff() <= 1e-4).all()
    late = trajectory_nulls.delayed(run, 1.5)
    assert late.onset == pytest.approx(1.5 * run.onset, rel=0.02)
    assert torch.equal(late.losses[0], run.losses[0])
    still = trajectory_nulls.untrained(run)
    assert torch.equal(still.losses[-1], run.losses[0])


def test_random_places_pass_as_often_as_they_should(rng):
    run = made()
    steps = STEPS[STEPS >= 100].numpy()
    expected = (np.abs(np.log2(steps / run.middle)) < 0.5).mean()
    rate = trajectory_nulls.random_places("it", [run], [run.middle], 0.5, rng, 4000)
    assert rate.passed / rate.of == pytest.approx(expected, abs=0.03)
    rate = trajectory_nulls.random_places("it", [run] * 9, [run.middle] * 9, 0.5, rng, 4000)
    assert rate.passed / rate.of == pytest.approx(expected**9, abs=0.02)


def test_beside_names_its_nulls(ask):
    found = trajectory_nulls.beside(lambda run: ask.formed("it", run), made(), {"smooth": smooth()})
    assert [e.null for e in found] == ["", "smooth"] and found[0].value > found[1].value


def test_parts_about_heads(ask):
    good, behind = made(), made(heads_at=500)
    assert value(ask.matching_at("it", [good], 0)) < 0.2
    assert value(ask.matching_at("it", [good], 0, later=2)) > 0.6
    assert value(ask.matching_at("it", [good], 1)) > 0.6
    assert value(ask.matching_at("it", [good], 1, slice(2))) < 0.2  # heads of the first layer
    assert value(ask.matching_at("it", [good, behind], 1)) < 0.2  # the worst model counts
    assert value(ask.most_matching("it", behind)) > 0.8
    assert value(ask.matching_finally("it", good)) == pytest.approx(0.83, abs=0.02)
    assert value(ask.together("it", [good])) < 0.05
    assert value(ask.together("it", [good, behind])) == pytest.approx(1, abs=0.1)
    assert value(ask.together("it", [good], [made(500)])) == pytest.approx(1, abs=0.1)
    assert value(ask.carried("it", [good])) == pytest.approx(np.log2(200 / 250), abs=0.05)


def test_parts_about_the_loss(ask):
    bent, convex = made(slow=1.0), made(late=0.01, slow=1.0)
    assert value(ask.bump("it", [bent])) > 3 and value(ask.bump("it", [convex])) < 1.3
    assert value(ask.bump("it", [bent, convex])) < 1.3
    assert value(ask.bump_place("it", [bent])) < 0.3
    assert value(ask.bump_place("it", [convex], [bent])) > 0.5
    assert value(ask.flatness("it", [bent])) < 0.1
    assert value(ask.slope("it", [bent], 1)) < -0.3
    assert value(ask.slope("it", [bent], 0, "amin")) > -0.2
    assert value(ask.steeper("it", [bent], convex)) < -0.3
    assert value(ask.steeper("it", [convex], convex)) == pytest.approx(0, abs=1e-6)


def test_parts_that_compare(ask):
    early, late = made(200, slow=1.0), made(400, slow=0.5)
    assert value(ask.later("it", late, early)) == pytest.approx(1, abs=0.05)
    assert value(ask.later("it", early, late)) == pytest.approx(-1, abs=0.05)
    weak = made(late=1.0), made(late=4.0)
    assert value(ask.share_of("it", *weak)) == pytest.approx(0.25, abs=0.02)
    apart = [made(late=3.0), made(late=5.0)]
    assert value(ask.spread("it", apart)) == pytest.approx(0.5, abs=0.03)
    assert value(ask.spread("it", [made(), made()])) == pytest.approx(0, abs=1e-6)


def test_a_delay_inverts_the_order_of_losses_unless_aligned(ask):
    small = made(200, slow=1.0)
    large = trajectory_nulls.delayed(small, 1.3)
    before, after = trajectory_parts.spans(small, large)
    assert value(ask.faster("it", small, large, before, aligned=False)) > 0.02
    assert value(ask.faster("it", small, large, after, aligned=False)) < -0.02
    for span in trajectory_parts.aligned_spans(small, large):
        assert abs(value(ask.faster("it", small, large, span))) < 0.02
    assert np.isnan(ask.faster("it", small, large, (2.0, 2.0)).value)  # no training left


def test_change_of_a_loss_over_the_window(ask):
    losses = 6 - 2 * sigmoid(250)[None].expand(TEXTS, -1) + 0.1 * torch.rand(TEXTS, 1)
    found = ask.changed("it", made(), STEPS, losses)
    assert value(found) == pytest.approx(-2, abs=0.1)
    kept = pairs_and_lists.beside(STEPS.int().tolist(), made().window)
    assert len(kept) == 4
    few = [int(step / 20) for step in kept]
    some = ask.changed("it", made(), STEPS[few], losses[:, few])
    assert some.value == pytest.approx(found.value, abs=1e-5)


def bending(turn: torch.Tensor) -> torch.Tensor:
    """Losses that move along one direction up to step 300 and then along `turn`: [snapshot, text,
    position]."""
    generator = torch.Generator().manual_seed(5)
    first, second = torch.randn(2, TEXTS, POSITIONS, generator=generator)
    early, later = (STEPS / 300).clamp(max=1), ((STEPS - 300) / 300).clamp(min=0)
    bent = turn[0] * first + turn[1] * second
    return early[:, None, None] * first + later[:, None, None] * bent


@pytest.fixture
def turned_and_straight():
    runs = []
    for turn in ([0.0, 1.0], [1.0, 0.0]):
        run = dataclasses.replace(made(300), losses=bending(torch.tensor(turn)))
        run.__dict__["window"] = (212.0, 424.0)  # cached: the losses here are not about context
        runs.append(run)
    return runs


def test_the_projection_is_the_joint_plane_and_turns_are_found(ask, rng, turned_and_straight):
    found = trajectory_paths.projected(turned_and_straight, rng)
    assert found.parts.shape == (TEXTS, 2, len(STEPS), 2)
    assert value(found.only(slice(1)).turns(ask, "it")) == pytest.approx(90, abs=25)
    assert value(found.only(slice(1, 2)).turns(ask, "it")) < 5
    assert value(found.only(slice(1)).corners(ask, "it")) < 0.1
    path = found.parts.mean(0)[0]
    lengths = (path[1:] - path[:-1]).norm(dim=-1)
    even = lengths[:1].expand(15)
    torch.testing.assert_close(lengths[:15], even, rtol=1e-3, atol=1e-4)  # even speed stays even


def test_turns_in_the_full_space(ask, turned_and_straight):
    turned, straight = turned_and_straight
    place, turn = trajectory_paths.turns_at(ask, ("place", "turn"), [turned], [turned])
    assert value(place) < 0.05 and value(turn) == pytest.approx(90, abs=8)
    _, both = trajectory_paths.turns_at(
        ask, ("place", "turn"), turned_and_straight, turned_and_straight
    )
    assert value(both) < 2  # the one that turns least
    frame = trajectory_paths.turning({"it": turned})
    assert frame.loc[frame.degrees.idxmax(), "step"] == pytest.approx(300, abs=15)


def test_pair_texts(rng):
    corpus = recipes.RECIPES["two_layer"].make_corpus()
    texts = pairs.texts(corpus, rng, 50)
    repeated, control, conflicting, other = (texts[kind] for kind in pairs.KINDS)
    a, b = repeated[:, -2], repeated[:, -1]
    for places in ((13, 14), (27, 28)):
        for text in (repeated, conflicting):
            assert (text[:, places[0]] == a).all() and (text[:, places[1]] == b).all()
        assert (control[:, places[0]] != a).all()
    assert (control[:, 13:15] == control[:, 27:29]).all()
    assert (conflicting[:, -2] == a).all() and (conflicting[:, -1] != b).all()
    assert (control[:, -2:] == repeated[:, -2:]).all()
    assert (other[:, -2:] == conflicting[:, -2:]).all()
    assert repeated.shape[1] <= corpus.context and repeated.max() < len(corpus.words)
    assert (repeated[:, 0] == 0).all()


def test_successors_are_likely_and_differ(rng):
    corpus = recipes.RECIPES["two_layer"].make_corpus()
    words = np.full(20_000, 7)
    drawn = pairs.successors(corpus, rng, words)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    share = np.bincount(drawn[:, 0] - 1, minlength=corpus.size) / len(words)
    chain = corpus.chain()[7]
    assert np.abs(share - chain).max() < 5 * np.sqrt(chain.max() / len(words))


def test_a_snapshot_of_planted_heads(rng):
    hand = planted.induction(seed=0)
    opened = opening.open_model(hand.model, tokenizer=hand.tokenizer)
    tokens = detection.random_repeats(opened, rng, length=15, repeats=4, examples=3)
    losses, prefix, previous = phase_reading.snapshot(opened, tokens, tokens)
    assert prefix.shape == (3, opened.n_layers, opened.n_heads)
    truth = hand.truth
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
        "trajectory_texts": 4,
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
    assert found.last == kept[max(kept)] and found.warmup == 2
    steps, losses = pairs_and_lists.pair_losses("one_layer_smeared", 0, small)
    assert torch.equal(steps, found.steps) and list(losses) == list(pairs.KINDS)
    assert all(v.shape == (4, len(kept)) for v in losses.values())


def test_where_the_matching_head_looks_is_read_at_every_snapshot(small):
    texts = trajectories.texts_of("one_layer_smeared", small)
    run = trajectories.follow("one_layer_smeared", 0, small, texts)
    layer, head = run.matching
    assert torch.equal(run.best, run.prefix[:, :, layer, head].T)
    assert run.prefix[-1].mean(0).max() == run.prefix[-1, :, layer, head].mean()
    line, runs = texts[:1, :12], {"smeared": [run]}
    rows = trajectory_tables.looks(runs, small, line, least=0.1)
    assert rows.step.tolist() == run.steps.tolist()
    last = opening.open_model(run.last)
    pattern = capture.patterns(last, line)[layer, 0, head]
    told = rows.iloc[-1]
    assert told["name"] == f"{layer}.{head}" and len(told["query"]) == (pattern >= 0.1).sum()
    assert told["attention"] == pytest.approx(pattern[told["query"], told["key"]], abs=0.006)
    heads = trajectory_tables.head_frames(runs)
    marked = heads[heads.looks]
    assert len(marked) == len(run.steps) and set(marked["head"]) == {head}


def test_mixtures_start_at_a_half_and_move(small):
    frame = trajectory_tables.mixtures({"smeared": "one_layer_smeared"}, small)
    assert (frame[frame.step == 0].own == 0.5).all() and (frame[frame.step == 12].own != 0.5).all()
    assert frame["head"].nunique() == 4 and frame.layer.unique().tolist() == [0]
    assert trajectory_tables.mixtures({"plain": "one_layer"}, small).empty


def test_lists_keep_their_words_and_labels(small):
    written, dealt = pairs_and_lists.list_texts(small).chunk(2)
    assert torch.equal(written[:, 1::2], dealt[:, 1::2])
    assert torch.equal(written[:, 2::2].sort(1).values, dealt[:, 2::2].sort(1).values)
    assert not torch.equal(written, dealt)


def test_use_of_a_list_is_the_gain_at_late_labels():
    run = made(late=0.0)
    written = run.losses.clone()
    written[:, : TEXTS // 2, 31::2] -= 3 * sigmoid(300)[:, None, None]  # labels, second half
    use, dealt = pairs_and_lists.list_use(dataclasses.replace(run, losses=written))
    assert use.scores[:, -1].mean().item() == pytest.approx(-3, abs=0.1)
    assert use.onset == pytest.approx(300, abs=5) and abs(dealt.scores.mean()) < 0.1


def test_a_series_of_checkpoints(small):
    kept = opening.organism_snapshots("one_layer_smeared", 0, small)
    places = [str(kept[step]) for step in (12, 0, 4)]
    found = trajectories.series(small.model_copy(update={"checkpoints": places}))
    assert found.steps.tolist() == [0, 4, 12]
    assert not torch.equal(found.losses[0], found.losses[2])
    assert torch.isfinite(onsets.crossing(found.steps, found.loss.mean(0)))
