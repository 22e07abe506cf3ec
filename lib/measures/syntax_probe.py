"""How much syntax the attention of a model carries: the attention-and-words probe of Clark et al.
(2019).

Idea. The probability that word j is the head of word i is a softmax over j of a sum over attention
heads k,

    (w_k . [e_i; e_j]) A^k_ij + (u_k . [e_i; e_j]) A^k_ji,

with the words' embeddings e deciding which heads to trust for which words. Only w and u are
learned; the model is left as it is. The share of words whose most probable head is the true one
says what a simple reader can get from attention.

Caveat: the probe learns from embeddings too. `nearest` tells what the best fixed offset gives
without any model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class Parsed:
    """A sentence as a probe sees it, its words in order."""

    attention: Float[Tensor, "head word word"]  # all heads of all layers
    embedding: Float[Tensor, "word d_model"]
    heads: Int[Tensor, " word"]  # number of each word's head; the root's own number: not counted


class AttentionAndWords(nn.Module):
    """The probe's two weight tables, [head, 2 d_model] each, as linear maps."""

    def __init__(self, heads: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.forward_map, self.backward_map = (
            nn.Parameter(0.01 * torch.randn(heads, 2, width, generator=generator)) for _ in range(2)
        )

    def forward(self, sentence: Parsed) -> Float[Tensor, "word word"]:
        """Logits that column j is the head of row i; a word is never its own head."""
        logits = torch.zeros_like(sentence.attention[0])
        for table, attention in (
            (self.forward_map, sentence.attention),
            (self.backward_map, sentence.attention.mT),
        ):
            own, other = torch.einsum("ksd,wd->skw", table, sentence.embedding)
            logits = logits + ((own[:, :, None] + other[:, None, :]) * attention).sum(0)
        return logits - 1e9 * torch.eye(len(logits))


def fit(
    sentences: list[Parsed], seed: int = 0, epochs: int = 30, lr: float = 0.02
) -> AttentionAndWords:
    """Learn the probe by cross-entropy over the words that have a head, one step a sentence."""
    generator = torch.Generator().manual_seed(seed)
    probe = AttentionAndWords(
        len(sentences[0].attention), sentences[0].embedding.shape[1], generator
    )
    adam = torch.optim.Adam(probe.parameters(), lr)
    for _ in range(epochs):
        for i in torch.randperm(len(sentences), generator=generator).tolist():
            child = _children(sentences[i])
            adam.zero_grad()
            nn.functional.cross_entropy(
                probe(sentences[i])[child], sentences[i].heads[child]
            ).backward()
            adam.step()
    return probe


@torch.no_grad()
def hits(probe: AttentionAndWords, sentences: list[Parsed]) -> Float[Tensor, "sentence 2"]:
    """Per sentence, how many words' heads the probe finds, and how many have one."""
    rows = []
    for sentence in sentences:
        child = _children(sentence)
        rows.append(
            [
                float((probe(sentence).argmax(1)[child] == sentence.heads[child]).sum()),
                float(len(child)),
            ]
        )
    return torch.tensor(rows)


def nearest(sentences: list[Parsed], reach: int = 4) -> tuple[int, float]:
    """The offset that is most often right as a guess of the head, and the share of words for which
    it is."""
    offsets = torch.cat([(s.heads - torch.arange(len(s.heads)))[_children(s)] for s in sentences])
    shares = {k: float((offsets == k).float().mean()) for k in range(-reach, reach + 1) if k}
    best = max(shares, key=shares.get)  # type: ignore[arg-type]
    return best, shares[best]


def _children(sentence: Parsed) -> Int[Tensor, " child"]:
    return (sentence.heads != torch.arange(len(sentence.heads))).nonzero()[:, 0]
