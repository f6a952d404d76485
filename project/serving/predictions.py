"""Predictions for rows, some of which may have missing values."""

from typing import NamedTuple

import numpy as np

from project.serving.artifact import Array
from project.serving.inputs import Mask


class Predictions(NamedTuple):
    """Predictions for rows, in order.

    Attributes:
        values: Targets, or probabilities of classes (rows, out_features).
        spread: Standard deviation of each value over the members of an ensemble; None for a single network.
        complete: Which rows have no missing value (rows,); None if all do.
    """

    values: Array
    spread: Array | None
    complete: Mask | None

    @classmethod
    def from_outputs(cls, outputs: dict[str, Array], complete: Mask | None) -> "Predictions":
        """Pick the predictions from a model's outputs by name."""
        return cls(outputs.get("probabilities", outputs["outputs"]), outputs.get("spread"), complete)

    @property
    def valid(self) -> Mask:
        """Which rows have a prediction (rows,): complete ones for which the model computes finite numbers."""
        valid: Mask = np.logical_and.reduce(np.isfinite(self.values), axis=1)
        if self.spread is not None:
            valid &= np.logical_and.reduce(np.isfinite(self.spread), axis=1)
        return valid if self.complete is None else np.logical_and(valid, self.complete)
