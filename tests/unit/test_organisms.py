"""The organism computes what its description says, and is read like any Llama."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lib.models.opening import open_model
from lib.models.organisms import (
    OrganismConfig,
    OrganismForCausalLM,
    causal_mask,
    sinusoids,
    tokenizer,
)

WORDS = ["<bos>", *(f"w{i}" for i in range(19))]


def organism(**changes) -> OrganismForCausalLM:
    config = {
        "vocab_size": 20,
        "hidden_size": 12,
        "num_attention_heads": 3,
        "head_dim": 5,
        "max_position_embeddings": 16,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return OrganismForCausalLM(OrganismConfig(**{**config, **changes})).eval()


def some_tokens(size: int = 2, length: int = 10) -> torch.Tensor:
    return torch.randint(1, 20, (size, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "changes", [{}, {"smeared": True}, {"intermediate_size": 24}, {"norm": "none"}]
)
def test_saved_and_reopened_it_gives_the_same_logits(changes, tmp_path):
    model, tokens = organism(**changes), some_tokens()
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is OrganismForCausalLM and list(tmp_path.glob("*.safetensors"))
    assert torch.equal(again(tokens).logits, model(tokens).logits)


@torch.no_grad()
def test_attention_only_forward_by_hand():
    """Positions reach queries and keys, and nothing else."""
    model, tokens = organism(num_hidden_layers=1, attention_scale=0.7), some_tokens()
    layer, attention = model.model.layers[0], model.model.layers[0].self_attn
    stream = model.model.embed_tokens(tokens)
    plain = layer.input_layernorm(stream)
    placed = plain + model.model.positions.weight[:10]
    # fmt: skip
    q, k, v = (
        f(x).view(2, 10, 3, 5)
        for f, x in zip(
            (attention.q_proj, attention.k_proj, attention.v_proj),
            (placed, placed, plain),
            strict=True,
        )
    )
    logits = torch.einsum("bqhd,bkhd->bhqk", q, k) * 0.7
    pattern = logits.masked_fill(~torch.ones(10, 10, dtype=torch.bool).tril(), -torch.inf).softmax(
        -1
    )
    z = torch.einsum("bhqk,bkhd->bqhd", pattern, v)
    out = model(tokens, output_attentions=True)
    torch.testing.assert_close(out.attentions[0], pattern)
    torch.testing.assert_close(
        out.logits, model.lm_head(model.model.norm(stream + attention.o_proj(z.flatten(2))))
    )


@torch.no_grad()
def test_smeared_keys_follow_the_definition():
    attention = organism(smeared=True).model.layers[0].self_attn
    attention.smear.copy_(torch.tensor([-1.0, 0.0, 2.0]))
    key = torch.randn(2, 3, 7, 5, generator=torch.Generator().manual_seed(2))
    smeared, own = attention.smear_keys(key), torch.sigmoid(attention.smear)
    torch.testing.assert_close(smeared[:, :, 0], key[:, :, 0])
    for head in range(3):
        for j in range(1, 7):
            torch.testing.assert_close(
                smeared[:, head, j],
                own[head] * key[:, head, j] + (1 - own[head]) * key[:, head, j - 1],
            )


@torch.no_grad()
def test_keys_can_lean_on_a_token_further_back():
    attention = organism(smeared=2).model.layers[0].self_attn
    key = torch.randn(1, attention.smear.shape[0], 6, attention.head_dim)
    smeared = attention.smear_keys(key)
    torch.testing.assert_close(smeared[:, :, :2], key[:, :, :2])
    torch.testing.assert_close(smeared[:, :, 2:], (key[:, :, 2:] + key[:, :, :-2]) / 2)


@torch.no_grad()
def test_alpha_far_above_zero_is_no_smear_and_alpha_trains():
    plain, smeared, tokens = organism(), organism(smeared=True), some_tokens()
    smeared.load_state_dict(plain.state_dict(), strict=False)
    for layer in smeared.model.layers:
        layer.self_attn.smear.fill_(50.0)
    torch.testing.assert_close(smeared(tokens).logits, plain(tokens).logits)
    with torch.enable_grad():
        fresh = organism(smeared=True)
        fresh(tokens, labels=tokens).loss.backward()
    assert (fresh.model.layers[0].self_attn.smear.grad != 0).all()


@torch.no_grad()
def test_nothing_sees_the_future_or_the_padding():
    model, tokens = organism(intermediate_size=24, smeared=True), some_tokens()
    changed = tokens.clone()
    changed[:, 6:] = 1 + changed[:, 6:] % 19
    assert torch.equal(model(tokens).logits[:, :6], model(changed).logits[:, :6])
    assert not torch.allclose(model(tokens).logits[:, 6:], model(changed).logits[:, 6:])
    mask = torch.ones_like(tokens).index_fill(1, torch.tensor([2]), 0)
    pattern = model(tokens, attention_mask=mask, output_attentions=True).attentions[0]
    assert (pattern[:, :, 3:, 2] == 0).all() and (pattern[:, :, 3:, 1] > 0).all()


@torch.no_grad()
def test_loss_is_the_mean_next_token_loss():
    model, tokens = organism(), some_tokens()
    right = model(tokens).logits[:, :-1].log_softmax(-1).gather(2, tokens[:, 1:, None])
    torch.testing.assert_close(model(tokens, labels=tokens).loss, -right.mean())


@pytest.mark.parametrize("changes", [{}, {"smeared": True}, {"intermediate_size": 24}])
@pytest.mark.parametrize("padded", [False, True])
def test_fused_and_eager_agree_on_loss_and_gradients(changes, padded):
    """Training computes with the one what is read with the other, in padded texts too."""
    eager, fused, tokens = organism(**changes), organism(**changes), some_tokens()
    fused.set_attn_implementation("fused")
    mask = torch.ones_like(tokens).index_fill(1, torch.tensor([2]), 0) if padded else None
    losses = [model(tokens, attention_mask=mask, labels=tokens).loss for model in (eager, fused)]
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=1e-6)
    for loss in losses:
        loss.backward()
    for expected, found in zip(eager.parameters(), fused.parameters(), strict=True):
        assert expected.grad.abs().max() > 0
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-4, atol=1e-6)


def test_what_was_trained_fused_is_opened_eager(tmp_path):
    """The weights' folder does not say how they were trained, and a pattern can be read."""
    model = organism()
    model.set_attn_implementation("fused")
    assert not model(some_tokens(), output_attentions=True).attentions
    model.save_pretrained(tmp_path)
    for again in (AutoModelForCausalLM.from_pretrained(tmp_path), open_model(model).module):
        assert again.config._attn_implementation == "eager"
        pattern = again(some_tokens(), output_attentions=True).attentions[0]
        torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 3, 10))


