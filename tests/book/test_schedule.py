"""Every model is trained once, the longest jobs first, and none outlasts the longest run;
and a build itself starts at once."""

import subprocess
import sys

import pytest

from lib import profiles
from lib.models.recipes import RECIPES
from pipeline import schedule
from tests.book.project import ROOT


@pytest.mark.parametrize("seeds", [[0], [3, 4, 5], list(range(10))])
def test_each_model_once_and_the_longest_first(seeds):
    made = schedule.jobs(profiles.Profile(seeds=seeds), [*RECIPES, *RECIPES])
    trained = [(job.recipe, seed) for job in made for seed in job.seeds]
    assert sorted(trained) == sorted((name, seed) for name in RECIPES for seed in seeds)
    costs = [job.cost for job in made]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == max(map(schedule.cost, RECIPES.values()))


def test_short_runs_share_a_process_and_no_models_need_none():
    made = schedule.jobs(profiles.Profile(seeds=[0, 1, 2]), ["world", "two_layer"])
    assert [(job.recipe, job.seeds) for job in made] == [
        *(("world", (seed,)) for seed in (0, 1, 2)),
        ("two_layer", (0, 1, 2)),
    ]
    assert schedule.jobs(profiles.Profile(), []) == []


def test_an_unknown_recipe_is_named():
    with pytest.raises(ValueError, match=r"No recipe 'two_layers'.*two_layer"):
        schedule.jobs(profiles.Profile(), ["two_layers"])


def test_a_build_starts_without_a_large_library():
    """They take seconds to import, each time that anybody builds."""
    lines = (ROOT / "Snakefile").read_text().splitlines()
    own = [line for line in lines if line.startswith(("from lib", "from pipeline"))]
    asked = "print(sorted({'torch', 'pandas', 'nnsight', 'IPython'} & set(sys.modules)))"
    code = "\n".join([*own, "import sys, pipeline.build, pipeline.serve, pipeline.clean", asked])
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(own) > 2 and said.stdout == "[]\n"
