"""Categories as 0 and 1 inside the network, so that rows stay small and every saved form takes the same codes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class OneHot(nn.Module):
    """Replace each code of a category by one number per level without the first one, which is the reference level.

    Level k + 1 is 1 at place k, and the reference level is 0 everywhere: treatment coding, as in R and statsmodels. The
    code 0, a level that training did not have, is the mean of the training rows: an average row.

    Args:
        sizes: For each column of x, the number of levels; 0 for a quantity, which stays as it is.

    Attributes:
        unknown: What stands for an unknown level, (out_features,); its values for quantities are not used.
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
        """Number of columns after the replacement."""
        return len(self.level)

    def forward(self, x: Tensor) -> Tensor:
        """(B, len(sizes)) -> (B, out_features)."""
        wide = x.index_select(1, self.source)
        indicator = torch.where(wide == 0, self.unknown.to(x.dtype), (wide == self.level).to(x.dtype))
        return torch.where(self.level == 0, wide, indicator)


def one_hot(in_shape: tuple[int, ...], sizes: Sequence[int] | None) -> tuple[OneHot | None, tuple[int, ...]]:
    """Return what replaces the categories of rows, None if they have none, and the shape of the rows after it."""
    if not sizes or not any(sizes):
        return None, tuple(in_shape)
    module = OneHot(sizes)
    return module, (module.out_features,)
