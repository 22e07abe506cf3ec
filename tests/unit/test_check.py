"""The identities hold for every family, fail where a fact about a family is wrong, and prove the
model of the page 'How to add an architecture'."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoConfig, Qwen2Config

from lib.models import check, opening
from lib.models.architectures import ARCHITECTURES, architecture_of
from lib.tracing import interventions
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "architecture.md").read_text()


def failing(opened) -> set[str]:
    return {one.name for one in check.identities(opened) if not one.holds}


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_all_identities_hold(family):
    opened = tiny.opened(family)
    before = opened.module(tiny.tokens()).logits
    found = check.identities(opened)
    assert len(found) == 12 and not [one for one in found if not one.holds]
    assert torch.equal(opened.module(tiny.tokens()).logits, before)  # no hook is left behind


KNOWN = {
    "exaone4": {},
    "glm4": {"head_dim": 4},
    "internlm3": {},
    "mixtral": {"num_local_experts": 4},
    "phi": {},
    "phi3": {},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "head_dim": 6},
    "smollm3": {},
    "starcoder2": {},
}


@pytest.mark.parametrize("family", KNOWN)
def test_they_hold_for_every_other_family_that_the_book_knows(family):
    assert set(ARCHITECTURES) == set(KNOWN) | set(tiny.FAMILIES)
    config = AutoConfig.for_model(family, **tiny.GROUPED | KNOWN[family])
    assert not failing(opening.open_model(tiny.made_of(config, 0)))


def test_a_family_that_is_no_llama_is_refused():
    """Gemma's norms multiply with one plus their weight, and its embeddings are scaled."""
    config = AutoConfig.for_model("gemma", **tiny.GROUPED, head_dim=4)
    made = tiny.made_of(config, 0)
    refused = failing(opening.open_model(made, architecture=vars(ARCHITECTURES["llama"])))
    assert refused == {VALUES, QUERIES, LOGITS, EMBEDDED}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_they_hold_in_half_precision_and_with_tied_embeddings(dtype):
    config = Qwen2Config(**tiny.GROUPED, tie_word_embeddings=True)
    assert not failing(opening.open_model(tiny.made_of(config, 0).to(dtype)))


STORIES = ROOT.parent / "shared" / "data" / "stories260K"


@pytest.mark.skipif(not STORIES.is_dir(), reason=f"no model in {STORIES}")
def test_they_hold_for_a_model_that_others_trained():
    assert not failing(opening.open_model(STORIES))


VALUES, QUERIES = "W_V and patterns give heads from the stream", "W_Q and W_K give queries and keys"
EMBEDDED = "W_E gives the stream of the first layer"
WRITTEN, LOGITS = "W_O sums heads to what their layer writes", "W_U gives logits from the stream"
WRONG_FACTS = {
    "rows interleaved, not stacked": ("gpt2", {"projections": "c_attn interleaved"}),
    "rows stacked, not interleaved": ("gpt_neox", {"projections": "query_key_value stacked"}),
    "queries for keys": ("olmo", {"projections": "k_proj q_proj v_proj"}),
    "another norm": ("llama", {"input_norm": "post_attention_layernorm"}),
    "no norm": ("llama", {"input_norm": ""}),
    "a norm afterwards that is none": ("llama", {"output_norm": "post_attention_layernorm"}),
}
CAUGHT = {
    "rows interleaved, not stacked": {VALUES, QUERIES},
    "rows stacked, not interleaved": {VALUES, QUERIES},
    "queries for keys": {QUERIES},
    "another norm": {VALUES, QUERIES},
    "no norm": {VALUES, QUERIES},
    "a norm afterwards that is none": {WRITTEN},
}


@pytest.mark.parametrize("wrong", WRONG_FACTS)
def test_a_wrong_fact_is_caught(wrong):
    family, changed = WRONG_FACTS[wrong]
    facts = vars(ARCHITECTURES[family]) | changed
    assert failing(opening.open_model(tiny.model(family), architecture=facts)) == CAUGHT[wrong]


