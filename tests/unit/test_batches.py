"""A batch that does not fit is halved, and says so; what comes back is what the whole batch
gives."""

import warnings

import numpy as np
import pytest
import torch

from lib.analyses import composition, detection, head_families
from lib.models import opening
from lib.tracing import batches, capture, interventions
from tests import tiny

pytestmark = pytest.mark.filterwarnings("ignore:Out of memory")
MOST = 2  # sequences that fit the memory of `small`


@pytest.fixture
def small():
    """A model whose memory holds `MOST` sequences at a time, and what it refused."""
    opened, refused = opening.open_model(tiny.model("llama")), []

    def full(module, inputs):
        if len(inputs[0]) > MOST:
            refused.append(len(inputs[0]))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    opened.block(1).self_attn.o_proj.register_forward_pre_hook(full)
    opened.refused = refused
    return opened


def answer(logits, prompts):
    """Another token for each prompt, so that a prompt of another place has another slope."""
    return logits[torch.arange(len(prompts)), prompts]


ASKED = {
    "token_losses": capture.token_losses,
    "logits": capture.logits,
    "next_logits": capture.next_logits,
    "patterns": capture.patterns,
    "before_unembedding": capture.before_unembedding,
    "outputs": interventions.outputs,
    "attention_scores": lambda o, t: detection.attention_scores(o, t, np.random.default_rng(0)),
    "copying_scores": detection.copying_scores,
    "previous_token_heads": lambda o, t: torch.tensor(
        composition.previous_token_heads(o, t, 0.1, o.n_layers)
    ),
    "entropies": head_families.entropies,
    "gradients": lambda o, t: interventions.gradients(o, t, torch.arange(5, 12), answer),
}


@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_of_a_batch_is_asked_of_its_halves(name, small):
    tokens = tiny.tokens(size=7)
    whole = ASKED[name](tiny.opened("llama"), tokens)
    with pytest.warns(UserWarning, match=r"Out of memory with 7 at once .*2\.00 GiB\.\): now 4"):
        found = ASKED[name](small, tokens)
    torch.testing.assert_close(found, whole)
    assert small.refused == [7, 4, 3]


def test_direct_logits_are_halved_too(small):
    """Two passes: one for the final norm, one for the heads."""
    tokens = tiny.tokens(size=7)
    with pytest.warns(UserWarning, match="Out of memory with 7 at once"):
        found = composition.direct_logits(small, tokens)
    torch.testing.assert_close(found, composition.direct_logits(tiny.opened("llama"), tokens))
    assert small.refused == [7, 4, 3, 7, 4, 3]


def test_interventions_are_halved_too(small):
    tokens, opened = tiny.tokens(size=1), tiny.opened("llama")
    single = [[(layer, head)] for layer in range(2) for head in range(4)]
    gone = [interventions.Silence(interventions.sets(single, opened))]
    for last in (None, torch.tensor([11])):
        ask = lambda model, last=last: interventions.run(model, tokens, gone, last)
        with pytest.warns(UserWarning, match="Out of memory with 8 at once"):
            found = ask(small)
        torch.testing.assert_close(found, ask(opened))


def test_one_that_does_not_fit_is_an_error_and_others_are_not_halved():
    asked = []

    def run(batch):
        asked.append(len(batch))
        raise asked_for

    asked_for = torch.OutOfMemoryError("no room")
    with pytest.warns(UserWarning), pytest.raises(torch.OutOfMemoryError, match="no room"):
        batches.fitting(run, torch.zeros(4, 2))
    assert asked == [4, 2, 1]
    asked_for = RuntimeError("something else")
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="something else"):
        warnings.simplefilter("error")
        batches.fitting(run, torch.zeros(4, 2))
