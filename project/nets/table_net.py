"""A network for rows of a table: embeddings of each column, then residual blocks."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from project.nets.net import Net

LARGEST = 3.0  # standard deviations that an input approaches, however large it is
HEAD_START = 10.0  # how many times as fast as the rest the linear model learns, with Adam
FEATURES = 4  # that represent a number, itself among them


class NumberEmbedding(nn.Module):
    """Represent each number by itself and by features that are a linear layer of periodic functions of it.

    A network of smooth layers learns steps and peaks of single columns slowly; waves of learned lengths have them.

    Source: Gorishniy, Rubachev & Babenko, "On Embeddings for Numerical Features in Tabular Deep Learning" (2022), with
    the number itself next to them as in Holzmüller, Grinsztajn & Steinwart, "Better by Default" (2024).

    Args:
        count: How many numbers.
        waves: Number of periodic functions of each.
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
    """x plus what two layers compute from the normalised x, with dropout between them."""

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
    """Embeddings of each column, then residual blocks; a linear model is added to what they compute.

    The linear model learns first, and the blocks what it leaves: on a small table a linear model is hard to beat. A
    category is embedded by a linear map of its levels, so that a level that training did not have, an average row, is
    the origin. Inputs far from the mean are pulled in smoothly: an outlier is no more than an extreme value.

    Source: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (2021), and those of `NumberEmbedding`.

    Args:
        levels: For each column of the table, the number of levels if it is a category, else 0; set by the data.
        width: Width of the residual blocks.
        blocks: How many there are.
        embedding: Maximum width of the embedding of a category; it is less if there are fewer levels.
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
        if min(prod(in_shape), width, blocks, embedding, waves) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                f"TableNet: inputs {prod(in_shape)}, width {width}, blocks {blocks}, embedding {embedding} and waves "
                f"{waves} must be 1 or more, dropout {dropout} in [0, 1)"
            )
        # How many inputs each column has: a category one for each level but the first.
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
        x = x / (1 + (x / LARGEST).square()).sqrt()
        parts = [layer(x[:, start:stop]) for layer, (start, stop) in zip(self.categories, self._spans, strict=True)]
        if self.numbers is not None:
            parts.append(self.numbers(x.index_select(1, self.places)))
        return self.head(self.blocks(self.stem(torch.cat(parts, dim=1)))) + HEAD_START * self.linear(x)

    def head_names(self) -> list[str]:
        """Return the layers that compute outputs."""
        return ["head", "linear"]
