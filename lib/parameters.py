"""Every parameter of the book: its type, its bounds and what it is for, in one place.

A group class holds the parameters of a chapter, or of a few; `Profile` has them all. Chapters of
later papers add a group here and make it a base of `Profile`. `lib.profiles` reads and checks them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

STORE = "models"  # in the folder of runs: trained models, of all profiles

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(ge=0, le=1)]


def _no_pair(places: list[str]) -> list[str]:
    """A series shows a trajectory only from three points on. Error: ValueError for one or two."""
    if len(places) in (1, 2):
        raise ValueError("name at least three, or none")
    return places


def _no_store(name: str) -> str:
    """A profile's folder stands beside that of trained models. Error: ValueError for its name."""
    if name == STORE:
        raise ValueError("this is the folder of trained models; choose another name")
    return name


def _pieces(value: Any) -> Any:
    """One number, or one text of pieces, as a list: `-p` of papermill hands over no lists."""
    if isinstance(value, str):
        return [int(piece) if piece.isdecimal() else piece for piece in value.split()]
    return [value] if isinstance(value, int) else value


Pieces = Annotated[list[Annotated[int, Field(ge=0)] | str], BeforeValidator(_pieces)]

# papermill's `-p name false` hands over a text.
_read = BeforeValidator(lambda said: said == "true" if said in ("true", "false") else said)
Flag = Annotated[bool, _read]


class Group(BaseModel):
    """Base of all groups: strict types, no unknown names, never changed after it is made."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Run(Group):
    """What runs, where, and with which seeds."""

    profile: Annotated[str, AfterValidator(_no_store)] = Field(
        "embedded",
        pattern=r"^[a-z0-9_-][a-z0-9._-]*$",
        description="Name of the profile; results go to `runs/<profile>/`.",
    )
    runs_dir: str = Field(
        "runs",
        # It becomes part of shell lines and of Snakemake's patterns of files.
        pattern=r"^[\w./+@,= -]+$",
        description="Folder for models, executed chapters and results; letters, digits, spaces "
        "and `. / _ + @ , = -`.",
    )
    seed: Seed = Field(
        0,
        description="Seed of everything that a chapter draws itself: probe tokens, permutations, "
        "bootstraps.",
    )
    seeds: list[Seed] = Field(
        [3, 4, 5],
        min_length=1,
        description="Training seeds of the book's own models; each verdict is judged over them.",
    )
    training_scale: float = Field(
        1.0, gt=0, le=100, description="Factor on the training steps of the book's own models."
    )
    threads: int = Field(
        1,
        ge=1,
        le=1024,
        description="CPU threads of a chapter; results agree to the bit only for equal values. "
        "Raise it for large models.",
    )


class Model(Group):
    """Your model, examined beside the book's own."""

    model: str = Field(
        "",
        description="Hub id or local directory of a causal language model; empty: only the "
        "book's own models.",
    )
    revision: str | None = Field(
        None, description="Commit, tag or branch on the hub; a commit makes the run repeatable."
    )
    checkpoints: Annotated[list[str], AfterValidator(_no_pair)] = Field(
        [],
        description="Revisions or directories of a training series of it, at least three, with "
        "their training steps in their names (`step512`; `step512@COMMIT` pins one); empty: none.",
    )
    keep_checkpoints: bool = Field(
        True,
        description="Leave checkpoints in the cache of the hub once they are read; false deletes "
        "each after use. What was measured stays, and directories are never deleted.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(cpu|mps|cuda(:\d+)?|auto|all)$",
        description="`cpu`, `mps`, `cuda`, `cuda:1`, `auto` (a GPU, or else the CPU), `all` GPUs.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "float32", description="Number format of the weights; `auto` is the checkpoint's own."
    )
    architecture: dict[str, str] = Field(
        {}, description="Parts of a model of an unknown family: see 'How to add an architecture'."
    )
    remote: Flag = Field(
        False,
        description="Run your model on NDIF (needs `NDIF_API_KEY` in the environment): its weights "
        "and patterns stay there, and scores come back.",
    )
    trust_remote_code: Flag = Field(
        False, description="Run code that comes with the model. Read that code first."
    )
    probe_tokens: Pieces = Field(
        [],
        description="Tokens of the random sequences that it is fed: ids, ranges (`3:40` is 3 to "
        "39) or words of its tokenizer; empty: the middle four fifths of its vocabulary.",
    )
    probe_prefix: Pieces = Field(
        [],
        description="Tokens that stand in front of every such sequence, in the same form; empty: "
        "the one that opens a text, if its tokenizer has one.",
    )


