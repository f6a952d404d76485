"""One-hot encoding of categories as a layer of the network, so that checkpoints and exported files take codes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class OneHot(nn.Module):
    """Replace the code of each category by one column for each level except the first, the reference level.

    A column is 1 for its level and 0 for others, so all columns are 0 for the reference level (treatment coding, as in
    R and statsmodels). For code 0, a level that did not occur in training, the columns have their training means.

    Args:
        sizes: For each column of x, the number of levels; 0 for a quantity, which is not changed.

    Attributes:
        unknown: Values of the columns for an unknown level, (out_features,); those for quantities are not used.
    """

    source: Tensor
    level: Tensor
    unknown: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        source = [column for column, size in enumerate(sizes) for _ in range(size - 1 if size else 1)]
        level = [code for size in sizes for code in (range(2, size + 1) if size else [0])]
        self.register_buffer("source", torch.tensor(source, dtype=torch.long), persistent=False)
        self.register_buffer("level", torch.tensor(level, dtype=torch.float32), persistent=False)
        self.register_buffer("unknown", torch.zeros(len(level)))

    @property
    def out_features(self) -> int:
        """Number of columns after the encoding."""
        return len(self.level)

    def forward(self, x: Tensor) -> Tensor:
        """(B, len(sizes)) -> (B, out_features)."""
        wide = x.index_select(1, self.source)
        indicator = torch.where(wide == 0, self.unknown.to(x.dtype), (wide == self.level).to(x.dtype))
        return torch.where(self.level == 0, wide, indicator)


def one_hot(in_shape: tuple[int, ...], sizes: Sequence[int] | None) -> tuple[OneHot | None, tuple[int, ...]]:
    """Return the encoding layer, None if there are no categories, and the shape of a row after it."""
    if not sizes or not any(sizes):
        return None, tuple(in_shape)
    module = OneHot(sizes)
    return module, (module.out_features,)