def test_an_edit_that_is_not_the_one_that_acts_is_caught(monkeypatch):
    """Were heads removed from another layer, the model would show it."""
    true = interventions.sets

    def elsewhere(groups, opened):
        return true(groups, opened).roll(1, dims=1)

    monkeypatch.setattr(interventions, "sets", elsewhere)
    assert failing(tiny.opened("llama")) == {"a layer without its heads is its bias"}


# --- facts ---


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"layers": "transformer.h"},
            r"no 'transformer\.h' .layers. in LlamaForCausalLM, which has",
        ),
        ({"attention": "attn"}, r"no 'attn' .attention. in LlamaDecoderLayer.*self_attn"),
        ({"final_norm": "model.ln"}, r"no 'model\.ln' .final_norm."),
        ({"input_norm": "ln_1"}, r"no 'ln_1' .input_norm."),
        ({"output": "c_proj"}, r"no 'c_proj' .output. in LlamaAttention.*o_proj"),
        ({"projections": "c_attn stacked"}, r"no 'c_attn' .projections."),
        ({"projections": "qkv"}, "give three names"),
        ({"projections": "qkv rows"}, "give three names"),
        ({"lairs": "x"}, r"has \['lairs'\]: its facts are layers, attention, final_norm, input_n"),
    ],
)
def test_a_fact_that_names_nothing_is_an_error(changed, said):
    facts = vars(ARCHITECTURES["llama"]) | changed
    with pytest.raises(ValueError, match=said):
        opening.open_model(tiny.model("llama"), architecture=facts)


def test_all_six_facts_are_needed():
    with pytest.raises(ValueError, match="lacks input_norm, output, projections"):
        architecture_of(None, {"layers": "a", "attention": "b", "final_norm": "c"})


def test_an_unknown_family_is_told_the_six_facts(tmp_path):
    config = type("Config", (), {"model_type": "bloom"})
    said = "layers, attention, final_norm, input_norm, output, projections.*add an architecture"
    with pytest.raises(ValueError, match=f"'bloom' is not supported.*`architecture`.*{said}"):
        architecture_of(config)


# --- the page ---


def block(kind: str, first: str) -> str:
    """The page's block of a kind that begins with a comment."""
    found = re.findall(rf"```{kind}\n(# {re.escape(first)}\n.*?)```", PAGE, re.S)
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """The page's model, made as the page says, in a folder with the page's facts."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "modeling_bare.py").write_text(block("python", "modeling_bare.py"))
    (folder / "make.py").write_text(block("python", "make it: python make.py"))
    (folder / "bare.yaml").write_text(block("yaml", "bare.yaml"))
    (folder / "wrong.yaml").write_text(block("yaml", "bare.yaml").replace("stacked", "interleaved"))
    subprocess.run([sys.executable, "make.py"], cwd=folder, check=True, timeout=120)
    return folder


def checked(bare, capsys, facts) -> tuple[int, str]:
    asked = [str(bare / "bare"), "--trust-remote-code", "--revision", "", "--device", "cpu"]
    code = check.main(asked + (["--architecture", str(bare / facts)] if facts else []))
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.filterwarnings("ignore:.*fed token ids only")
def test_the_model_of_the_page_is_proved_right(bare, capsys):
    code, said = checked(bare, capsys, "bare.yaml")
    assert code == 0 and said.count("holds") == 12 and "twelve identities" in PAGE
    code, said = checked(bare, capsys, "wrong.yaml")
    assert code == 1 and {line[7:51].strip() for line in said.split("\n") if "FAILS" in line} == {
        VALUES,
        QUERIES,
    }
    code, said = checked(bare, capsys, None)
    assert code == 2 and "'bare' is not supported" in said


def test_the_profile_of_the_page_names_the_same_facts():
    profile = yaml.safe_load(block("yaml", "params/bare.yaml"))
    assert profile["architecture"] == yaml.safe_load(block("yaml", "bare.yaml"))
