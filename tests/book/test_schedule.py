"""Every model is trained once, the longest jobs first, and none outlasts the longest run."""

import pytest

from lib import profiles
from lib.models import store
from lib.models.recipes import RECIPES
from pipeline import schedule


@pytest.mark.parametrize("seeds", [[0], [3, 4, 5], list(range(10))])
def test_each_model_once_and_the_longest_first(seeds):
    profile = profiles.Profile(seeds=seeds)
    made = schedule.jobs([*RECIPES, *RECIPES], profile)
    trained = [place for job in made for place in job.places]
    assert sorted(trained) == sorted(store.places(RECIPES, profile))
    assert len({job.name for job in made}) == len(made)
    costs = [job.cost for job in made]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == max(map(schedule.cost, RECIPES.values()))


def test_short_runs_share_a_process_and_no_models_need_none():
    profile = profiles.Profile(seeds=[0, 1, 2])
    names = [job.name for job in schedule.jobs(["world", "two_layer"], profile)]
    assert names == ["world_0", "world_1", "world_2", "two_layer_0"]
    assert schedule.jobs([], profile) == []
