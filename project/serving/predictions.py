"""Predictions for rows, some of which may have missing values."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from project.runtime.decision import decide
from project.serving.artifact import Array, Artifact
from project.serving.inputs import Mask, Numbers
from project.serving.metadata import Metadata

OUTPUT_MEMORY, NUMBER_MEMORY = 100, 8  # measured bytes of memory for a prediction as text, and as a number


def output_memory(artifact: Artifact) -> int:
    """Return an upper limit on the memory that the answer for one row takes."""
    names, outputs = artifact.metadata["class_names"] or artifact.metadata["target_names"], artifact.outputs
    text = sum(OUTPUT_MEMORY + 4 * len(json.dumps(name)) for name in names)  # four texts hold the name at the same time
    return len(outputs) * NUMBER_MEMORY * len(names) + (2 if "spread" in outputs else 1) * text


def with_offsets(outputs: dict[str, Array], metadata: Metadata) -> Array | Numbers:
    """Return probabilities, or predicted targets; with the offsets that training subtracted added, in float64."""
    values, offsets = outputs.get("probabilities", outputs["outputs"]), metadata.get("target_offsets")
    return values if offsets is None else values + np.array(offsets)


class Predictions(NamedTuple):
    """Predictions for rows, in order.

    Attributes:
        values: Targets, or probabilities of classes (rows, out_features).
        spread: Standard deviation of each value over the members of an ensemble; None for a single network.
        complete: Which rows have no missing value (rows,); None if all do.
    """

    values: Array | Numbers
    spread: Array | None
    complete: Mask | None

    @classmethod
    def from_outputs(cls, outputs: dict[str, Array], complete: Mask | None, metadata: Metadata) -> "Predictions":
        """Pick the predictions from a model's outputs by name."""
        return cls(with_offsets(outputs, metadata), outputs.get("spread"), complete)

    @property
    def valid(self) -> Mask:
        """Which rows have a prediction (rows,): complete ones for which the model computes finite numbers."""
        valid: Mask = np.logical_and.reduce(np.isfinite(self.values), axis=1)
        if self.spread is not None:
            valid &= np.logical_and.reduce(np.isfinite(self.spread), axis=1)
        return valid if self.complete is None else np.logical_and(valid, self.complete)

    def columns(self, metadata: Metadata, half_widths: Sequence[float] = ()) -> dict[str, Any]:
        """Return the columns to append to a pyarrow table, by name; null where there is no prediction.

        `<target>_predicted` is a target, or the class that is decided for; for each class,
        `<target>_probability_<class>` follows. `<target>_spread` of an ensemble belongs to the target, or to the
        probability of that class.
        With half the width of an interval for each target, `<target>_lower` and `<target>_upper` are its ends.
        """
        import pyarrow as pa  # a server that answers only JSON does not need it

        missing = np.logical_not(self.valid)
        targets, classes, columns = metadata["target_names"], metadata["class_names"], dict[str, Any]()
        names, spread = [f"{target}_predicted" for target in targets], self.spread
        if classes is not None:
            best = decide(self.values, metadata.get("threshold"))
            columns[names[0]] = pa.array(classes).take(pa.array(best, mask=missing))
            names = [f"{targets[0]}_probability_{label}" for label in classes]
            spread = None if spread is None else spread[np.arange(len(best)), best][:, None]
        numbers = dict(zip(names, self.values.T, strict=True))
        if spread is not None:
            numbers |= {f"{target}_spread": column for target, column in zip(targets, spread.T, strict=True)}
        for target, values, width in zip(targets, self.values.T, half_widths, strict=False):
            numbers |= {f"{target}_lower": values - width, f"{target}_upper": values + width}
        return columns | {name: pa.array(column, mask=missing) for name, column in numbers.items()}
