"""The fast relation index equals the literal one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from lib.analyses import relation_maps
from lib.data.triplets import Encoded
from lib.measures import relation_index, relation_places
from lib.measures.relation_index import CALIBRATED, PRINTED, Choices
from lib.measures.relation_places import Triplets
from lib.models import opening
from lib.models.organisms import OrganismConfig, OrganismForCausalLM
from tests.relation_reference import attention_of_embeddings
from tests.relation_reference import copying as literal_copying
from tests.relation_reference import tally as literal_tally

VOCABULARY = 13
CHOICES = st.builds(
    Choices,
    attention=st.sampled_from(["forward", "embedding"]),
    ov_input=st.sampled_from(["current", "source", "context"]),
    tau=st.sampled_from([None, 1.0, 1.05, 1.3, 2.2]),
    exclude=st.sets(st.sampled_from(["self", "previous", "first"])).map(
        lambda chosen: tuple(sorted(chosen))
    ),
    fake_position=st.integers(0, 9),
)


def some_triplets(
    rng: np.random.Generator, tokens: torch.Tensor, lengths: torch.Tensor, n: int = 9
) -> Triplets:
    """Random triplets with random alternatives that are visible when the triplet first is."""
    document = rng.integers(len(tokens), size=n)
    ends = [rng.choice(int(lengths[d]), 2, replace=False) for d in document]
    others = [
        [[rng.integers(-1, max(pair) + 1) for _ in range(3)] for pair in ends] for _ in range(2)
    ]
    source, target = np.array(ends).T
    columns = (rng.integers(2, size=n), document, source, target, *map(np.array, others))
    tensors = [torch.from_numpy(np.ascontiguousarray(c)).long() for c in columns]
    return Triplets(
        ("one", "two"),
        *tensors,
        torch.from_numpy(rng.integers(-1, 2, (n, 3))),
        torch.arange(n),
        torch.from_numpy(rng.integers(3, size=n)),
    )


def some_documents(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.from_numpy(rng.integers(4, 14, 3))
    return torch.from_numpy(rng.integers(0, VOCABULARY, (3, int(lengths.max())))), lengths


def agree(fast: dict, slow: dict, tolerance: float = 1e-6) -> None:
    for name, expected in slow.items():
        torch.testing.assert_close(
            fast[name].double(),
            expected,
            rtol=0,
            atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), choices=CHOICES)
def test_tally_and_copying_equal_the_literal_equations(seed, choices):
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    tokens, lengths = some_documents(rng)
    d, e, heads = 6, 3, 3
    W_Q, W_K, W_V = (
        torch.randn(heads, d, e, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    W_O = torch.randn(heads, e, d, generator=generator, dtype=torch.float64)
    W_E, W_U = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((VOCABULARY, d), (d, VOCABULARY))
    )
    inputs = torch.randn(*tokens.shape, d, generator=generator, dtype=torch.float64)
    seen, triplets = relation_places.see(tokens, lengths), some_triplets(rng, tokens, lengths)
    if choices.attention == "embedding":
        pattern = relation_index.embedding_pattern(W_E[seen.vocabulary], W_Q, W_K, seen)
        torch.testing.assert_close(pattern, attention_of_embeddings(tokens, W_E, W_Q, W_K))
    else:
        pattern = torch.randn(
            3, heads, *2 * tokens.shape[1:], generator=generator, dtype=torch.float64
        )
        pattern = (
            (3 * pattern)
            .masked_fill(torch.ones_like(pattern).triu(1).bool(), -torch.inf)
            .softmax(-1)
        )
    values = (
        torch.einsum("btd,hde->bhte", inputs, W_V)
        if choices.ov_input == "context"
        else relation_index.embedding_values(W_E[seen.vocabulary], W_V, seen)
    )
    projected = relation_index.project(values, W_O, W_U[:, seen.vocabulary], seen)
    agree(
        relation_index.tally(pattern, projected, seen, triplets, [choices])[0],
        literal_tally(pattern, inputs, W_V, W_O, W_E, W_U, tokens, lengths, triplets, choices),
    )
    slow = literal_copying(pattern, inputs, W_V, W_O, W_E, W_U, tokens, lengths, choices)
    agree(
        relation_index.copying(pattern, projected, seen, choices),
        {"copied": slow[..., 0], "events": slow[..., 1]},
    )


SHARED = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=4, n_positions=32)
    ),
    "neox": lambda: GPTNeoXForCausalLM(
        GPTNeoXConfig(**SHARED, intermediate_size=32, max_position_embeddings=32)
    ),
    "llama-grouped": lambda: LlamaForCausalLM(
        LlamaConfig(
            **SHARED, num_key_value_heads=2, intermediate_size=32, max_position_embeddings=32
        )
    ),
    "organism": lambda: OrganismForCausalLM(
        OrganismConfig(**SHARED, head_dim=6, max_position_embeddings=32)
    ),
}


@pytest.fixture(params=MODELS, scope="module")
def opened(request):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = MODELS[request.param]()
        for (
            parameter
        ) in module.parameters():  # weights near zero would make every share a matter of rounding
            torch.nn.init.normal_(parameter, std=0.6)
    return opening.open_model(
        module.double()
    )  # so that what differs is the method, and not the rounding


def values_read(opened, tokens: torch.Tensor) -> list[torch.Tensor]:
    """[batch, head, position, d_head] of each layer, by hooks on the modules that make them."""
    found = []
    handles = []
    for layer in range(opened.n_layers):
        attention = opened.block(layer).get_submodule(opened.architecture.attention)
        fused = getattr(attention, "c_attn", None) or getattr(attention, "query_key_value", None)
        handles.append(
            (fused or attention.v_proj).register_forward_hook(
                lambda module, args, output: found.append(output)
            )
        )
    with torch.no_grad():
        opened.module(tokens)
    for handle in handles:
        handle.remove()
    heads, size = opened.n_heads, opened.d_head
    if opened.config.model_type == "gpt2":
        found = [x.chunk(3, -1)[2] for x in found]
    elif opened.config.model_type == "gpt_neox":
        found = [x.unflatten(-1, (heads, 3, size))[..., 2, :].flatten(-2) for x in found]
    return [
        x.unflatten(-1, (-1, size))
        .repeat_interleave(heads * size // x.shape[-1], 2)
        .transpose(1, 2)
        for x in found
    ]


@pytest.mark.parametrize("ov_input", ["current", "source", "context"])
@pytest.mark.parametrize("attention", ["forward", "embedding"])
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32 - 1), choices=CHOICES)
def test_measure_on_models_equals_the_literal_equations(opened, attention, ov_input, seed, choices):
    """Through the trace, in batches, from the model's own patterns, values and weights: the same
    sums."""
    choices = replace(choices, attention=attention, ov_input=ov_input)
    if attention == "embedding" and choices.tau in (None, 1.0):
        choices = replace(
            choices, tau=1.05
        )  # equal tokens get equal attention: which one is larger is a matter of rounding
    rng = np.random.default_rng(seed)
    tokens, lengths = some_documents(rng)
    triplets = some_triplets(rng, tokens, lengths)
    triplets = triplets.at(triplets.document.argsort(stable=True))
    found = relation_maps.measure(
        opened, Encoded(tokens, lengths, triplets, {}), {"x": choices}, batch=2
    )["x"]
    with torch.no_grad():
        patterns = opened.module(tokens, output_attentions=True).attentions
    for layer, values in enumerate(values_read(opened, tokens)):
        w = opened.head_weights(layer)
        E, U = opened.W_E.double(), opened.W_U.double()
        pattern = (
            patterns[layer]
            if choices.attention == "forward"
            else attention_of_embeddings(tokens, E, w.W_Q.double(), w.W_K.double())
        )
        slow = _literal_per_head(pattern, values, w, E, U, tokens, lengths, triplets, choices)
        agree({name: value[layer] for name, value in found.sums.items()}, slow)


def _literal_per_head(pattern, values, w, E, U, tokens, lengths, triplets, choices):
    """The literal tally, head by head: with `context`, a head's input is its own value vector."""
    rows = []
    for h in range(pattern.shape[1]):
        W_V = (
            torch.eye(values.shape[-1], dtype=torch.float64)
            if choices.ov_input == "context"
            else w.W_V[h].double()
        )
        given = (W_V[None], w.W_O[h][None].double(), E, U, tokens, lengths, triplets, choices)
        rows.append(literal_tally(pattern[:, h : h + 1], values[:, h].double(), *given))
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


