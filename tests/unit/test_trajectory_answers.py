"""What the checks of exercises on trajectories ask, where the answer is known."""

import math

import pandas as pd
import pytest
import torch

from lib.analyses import trajectory_answers as answers
from lib.analyses.trajectories import Trajectory

STEPS = torch.arange(0, 640, 10).float()
PLACES = 63


def changing(middle: float = 200, late: float = 4.0, early: float = 0.0) -> Trajectory:
    """Within about forty steps late tokens get `late` nats easier, and early ones `early` nats."""
    way = torch.sigmoid((STEPS - middle) / 10)[:, None, None]
    gain = torch.full((PLACES,), early)
    gain[8:] = late
    losses = (5 - way * gain).expand(-1, 3, -1)
    heads = torch.zeros(len(STEPS), 2, 1, 1)
    return Trajectory("made", 0, STEPS, losses, heads, heads)


def test_each_end_moves_by_what_it_gains_and_easier_is_below_zero():
    early, late = answers.ends_moved(changing(late=4.0, early=-1.0))
    assert late == pytest.approx(-4, abs=0.05) and early == pytest.approx(1, abs=0.05)


def test_the_mean_of_abrupt_changes_at_different_times_is_gradual():
    run = changing()
    assert answers.mean_held(run, [1]) == pytest.approx(run.held, abs=0.01) and run.held > 0.9
    assert answers.mean_held(run, [1, 8]) == pytest.approx(0.5, abs=0.05)
    assert answers.mean_held(run) < 0.6


def test_heads_are_set_beside_the_scores_of_other_runs_alone():
    begun = pd.DataFrame({"prefix matching": [10.0, 100.0], "in-context score": [10.0, 40.0]})
    assert answers.apart_by_chance(begun) == pytest.approx((30 + 90) / 2)


def test_a_bag_of_words_knows_what_has_stood_there_and_no_order():
    one_word = torch.full((1, PLACES + 1), 2)
    found = answers.bag_of_words(one_word, 4, extra=1)
    by_hand = [-math.log((1 + place) / (4 + place)) for place in range(1, PLACES + 1)]
    assert found["early"] == pytest.approx(sum(by_hand[2:8]) / 6, abs=1e-5)
    assert found["score"] == pytest.approx(found["late"] - found["early"], abs=1e-5)
    text = torch.randint(9, (2, PLACES + 1), generator=torch.Generator().manual_seed(0))
    turned = torch.cat([text[:, :40].flip(1), text[:, 40:]], 1)  # the same words, in another order
    one, other = (answers.bag_of_words(tokens, 9, extra=0.5) for tokens in (text, turned))
    assert one["late"] == pytest.approx(other["late"], abs=1e-5) != math.log(9)
