"""Predictions as columns of a table."""

import numpy as np
import pyarrow as pa

from project.serving.metadata import Metadata
from project.serving.predictions import Predictions


def prediction_columns(predictions: Predictions, metadata: Metadata) -> dict[str, pa.Array]:
    """What a table's rows get beside their own columns, by name; empty where there is no prediction.

    `<target>_predicted` is a target, or the likeliest class; for each class, `<target>_probability_<class>` follows. An
    ensemble's `<target>_spread` is that of a target, or of the likeliest class's probability.
    """
    values, spread, _ = predictions
    known = predictions.known
    [first, *_], columns = metadata["target_names"], dict[str, pa.Array]()
    if metadata["class_names"] is not None:
        best = values.argmax(axis=1)
        columns[f"{first}_predicted"] = pa.array(metadata["class_names"]).take(pa.array(best, mask=~known))
        names = [f"{first}_probability_{label}" for label in metadata["class_names"]]
        spreads = {f"{first}_spread": None if spread is None else spread[np.arange(len(best)), best]}
    else:
        names = [f"{target}_predicted" for target in metadata["target_names"]]
        spreads = {
            f"{target}_spread": None if spread is None else spread[:, at]
            for at, target in enumerate(metadata["target_names"])
        }
    numbers = dict(zip(names, values.T, strict=True)) | spreads
    return columns | {name: pa.array(column, mask=~known) for name, column in numbers.items() if column is not None}