# --- the parts ---


def test_see_numbers_tokens_by_first_occurrence():
    seen = relation_places.see(torch.tensor([[7, 4, 7, 9, 4, 2]]))
    assert seen.local.tolist() == [[0, 1, 0, 2, 1, 3]]
    assert seen.count.tolist() == [[1, 2, 2, 3, 3, 4]]
    assert seen.vocabulary[seen.distinct].tolist() == [[7, 4, 9, 2]]


def test_gate_by_hand():
    pattern = torch.tensor([[[[1.0, 0, 0], [0.25, 0.75, 0], [0.6, 0.1, 0.3]]]])
    place, ratio = relation_index.gate(pattern)
    assert place.tolist() == [[[0, 1, 0]]] and ratio[0, 0, 1:].tolist() == pytest.approx([3, 2])


def test_a_head_that_rests_at_the_first_token_looks_at_nothing_else():
    """It gives the source four times what it gives the rest, and the first token more than all."""
    pattern = torch.tensor([[[[1.0, 0, 0, 0]] * 3 + [[0.95, 0.04, 0.01, 0]]]])
    zero, one = torch.tensor([0]), torch.tensor([1])
    none = torch.full((1, 1), -1)
    made = Triplets(("r",), zero, zero, one, one + 1, none, none, none, zero, zero)
    seen = relation_places.see(torch.tensor([[7, 4, 2, 9]]))
    assert len(relation_index.gated(pattern, made, seen).triplet) == 0
    rests = replace(made, source=zero)
    events = relation_index.gated(pattern, rests, seen)
    assert len(events.triplet) == 2  # position 0 as a source: from the third token on
    assert not relation_index.selected(events, rests, CALIBRATED).any()


