"""A batch on its way from a loader to an objective."""

from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple

from torch import Tensor


class PreparedBatch(NamedTuple):
    """A batch as the objective takes it.

    Attributes:
        inputs: In standard units, (B, *in_shape).
        targets: In standard units, or classes.
        y: Targets in original units.
        weights: Of rows, a column for each member of an ensemble, (B, members).
        teacher_outputs: What a teacher says of the rows, as outputs in standard units, (B, out_features).
    """

    inputs: Tensor
    targets: Tensor
    y: Tensor
    weights: Tensor | None = None
    teacher_outputs: Tensor | None = None

    def split(self, rows: int) -> Iterator["PreparedBatch"]:
        """Batches of so many rows."""
        parts = [repeat(None) if part is None else part.split(rows) for part in self]
        return (PreparedBatch(*batch) for batch in zip(*parts, strict=False))

    def repeated(self, members: int) -> "PreparedBatch":
        """The same rows for each member, one after another; of weights each has its own, (members * B,)."""
        targets, y, teacher_outputs = (
            None if part is None else part.repeat(members, *[1] * (part.ndim - 1))
            for part in (self.targets, self.y, self.teacher_outputs)
        )
        assert targets is not None
        assert y is not None
        return PreparedBatch(
            self.inputs, targets, y, None if self.weights is None else self.weights.T.flatten(), teacher_outputs
        )
