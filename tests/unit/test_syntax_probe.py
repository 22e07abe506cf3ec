"""The probe reads trees out of attention that holds them, and not out of attention that does
not."""

import pytest
import torch

from lib.measures import syntax_probe


def sentences(n: int, truth: bool, seed: int) -> list[syntax_probe.Parsed]:
    """Random trees of six words; the second of three heads looks at each word's head, if
    `truth`."""
    generator, made = torch.Generator().manual_seed(seed), []
    for _ in range(n):
        heads = torch.tensor([int(torch.randint(6, (1,), generator=generator)) for _ in range(6)])
        attention = torch.rand(3, 6, 6, generator=generator).softmax(-1)
        if truth:
            attention[1] = 0.1 * attention[1] + 0.9 * torch.nn.functional.one_hot(heads, 6)
        made.append(syntax_probe.Parsed(attention, torch.randn(6, 5, generator=generator), heads))
    return made


@pytest.mark.parametrize("truth, low, high", [(True, 0.95, 1.0), (False, 0.0, 0.4)])
def test_it_finds_heads_that_attention_holds(truth, low, high):
    words = torch.randn(1, 5, generator=torch.Generator().manual_seed(9))
    train, test = (
        [
            syntax_probe.Parsed(s.attention, words.expand(6, 5), s.heads)
            for s in sentences(60, truth, seed)
        ]
        for seed in (1, 2)
    )
    found = syntax_probe.hits(syntax_probe.fit(train, epochs=10), test)
    assert low <= float(found[:, 0].sum() / found[:, 1].sum()) <= high
    assert found[:, 1].sum() == sum(int((s.heads != torch.arange(6)).sum()) for s in test)


def test_the_logits_are_the_formula():
    (sentence,) = sentences(1, True, 3)
    made = syntax_probe.AttentionAndWords(3, 5, torch.Generator().manual_seed(0))
    logits, e = made(sentence), sentence.embedding
    for i, j in ((0, 3), (4, 1)):
        pair, expected = torch.stack([e[i], e[j]]), 0.0
        for k in range(3):
            expected += (made.forward_map[k] * pair).sum() * sentence.attention[k, i, j] + (
                made.backward_map[k] * pair
            ).sum() * sentence.attention[k, j, i]
        torch.testing.assert_close(logits[i, j], expected)


def test_the_best_offset_by_hand():
    row = syntax_probe.Parsed(torch.zeros(1, 4, 4), torch.zeros(4, 2), torch.tensor([1, 2, 2, 2]))
    assert syntax_probe.nearest([row, row]) == (1, pytest.approx(2 / 3))
