"""Batches in the units and shapes that the objective takes."""

from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor


class PreparedBatch(NamedTuple):
    """A batch with standardised inputs and targets, and everything else that the objective needs.

    Attributes:
        inputs: Inputs in standard units, (B, *in_shape).
        targets: Targets in standard units (B, out_features), or classes (B,).
        y: Targets in original units, of the same shape.
        weights: Row weights, one column for all members of an ensemble or for each, (B, 1) or (B, members).
        teacher_outputs: Outputs of the teacher in standard units, (B, out_features).
    """

    inputs: Tensor
    targets: Tensor
    y: Tensor
    weights: Tensor | None = None
    teacher_outputs: Tensor | None = None

    def split(self, rows: int) -> Iterator["PreparedBatch"]:
        """Split into batches of `rows` rows each."""
        parts = [repeat(None) if part is None else part.split(rows) for part in self]
        return (PreparedBatch(*batch) for batch in zip(*parts, strict=False))

    def repeated(self, members: int) -> "PreparedBatch":
        """Repeat the rows for each member of an ensemble, with weights (members * B,). The inputs are not repeated."""
        return self._replace(
            targets=torch.cat([self.targets] * members),
            y=torch.cat([self.y] * members),
            weights=None if self.weights is None else self.weights.expand(-1, members).T.flatten(),
            teacher_outputs=None if self.teacher_outputs is None else torch.cat([self.teacher_outputs] * members),
        )