class Detection(Group):
    """Induction-head detection on repeated random tokens (chapter 1)."""

    repeat_lengths: list[Annotated[int, Field(ge=2, le=4096)]] = Field(
        [25, 50, 100], min_length=1, description="Lengths of the repeated block, in tokens."
    )
    repeats: int = Field(
        4, ge=2, le=64, description="How often the block occurs; fewer where the context is short."
    )
    examples: int = Field(10, ge=2, le=10_000, description="Sequences per length.")
    induction_threshold: Share = Field(
        0.4, description="Least prefix-matching score, at every length, of an induction head."
    )
    resamples: int = Field(
        2000, ge=100, le=1_000_000, description="Bootstrap resamples behind an interval."
    )


class Trajectories(Group):
    """Models followed through training (chapters 2 and 3)."""

    trajectory_texts: int = Field(
        128,
        ge=2,
        le=10_000,
        description="Texts on which losses through training are measured; the units of their "
        "intervals.",
    )
    documents_file: str = Field(
        "",
        description="Documents in `data_dir` on which losses of your checkpoints are measured, one "
        "a line, or JSON lines with a `text`; empty: repeats of random tokens.",
    )


class Interventions(Group):
    """Heads removed, held and replaced (chapter 4)."""

    texts: int = Field(
        32,
        ge=2,
        le=10_000,
        description="Texts on which an intervention is measured; the units of its intervals.",
    )
    control_sets: int = Field(
        20,
        ge=2,
        le=10_000,
        description="Random sets of other heads beside a set of removed heads, where there are "
        "so many.",
    )
    previous_threshold: Share = Field(
        0.3,
        description="Least attention on the token before, at tokens seen for the first time, of "
        "a previous-token head.",
    )


class RelationIndex(Group):
    """The relation index of Ren et al. (chapters 6 and 7)."""

    documents: int = Field(
        480, ge=8, le=100_000, description="Documents of each kind on which the index is taken."
    )
    universe_documents: int = Field(
        160, ge=8, le=100_000, description="Documents on which every universe is measured."
    )
    planted_models: int = Field(
        10, ge=1, le=1000, description="Planted models on which a rule's power is counted."
    )
    tau: float = Field(
        2.2,
        ge=1,
        le=100,
        description="Least ratio of a head's largest attention to its second largest, for an "
        "event.",
    )
    taus: list[Annotated[float, Field(ge=1, le=100)]] = Field(
        [2.0, 2.2, 2.5], min_length=2, description="Ratios whose maps are compared."
    )
    min_events: int = Field(
        100, ge=1, le=10_000, description="Events that a cell of a map needs; below, it is blank."
    )
    fake_position: int = Field(
        9,
        ge=0,
        le=4096,
        description="Position of the fake tail; 9 is the 10th token, as in the paper.",
    )
    alternatives: int = Field(
        7,
        ge=1,
        le=50,
        description="Most words of the tail's (or head's) class that a triplet is compared with.",
    )
    permutations: int = Field(
        2000,
        ge=100,
        le=1_000_000,
        description="Rounds of the permutation tests; with many heads, at least 20 rounds a head.",
    )
    pieces: Literal["first", "whole"] = Field(
        "first",
        description="Words of several tokens: their first token stands for them, or they are "
        "left out.",
    )
    data_dir: str = Field(
        "data",
        min_length=1,
        description="Folder of corpus files (`python -m lib.data.corpora NAME FOLDER` downloads "
        "one).",
    )
    agenda_file: str = Field(
        "",
        description="AGENDA file in `data_dir` for your model, such as "
        "`agenda/preprocessed.test.tsv`; empty: the generated world only.",
    )
    treebank_file: str = Field(
        "", description="CoNLL-U file in `data_dir` for your model; empty: none."
    )
    spacy_model: str = Field(
        "",
        description="spaCy pipeline that parses AGENDA and names function words, such as "
        "`en_core_web_sm`; empty: none.",
    )
    remove_function_words: Flag = Field(
        True,
        description="Leave out AGENDA's most frequent function words, as the paper does; needs "
        "`spacy_model`.",
    )
    letters_seed: Seed = Field(
        0, description="Seed of the letters that stand for AGENDA's entities."
    )


