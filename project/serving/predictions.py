"""What an artifact says about rows, some of which may lack values."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from project.serving.artifact import Array, Artifact
from project.serving.metadata import Metadata
from project.serving.request_error import RequestError

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Predictions(NamedTuple):
    """Of rows in order.

    Attributes:
        values: Targets, or probabilities of classes (rows, out_features).
        spread: Standard deviation over the members of an ensemble, of each value; None of one net.
        whole: Which rows lack no value (rows,); None if none does.
    """

    values: Array
    spread: Array | None
    whole: Mask | None

    @property
    def known(self) -> Mask:
        """Which rows have a prediction (rows,): those that lack no value, where the model's own are finite."""
        known: Mask = np.logical_and.reduce(np.isfinite(self.values), axis=1)
        if self.spread is not None:
            known &= np.logical_and.reduce(np.isfinite(self.spread), axis=1)
        return known if self.whole is None else np.logical_and(known, self.whole)


def fill(metadata: Metadata, x: Numbers) -> tuple[Array, Mask | None]:
    """Rows in float32, missing values treated as in training, and which of them lacked none (rows,), None of all.

    Args:
        metadata: Of the model.
        x: Rows (rows, *in_shape), or the time steps of one series (steps, channels); NaN where a value is missing.

    Raises:
        RequestError: With row and feature, of a missing value where training took none.
    """
    gaps = np.isnan(x)
    if not gaps.any():
        return x.astype(np.float32), None
    if metadata["missing"] == "mean":
        means = np.array(metadata["feature_means"]).reshape(x.shape[-1:] if metadata["window"] else x.shape[1:])
        return np.where(gaps, means, x).astype(np.float32), None
    flat = gaps.reshape(len(x), -1)
    if metadata["missing"] == "error":
        row, number = np.argwhere(flat)[0].tolist()
        names = metadata["feature_names"]
        raise RequestError(
            422, "no value: the model was trained on rows without gaps", row + 1, names[number % len(names)]
        )
    return np.where(gaps, 0, x).astype(np.float32), np.logical_not(flat.any(axis=1))


def predict(artifact: Artifact, x: Array, whole: Mask | None, options: Any = None) -> Predictions:
    """Predictions for rows (rows, *in_shape) without gaps, of which those that are `whole` (rows,) are wanted."""
    found = artifact.predict(x, options)
    return Predictions(found.get("probabilities", found["outputs"]), found.get("spread"), whole)
