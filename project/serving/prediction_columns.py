"""Predictions as columns of a table."""

import numpy as np
import pyarrow as pa

from project.serving.metadata import Metadata
from project.serving.predictions import Predictions


def prediction_columns(predictions: Predictions, metadata: Metadata) -> dict[str, pa.Array]:
    """Return the columns to append to a table, by name; null where there is no prediction.

    `<target>_predicted` is a target, or the most likely class; for each class, `<target>_probability_<class>` follows.
    `<target>_spread` of an ensemble belongs to the target, or to the probability of the most likely class.
    """
    values, spread, _ = predictions
    missing = np.logical_not(predictions.valid)
    [first, *_], columns = metadata["target_names"], dict[str, pa.Array]()
    if metadata["class_names"] is not None:
        best = values.argmax(axis=1)
        columns[f"{first}_predicted"] = pa.array(metadata["class_names"]).take(pa.array(best, mask=missing))
        names = [f"{first}_probability_{label}" for label in metadata["class_names"]]
        spreads = {} if spread is None else {f"{first}_spread": spread[np.arange(len(best)), best]}
    else:
        names = [f"{target}_predicted" for target in metadata["target_names"]]
        spread_names = [f"{target}_spread" for target in metadata["target_names"]]
        spreads = {} if spread is None else dict(zip(spread_names, spread.T, strict=True))
    numbers = dict(zip(names, values.T, strict=True)) | spreads
    return columns | {name: pa.array(column, mask=missing) for name, column in numbers.items()}
