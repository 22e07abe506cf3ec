# The one graph of the book: profile -> trained models -> executed chapters -> scoreboard -> site.
# Called by `make book PROFILE=name`; any option of snakemake can be added with OPTIONS="…".
# One machine by default; the page "How to add your model" has the lines for a cluster.
# Whatever a profile names reaches a shell quoted (`:q`).
import json
import sys
from functools import cache
from os.path import relpath
from pathlib import Path

sys.path.insert(0, workflow.basedir)
from lib import files, profiles
from lib.analyses import readings
from lib.models import checkpoints
from pipeline import dependencies, editions, schedule


workdir: files.ROOT


NAME = config.get("profile", "embedded")
EDITION = config.get("edition", "")
PROFILE_FILE = Path("params") / f"{NAME}.yaml"
PROFILE = profiles.load(files.ROOT / PROFILE_FILE)
RUN, STORE = (relpath(place, files.ROOT) for place in (files.runs(PROFILE), files.store(PROFILE)))
SITE = f"{RUN}/{editions.folder('site', EDITION)}"
CHAPTERS = [path.stem for path in sorted((files.ROOT / "chapters").glob("[0-9]*.ipynb"))]
SITE_SOURCES = dependencies.site_sources(files.ROOT)
PYTHON = sys.executable
# One thread a job: as many jobs as cores run at once, and the bits do not depend on cores.
# Freed memory is kept for the next step (up to blocks of 32 MiB, the most that glibc takes):
# fetching it anew cost a third of each training step.
LIMITS = "OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824"


def recipes(name):
    return dependencies.recipes(files.ROOT / "chapters" / f"{name}.ipynb")


def models(wildcards):
    """The models that a chapter needs. Their names hold what they depend on, so their times say
    nothing."""
    places = dependencies.models(files.ROOT / "chapters" / f"{wildcards.name}.ipynb", PROFILE)
    return ancient([f"{STORE}/{place.name}/trained" for place in places])


# What chapters read of the checkpoints of a reader's model, and the files that say that it is read.
MEASURES = {
    name: dependencies.measures(files.ROOT / "chapters" / f"{name}.ipynb", PROFILE)
    for name in CHAPTERS
}
ASKED = [known for name, known in readings.BY_NAME.items() if name in sum(MEASURES.values(), [])]
SERIES = {  # `checkpoint` is a word of Snakemake's
    moment: relpath(checkpoints.mark(PROFILE, ASKED, moment), files.ROOT)
    for moment in (checkpoints.named(PROFILE) if ASKED else [])
}


def series(wildcards):
    """The marks of the checkpoints that a chapter reads; their names hold what was measured."""
    return ancient(list(SERIES.values()) if MEASURES[wildcards.name] else [])


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


# A job that opens a reader's model takes the one `model` of a machine (`pipeline.build` says how many
# there are), and its `gpu` where the model goes to one: two of them would not fit. Both are `local`:
# on a cluster each job has a machine to itself, and the scheduler is asked for the GPU.
resource_scopes:
    model="local",
    gpu="local",


def slots(name):
    """What a chapter takes of the machine for a reader's model; nothing where it opens none."""
    notebook = files.ROOT / "chapters" / f"{name}.ipynb"
    return dependencies.slots(PROFILE) if dependencies.opens(notebook, PROFILE) else {}


def told(what):
    # A function of the wildcards alone: parameters that Snakemake derives from inputs are not compared.
    return lambda wildcards: json.dumps(depends(wildcards.name)[what], sort_keys=True, default=str)


wildcard_constraints:
    name=r"[0-9]+_\w+",


localrules: book, site


rule book:
    input: f"{SITE}/index.html"


# The models of the book, one thread a job; their names say all that they depend on, so nothing else
# is declared. Training has priority over chapters, which share out better at the end.
for job in schedule.jobs(PROFILE, {name for chapter in CHAPTERS for name in recipes(chapter)}):
    rule:
        name: f"train_{job.recipe}_{job.seeds[0]}"
        output: [f"{STORE}/{place.name}/trained" for place in job.places]
        threads: 1
        priority: job.cost
        shell: "{LIMITS} {PYTHON:q} -m pipeline.train {PROFILE_FILE:q} {output:q}"


# A series, one checkpoint a job, so that a cluster reads them side by side.
for moment, mark in SERIES.items():
    rule:
        name: f"read_{moment.slug}".replace("-", "_")
        output: mark
        params:
            moment=moment.name,
            measures=[measure.name for measure in ASKED],
        threads: PROFILE.threads
        resources:
            model=1,
            gpu=int(PROFILE.device.startswith(("all", "auto", "cuda"))),
        shell:
            "{LIMITS} {PYTHON:q} -m pipeline.measure {PROFILE_FILE:q} {params.moment:q}"
            " {output:q} {params.measures:q}"


rule chapter:
    """One chapter: executed whole, or not at all."""
    input: models, series
    output:
        notebook=f"{RUN}/chapters/{{name}}.ipynb",
        claims=f"{RUN}/results/{{name}}/claims.json",
        provenance=f"{RUN}/results/{{name}}/provenance.json",
    params:
        **{what: told(what) for what in ("values", "rules", "captions", "code", "pins")},
    threads: PROFILE.threads
    resources:
        model=lambda wildcards: slots(wildcards.name).get("model"),
        gpu=lambda wildcards: slots(wildcards.name).get("gpu"),
    shell:
        "{LIMITS} {PYTHON:q} -m pipeline.run_chapter chapters/{wildcards.name}.ipynb"
        " {output.notebook:q} {PROFILE_FILE:q}"


rule site:
    """All pages, from executed chapters that pass the gates, with their present prose."""
    input:
        expand(f"{RUN}/chapters/{{name}}.ipynb", name=CHAPTERS),
        expand(f"{RUN}/results/{{name}}/claims.json", name=CHAPTERS),
        SITE_SOURCES,
    output: f"{SITE}/index.html"
    params:
        values=PROFILE.model_dump_json(),
        others=dependencies.digest(dependencies.others(files.runs(PROFILE).parent, NAME)),
        content=dependencies.digest([files.ROOT / file for file in SITE_SOURCES]),
    threads: 1
    shell: "{PYTHON:q} -m pipeline.build_site {PROFILE_FILE:q} {EDITION:q}"
