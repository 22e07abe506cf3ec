# The one graph of the book: profile -> trained models -> executed chapters -> scoreboard -> site.
# Called by `make book PROFILE=name`; any option of snakemake can be added with OPTIONS="…".
# One machine by default; `OPTIONS="--executor slurm --jobs 20"` sends the jobs to a cluster.
import json
import sys
from functools import cache
from os.path import relpath
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from lib import files, profiles
from pipeline import dependencies, schedule


workdir: files.ROOT


NAME = config.get("profile", "embedded")
PROFILE_FILE = Path("params") / f"{NAME}.yaml"
PROFILE = profiles.load(files.ROOT / PROFILE_FILE)
RUN, STORE = (relpath(place, files.ROOT) for place in (files.runs(PROFILE), files.store(PROFILE)))
CHAPTERS = [path.stem for path in sorted((files.ROOT / "chapters").glob("[0-9]*.ipynb"))]
RECIPES = {
    recipe
    for name in CHAPTERS
    for recipe in dependencies.recipes(files.ROOT / "chapters" / f"{name}.ipynb")
}
SITE_SOURCES = dependencies.site_sources(files.ROOT)
PYTHON = sys.executable
# One thread a job: as many jobs as cores run at once, and the bits do not depend on cores.
# Freed memory is kept for the next step (up to blocks of 32 MiB, the most that glibc takes):
# fetching it anew cost a third of each training step.
LIMITS = "OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824"


def marks(places):
    """What says that models are trained, by their directories."""
    return [f"{STORE}/{place.name}/trained" for place in places]


def models(wildcards):
    """The models that a chapter needs. Their names hold what they depend on, so their times say
    nothing."""
    notebook = files.ROOT / "chapters" / f"{wildcards.name}.ipynb"
    return ancient(marks(dependencies.models(notebook, PROFILE)))


@cache
def depends(name):
    """All else that changes a chapter's results, as text: contents decide, and not times, so that a
    touched file costs nothing and an old one is seen."""
    notebook = files.ROOT / "chapters" / f"{name}.ipynb"
    book = files.ROOT / "book"
    return {
        "values": dependencies.values(notebook, PROFILE),
        "rules": dependencies.rules(notebook, book / "claims"),
        "captions": dependencies.captions(notebook, book / "captions"),
        "code": dependencies.code(notebook),
        "pins": dependencies.digest([files.ROOT / "constraints.txt"]),
    }


def told(what):
    # A function of the wildcards alone: parameters that Snakemake derives from inputs are not compared.
    return lambda wildcards: json.dumps(depends(wildcards.name)[what], sort_keys=True, default=str)


wildcard_constraints:
    name=r"[0-9]+_\w+",


localrules: book, site


rule book:
    input: f"{RUN}/site/index.html"


# The models of the book, on one thread each; their names say all that they depend on. While cores
# are scarce training goes before chapters, which share out better at the end.
for job in schedule.jobs(RECIPES, PROFILE):
    rule:
        name: f"train_{job.name}"
        output: marks(job.places)
        threads: 1
        priority: job.cost
        shell: "{LIMITS} {PYTHON} -m pipeline.train {PROFILE_FILE} {output}"


rule chapter:
    """One chapter: executed whole, or not at all."""
    input: models
    output:
        notebook=f"{RUN}/chapters/{{name}}.ipynb",
        claims=f"{RUN}/results/{{name}}/claims.json",
        provenance=f"{RUN}/results/{{name}}/provenance.json",
    params:
        **{what: told(what) for what in ("values", "rules", "captions", "code", "pins")},
    threads: PROFILE.threads
    shell: "{LIMITS} {PYTHON} -m pipeline.run_chapter chapters/{wildcards.name}.ipynb {output.notebook} {PROFILE_FILE}"


rule site:
    """All pages, from executed chapters that pass the gates, with their present prose."""
    input:
        expand(f"{RUN}/chapters/{{name}}.ipynb", name=CHAPTERS),
        expand(f"{RUN}/results/{{name}}/claims.json", name=CHAPTERS),
        SITE_SOURCES,
    output: f"{RUN}/site/index.html"
    params:
        values=PROFILE.model_dump_json(),
        content=dependencies.digest([files.ROOT / file for file in SITE_SOURCES]),
    threads: 1
    shell: "{PYTHON} -m pipeline.build_site {PROFILE_FILE}"
