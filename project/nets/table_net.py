"""A network for tables: embeddings of each column, then residual blocks."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from project.nets.net import Net

MAX_INPUT = 3.0  # in standard deviations; larger inputs approach this limit smoothly
LINEAR_SCALE = 10.0  # with Adam, the linear model learns this many times as fast as the rest
FEATURES = 4  # features of each number, including the number itself


class NumberEmbedding(nn.Module):
    """Embed each number as itself and the outputs of a linear layer over periodic functions of it.

    With periodic functions of learned frequencies, a network learns steps and peaks of a single column faster.

    Source: Gorishniy, Rubachev & Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning" (2022), with
    the number itself next to them as in Holzmüller, Grinsztajn & Steinwart, "Better by Default" (2024).

    Args:
        count: Number of numbers in a row.
        waves: Number of periodic functions of each number.
    """

    def __init__(self, count: int, waves: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(count, waves) * 0.1)
        self.phase = nn.Parameter(torch.rand(count, waves) * 2 - 1)
        bound = waves**-0.5
        self.weight = nn.Parameter(torch.empty(count, waves, FEATURES - 1).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(count, FEATURES - 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, count) -> (B, count * 4)."""
        angle = 2 * math.pi * (x[:, :, None] * self.frequency + self.phase)  # (B, count, waves)
        features = torch.einsum("bcw,cwf->bcf", angle.cos(), self.weight) + self.bias
        return torch.cat([x[:, :, None], features], dim=2).flatten(1)


class Residual(nn.Module):
    """A residual block: x plus two linear layers of the normalised x, with dropout between them."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.activation, self.dropout = nn.SiLU(), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) -> (B, width)."""
        return x + self.down(self.dropout(self.activation(self.up(self.norm(x)))))


class TableNet(Net):
    """Embeddings of each column, then residual blocks, whose outputs are added to those of a linear model.

    The linear model learns faster than the blocks, which then learn its residuals, because a linear model is hard to
    beat on a small table. Categories are embedded by a linear layer over their standardised one-hot columns, so that a
    level that did not occur in training is embedded as zero. Inputs far from the mean are limited smoothly.

    Source: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (2021), and those of `NumberEmbedding`.

    Args:
        levels: For each column of the table, the number of levels if it is a category, otherwise 0; set by the data.
        width: Width of the residual blocks.
        blocks: Number of residual blocks.
        embedding: Maximum width of the embedding of a category, which is no larger than its number of columns.
        waves: Number of periodic functions of each number.
        dropout: Dropout probability in the blocks.
    """

    places: Tensor
    default_training: ClassVar[Mapping[str, Any] | None] = {
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001, "weight_decay": 0.1}},
        "lr_scheduler": {"class_path": "project.models.WarmupCosine", "init_args": {"final": 0.0}},
        "trainer.max_epochs": 30,
    }

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        levels: Sequence[int] | None = None,
        width: int = 64,
        blocks: int = 1,
        embedding: int = 8,
        waves: int = 16,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(in_shape, out_features)
        sizes_given = {
            "inputs": prod(in_shape),
            "width": width,
            "blocks": blocks,
            "embedding": embedding,
            "waves": waves,
        }
        self.require(min(sizes_given.values()) > 0, f"{sizes_given}: all must be 1 or more")
        self.require(0 <= dropout < 1, f"dropout must be in [0, 1), got {dropout}")
        # The number of inputs of each column; a category has one for each level except the first.
        inputs = [size - 1 if size else 1 for size in levels] if levels else [1] * prod(in_shape)
        ends = list(accumulate(inputs))
        quantities = levels or [0] * len(inputs)
        self._spans = [(end - n, end) for n, end, size in zip(inputs, ends, quantities, strict=True) if size and n]
        numbers = [end - 1 for end, size in zip(ends, quantities, strict=True) if not size]
        self.register_buffer("places", torch.tensor(numbers, dtype=torch.long), persistent=False)
        self.numbers = NumberEmbedding(len(numbers), waves) if numbers else None
        sizes = [(stop - start, min(stop - start, embedding)) for start, stop in self._spans]
        self.categories = nn.ModuleList(nn.Linear(count, size, bias=False) for count, size in sizes)
        self.stem = nn.Linear(FEATURES * len(numbers) + sum(size for _, size in sizes), width)
        self.blocks = nn.Sequential(*(Residual(width, dropout) for _ in range(blocks)), nn.LayerNorm(width), nn.SiLU())
        self.head = nn.Linear(width, out_features)
        nn.init.normal_(self.head.weight, std=0.1 * width**-0.5)  # small, so that the linear model learns first
        self.linear = nn.Linear(prod(in_shape), out_features, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *in_shape) -> (B, out_features)."""
        x = x.flatten(1)
        x = x / (1 + (x / MAX_INPUT).square()).sqrt()
        parts = [layer(x[:, start:stop]) for layer, (start, stop) in zip(self.categories, self._spans, strict=True)]
        if self.numbers is not None:
            parts.append(self.numbers(x.index_select(1, self.places)))
        return self.head(self.blocks(self.stem(torch.cat(parts, dim=1)))) + LINEAR_SCALE * self.linear(x)

    def head_names(self) -> list[str]:
        """Return the two layers that compute the outputs."""
        return ["head", "linear"]