def test_ratios_of_all_heads_and_of_those_that_look():
    pattern = torch.tensor([[[[1.0, 0, 0], [0.5, 0.5, 0], [0.6, 0.3, 0.1]]]])
    document = torch.zeros(2, dtype=torch.long)
    source, target, none = torch.tensor([0, 1]), torch.tensor([1, 2]), torch.full((2, 1), -1)
    made = Triplets(("r",), document, document, source, target, none, none, none, source, source)
    seen = relation_places.see(torch.tensor([[7, 4, 2]]))
    counts = relation_index.ratio_counts(pattern, made, seen, torch.tensor([0.9, 1.5]))
    assert counts.tolist() == [[[1, 1, 1], [0, 1, 1]]]  # .5, 1 and 2; looked at most: 1 and 2


def test_variants_are_scored_together_only_if_they_agree():
    rng, (tokens, lengths) = np.random.default_rng(0), some_documents(np.random.default_rng(0))
    seen, triplets = relation_places.see(tokens, lengths), some_triplets(rng, tokens, lengths)
    pattern, projected = torch.rand(3, 2, *[13] * 2), torch.rand(3, 2, 13, 5)
    with pytest.raises(ValueError, match="share"):
        relation_index.tally(pattern, projected, seen, triplets, [PRINTED, CALIBRATED])


def test_shares_by_hand():
    """p = (.5, .25, .25) above the mean 1/3: only the first is raised; what is hidden counts for
    nothing."""
    logits = torch.tensor(
        [[0.5, 0.25, 0.25, 9.0], [0.5, 0.3, 0.2, 0.0], [1.0, 1.0, 1.0, 1.0]]
    ).log()
    found = relation_index.shares(logits, torch.tensor([3, 4, 4]))
    expected = torch.tensor([[1.0, 0, 0, 0], [0.25 / 0.3, 0.05 / 0.3, 0, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_a_ratio_below_one_is_refused():
    with pytest.raises(ValueError, match="tau"):
        Choices(tau=0.5)


def test_presets_are_the_paper_and_its_controls():
    assert replace(CALIBRATED, ov_input="current", exclude=()) == PRINTED
