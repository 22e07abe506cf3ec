# The one graph of the book: profile -> trained models -> executed chapters -> scoreboard -> site.
# Called by `make book PROFILE=name`; any option of snakemake can be added with OPTIONS="…".
# One machine by default; `OPTIONS="--executor slurm --jobs 20"` sends the jobs to a cluster.
import json
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
from lib import profiles
from pipeline import dependencies

NAME = config.get("profile", "embedded")
PROFILE_FILE = Path("params") / f"{NAME}.yaml"
PROFILE = profiles.load(PROFILE_FILE)
RUN = f"{PROFILE.runs_dir}/{NAME}"
CHAPTERS = [path.stem for path in sorted(Path("chapters").glob("[0-9]*.ipynb"))]
LIB = Path("lib")
CLAIMS = Path("book/claims")
SITE_SOURCES = dependencies.site_sources(ROOT)
PYTHON = sys.executable
# One thread a job: as many jobs as cores run at once, and the bits do not depend on cores. Freed memory is kept for the
# next step (up to blocks of 32 MiB, the most that glibc takes): fetching it anew cost a third of each training step.
LIMITS = "OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824"


def notebook(name):
    return Path(f"chapters/{name}.ipynb")


def code(path):
    return [str(file) for file in dependencies.modules(Path(path), LIB)]


def models(wildcards):
    """The models that a chapter needs: every recipe with every seed."""
    needed = dependencies.recipes(notebook(wildcards.name))
    return [f"{RUN}/models/{recipe}.seed{seed}" for recipe in needed for seed in PROFILE.seeds]


def values(wildcards):
    return json.dumps(dependencies.values(notebook(wildcards.name), PROFILE), sort_keys=True)


def content(*files):
    """Snakemake compares times of change; contents decide here, so a touched file costs nothing and an old one is seen."""
    return dependencies.digest([Path(file) for file in files])


def chapter_content(wildcards):
    # A function of the wildcards alone: parameters that Snakemake derives from inputs are not compared.
    return content("constraints.txt", notebook(wildcards.name), *code(notebook(wildcards.name)))


def rules_of(wildcards):
    return json.dumps(dependencies.rules(notebook(wildcards.name), CLAIMS), sort_keys=True)


wildcard_constraints:
    name=r"[0-9]+_\w+",
    recipe=r"[\w-]+",
    seed=r"\d+",


localrules: book, site


rule book:
    input: f"{RUN}/site/index.html"


rule train:
    """One model of the book: one recipe, one seed, one thread."""
    input: code("lib/models/training.py"), "constraints.txt"
    output: f"{RUN}/models/{{recipe}}.seed{{seed}}"
    params: scale=PROFILE.training_scale, content=content("constraints.txt", *code("lib/models/training.py"))
    threads: 1
    shell: "{LIMITS} {PYTHON} -m pipeline.train {PROFILE_FILE} {wildcards.recipe} {wildcards.seed} {output}"


rule chapter:
    """One chapter: executed whole, or not at all."""
    input:
        pins="constraints.txt",
        notebook="chapters/{name}.ipynb",
        code=lambda wildcards: code(notebook(wildcards.name)),
        models=models,
    output:
        notebook=f"{RUN}/chapters/{{name}}.ipynb",
        claims=f"{RUN}/results/{{name}}/claims.json",
        provenance=f"{RUN}/results/{{name}}/provenance.json",
    params: values=values, rules=rules_of, content=chapter_content
    threads: PROFILE.threads
    shell: "{LIMITS} {PYTHON} -m pipeline.run_chapter {input.notebook} {output.notebook} {PROFILE_FILE}"


rule site:
    """All pages, from executed chapters that pass the gates."""
    input:
        expand(f"{RUN}/chapters/{{name}}.ipynb", name=CHAPTERS),
        expand(f"{RUN}/results/{{name}}/claims.json", name=CHAPTERS),
        SITE_SOURCES,
    output: f"{RUN}/site/index.html"
    params: values=PROFILE.model_dump_json(), content=content(*SITE_SOURCES)
    threads: 1
    shell: "{PYTHON} -m pipeline.build_site {PROFILE_FILE}"
