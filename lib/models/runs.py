"""The few-shot model of Singh et al. (2024) with a leading run axis: R models in one program.

Idea. Two layers of attention and nothing else: every layer reads the residual stream, normed, and
adds to it. All weights are [run, ...], and run r sees batch r, so that R trainings share one pass
and none can reach another. Every intermediate that the chapters read or clamp is the output of a
named submodule (`Point`), where NNsight finds it:

    embedded                          [run, d_model, 5, batch]
    first.scores, first.pattern       [run, head, query, key, batch]
    first.z                           [run, head, d_head, query, batch]
    first.out                         [run, d_model, query, batch]: what the layer writes
    middle                            the stream after layer 1
    second.…                          the same, for the query at the end alone
    final, logits                     [run, d_model, 1, batch], [run, label, batch]

The batch comes last, for a processor adds long rows fast and rows of eight numbers slowly. Layer 2
works for the last position alone: nothing else of it reaches the loss.

Queries, keys and values read the normed stream each at a point of their own (`second.key_read`, …),
where they can be given different streams.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lib.data.fewshot_features import Sequences
from lib.models import kernels

POSITIONS = 5  # x_A l_A x_B l_B x_q
PLACES_OF_LABELS = (1, 3)
BASE = 10_000.0  # of the rotary positions


class Point(nn.Module):
    """An intermediate that can be read and set; it passes on what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Linear(nn.Module):
    """R linear maps: [run, in, ...] -> [run, out, ...]; lecun-normal, the bias zero."""

    def __init__(self, runs: int, n_in: int, n_out: int, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(runs, n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(runs, n_out, 1)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        made = self.weight @ x.flatten(2)
        made = made if self.bias is None else made + self.bias
        return made.unflatten(2, x.shape[2:])


class Norm(nn.Module):
    """LayerNorm over d_model, the second axis, with a gain and a shift for each run."""

    def __init__(self, runs: int, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(runs, width, 1, 1))
        self.shift = nn.Parameter(torch.zeros(runs, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return kernels.norm(x, self.gain, self.shift)


class Attention(nn.Module):
    """Causal attention with rotary positions; `asked`: how many positions from the end ask."""

    def __init__(self, runs: int, width: int, heads: int, asked: int):
        super().__init__()
        self.heads, self.asked = heads, asked
        self.norm = Norm(runs, width)
        self.query_read, self.key_read, self.value_read = Point(), Point(), Point()
        self.query, self.key, self.value = (Linear(runs, width, width) for _ in range(3))
        self.values, self.scores, self.pattern, self.z = Point(), Point(), Point(), Point()
        self.out = Linear(runs, width, width)
        cos, sin = rotation(width // heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        later = torch.ones(POSITIONS, POSITIONS).triu(1)[-asked:, :, None] > 0
        self.register_buffer("later", torch.zeros(later.shape).masked_fill(later, -1e20), False)

    def forward(self, stream: Tensor) -> Tensor:
        """What the layer writes, [run, d_model, query, batch]."""
        normed = self.norm(stream)
        asking = self.query_read(normed)[:, :, -self.asked :]
        query = self._turned(self.query(asking), -self.asked)
        key = self._turned(self.key(self.key_read(normed)), 0)
        value = self.values(self._by_head(self.value(self.value_read(normed))))
        products = kernels.products(query * query.shape[2] ** -0.5, key)
        scores = self.scores(products + self.later)
        pattern = self.pattern(scores.softmax(-2))
        z = self.z(kernels.mixture(pattern, value))
        return self.out(z.flatten(1, 2))

    def _by_head(self, x: Tensor) -> Tensor:
        """[run, d_model, ...] -> [run, head, d_head, ...]"""
        return x.unflatten(1, (self.heads, -1))

    def _turned(self, x: Tensor, first: int) -> Tensor:
        """By head, and turned by the angles of the positions from `first` on."""
        return kernels.turn(self._by_head(x), self.cos[:, first:], self.sin[:, first:])


def rotation(d_head: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [d_head / 2, position, 1] of rotary positions."""
    pace = BASE ** (-torch.arange(d_head // 2) / (d_head / 2))
    angle = (pace[:, None] * torch.arange(POSITIONS))[..., None]
    return angle.cos(), angle.sin()


class Runs(nn.Module):
    """R few-shot models. `generator`, one for each run, draws its weights."""

    def __init__(
        self,
        features: int,
        labels: int,
        generators: list[torch.Generator],
        width: int = 64,
        heads: int = 8,
    ):
        super().__init__()
        runs = len(generators)
        self.example = Linear(runs, features, width, bias=True)
        self.label = nn.Parameter(torch.empty(runs, width, labels))
        self.embedded, self.middle, self.final = Point(), Point(), Point()
        self.first = Attention(runs, width, heads, asked=POSITIONS)
        self.second = Attention(runs, width, heads, asked=1)
        self.norm = Norm(runs, width)
        self.unembed = Linear(runs, width, labels, bias=True)
        self.logits = Point()
        draw_weights(self, generators)

    @property
    def runs(self) -> int:
        return len(self.label)

    def forward(self, shown: Sequences) -> Float[Tensor, "run label batch"]:
        """Logits of the label at the query, for sequences with one leading axis, the runs."""
        embedded = self.embedded(self.embed(shown))
        middle = self.middle(embedded + self.first(embedded))
        final = self.final(middle[:, :, -1:] + self.second(middle))
        return self.logits(self.unembed(self.norm(final)).squeeze(2))

    def embed(self, shown: Sequences) -> Float[Tensor, "run d_model position batch"]:
        """Each run's table of items is embedded once, and its rows dealt to the places."""
        table = self.example(shown.table.T.expand(self.runs, -1, -1))
        items = table.take_along_dim(shown.items.flatten(1).unsqueeze(1), 2)
        labels = self.label.take_along_dim(shown.labels.flatten(1).unsqueeze(1), 2)
        items = items.unflatten(2, shown.items.shape[1:])
        labels = labels.unflatten(2, shown.labels.shape[1:])
        parts = items[:, :, 0], labels[:, :, 0], items[:, :, 1], labels[:, :, 1], items[:, :, 2]
        return torch.stack(parts, 2)


@torch.no_grad()
def draw_weights(model: Runs, generators: list[torch.Generator]) -> None:
    """The paper's initialisation: lecun-normal maps, label embeddings of standard deviation .02,
    truncated at two; gains, shifts and biases stay as they are."""
    for name, weight in model.named_parameters():
        if not (name == "label" or name.endswith("weight")):
            continue
        # A normal truncated at two standard deviations has a deviation of .8796 of them.
        deviation = 0.02 if name == "label" else weight.shape[-1] ** -0.5 / 0.87962566
        for one, generator in zip(weight, generators, strict=True):
            nn.init.trunc_normal_(one, 0, deviation, -2 * deviation, 2 * deviation, generator)


def losses(logits: Tensor, shown: Sequences) -> Float[Tensor, "run"]:
    """Cross-entropy in nats at the query, mean over each run's sequences."""
    each = torch.nn.functional.cross_entropy(logits, shown.target(), reduction="none")
    return each.mean(-1)