class Generality(Group):
    """Literal against abstract matching (chapter 5)."""

    list_lines: int = Field(
        16, ge=4, le=500, description="Lines of a few-shot list before the one whose label is due."
    )
    list_prompts: int = Field(
        96, ge=4, le=10_000, description="Lists, and texts of translations, that a model is shown."
    )


class Levels(Group):
    """The three levels of in-context learning (chapter 8)."""

    level_prompts: int = Field(
        64, ge=4, le=10_000, description="Few-shot prompts of each task and number of shots."
    )
    level_shots: list[Annotated[int, Field(ge=0, le=1000)]] = Field(
        [0, 1, 2, 3, 4, 5, 10, 20],
        min_length=3,
        description="Numbers of shots, rising; those that a context has no room for are left out.",
    )


class Emergence(Group):
    """Heads and levels on one axis of training (chapter 9)."""

    course_documents: int = Field(
        40, ge=8, le=100_000, description="Documents of each kind that every snapshot reads."
    )
    course_texts: int = Field(
        64, ge=2, le=100_000, description="Texts of all kinds that every snapshot reads."
    )
    course_prompts: int = Field(
        64, ge=4, le=100_000, description="Few-shot prompts of each task that every snapshot reads."
    )
    vector_prompts: int = Field(
        16, ge=2, le=10_000, description="Prompts of each task that score function vectors."
    )


class Causes(Group):
    """Which heads a level of in-context learning needs (chapter 10)."""

    causal_shots: int = Field(
        10, ge=1, le=1000, description="Examples in each prompt of the causal tests."
    )
    causal_prompts: int = Field(
        16, ge=2, le=10_000, description="Prompts of each task on which heads are removed."
    )
    family_size: int = Field(
        3, ge=1, le=1000, description="Heads of each family that are removed together."
    )
    second_recipe: str = Field(
        "",
        description="Another recipe of a world, such as `world_three_layer`, in whose models the "
        "causal tests are made again; empty: none.",
    )


class FewShot(Group):
    """The few-shot circuit of Singh et al. (chapters 11 to 13)."""

    fewshot_sequences: int = Field(
        1000, ge=4, le=100_000, description="Sequences, the units of intervals, of an evaluation."
    )
    fewshot_features: Literal["generated", "omniglot"] = Field(
        "generated",
        description="What is shown: `generated` features, or `omniglot`, raw pixels of drawings.",
    )
    omniglot_file: str = Field(
        "omniglot/images_background.zip",
        min_length=1,
        description="Drawings in `data_dir`: Omniglot's archive, or a `.npz` with X [class, "
        "exemplar, height, width].",
    )


class Profile(
    Run,
    Model,
    Detection,
    Trajectories,
    Interventions,
    RelationIndex,
    Generality,
    Levels,
    Emergence,
    Causes,
    FewShot,
):
    """All parameters of all chapters."""


GROUPS: tuple[type[Group], ...] = Profile.__bases__