def test_initial_weights():
    """The positions' table starts as sinusoids, also when context and vocabulary have the same
    size."""
    model = organism(max_position_embeddings=20, hidden_size=64)
    assert torch.equal(model.model.positions.weight, sinusoids(20, 64))
    assert sinusoids(20, 64)[3, 0] == torch.tensor(3.0).sin()
    assert model.model.embed_tokens.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert model.lm_head.weight is not model.model.embed_tokens.weight


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="choose 'rms' or 'none'"):
        OrganismConfig(norm="layer")
    with pytest.raises(ValueError, match=r"17 tokens.*context is 16"):
        organism()(some_tokens(length=17))
    with pytest.raises(ValueError, match="<bos>"):
        tokenizer(["a", "b"])


def test_generation_and_mask_shape():
    out = organism().generate(some_tokens(length=4), max_new_tokens=3, do_sample=False)
    assert out.shape == (2, 7)
    assert causal_mask(4, None, torch.zeros(1)).shape == (1, 1, 4, 4)


def test_tokenizer_round_trip(tmp_path):
    tokenizer(WORDS).save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again("w3 w0")["input_ids"] == [0, 4, 1]
    assert again.decode([4, 1]) == "w3 w0"
    with pytest.raises(Exception, match="UNK"):
        again("never")


def test_heads_are_read_and_edited_under_the_common_name():
    """The operation `attention_interface_1`: its inputs, outputs, edits, and the softmax inside."""
    nnsight = pytest.importorskip("nnsight")
    model, tokens = organism(), some_tokens()
    wrapped = nnsight.NNsight(model)
    ahead = torch.eye(10).expand(2, 3, 10, 10)
    with wrapped.trace(tokens):
        op = wrapped.model.layers[0].self_attn.source.attention_interface_1
        value = op.inputs[0][3].save()
        op.source.nn_functional_softmax_0.output = ahead
        z, pattern = op.output
        z, pattern = z.save(), pattern.save()
        op.output = (z * 0, pattern)
        result = wrapped.model.layers[0].self_attn.output[0].save()
    assert torch.equal(z, value.transpose(1, 2)) and torch.equal(pattern, ahead)
    assert (result == 0).all()
