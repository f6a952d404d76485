"""Compare the outputs of two forms of a model on real rows."""

from collections.abc import Callable, Iterator

import numpy as np

from project.runtime.errors import UserError
from project.serving.artifact import Array

PredictFn = Callable[[Array], dict[str, Array]]
BATCHES = (1, 2, 7, 1_024)
# By precision of the weights: the largest difference of two outputs, relative to the largest output.
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}


def require_parity(predict: PredictFn, reference: PredictFn, rows: Array, precision: str, any_length: bool) -> float:
    """Raise a UserError unless two functions agree within the tolerance for the precision of the weights.

    They are compared on the rows (n, *in_shape) in batches of several sizes and, with `any_length`, several numbers of
    time steps. Return the largest difference of two outputs, relative to the largest output.
    """
    largest = 0.0
    for x in batches(rows, any_length):
        largest = np.max([largest, difference(predict(x), reference(x))])  # NaN if one of them is
        check_difference(largest, precision, f"outputs of the file for rows of shape {x.shape}")
    return float(largest)


def check_difference(largest: float, precision: str, what: str) -> None:
    """Raise a UserError if a relative difference is above the tolerance, or NaN; `what` has it."""
    if not largest <= TOLERANCE[precision]:
        raise UserError(
            f"{what} differ from the network's by {largest:.1e} of the largest one, {precision} allows "
            f"{TOLERANCE[precision]:.0e}; no file was written"
        )


def batches(rows: Array, any_length: bool) -> Iterator[Array]:
    """Yield rows (n, *in_shape) in batches of several sizes, and also with other numbers of time steps if possible."""
    for size in BATCHES:
        batch = np.resize(rows[:size], (size, *rows.shape[1:]))
        yield batch
        if any_length:
            yield batch[:, :1]
            yield np.concatenate([batch, batch], axis=1)


def difference(found: dict[str, Array], expected: dict[str, Array]) -> float:
    """Return the largest difference of two outputs, relative to the largest value of that output or of `outputs`.

    The other outputs are computed from `outputs` and cannot be more exact.
    """
    shapes = [{name: values.shape for name, values in outputs.items()} for outputs in (found, expected)]
    if shapes[0] != shapes[1]:
        raise UserError(f"the file's outputs are {shapes[0]}, the network's {shapes[1]}; no file was written")
    least = max(np.abs(expected["outputs"]).max(), np.finfo(np.float32).tiny)
    relative = [np.abs(found[name] - y).max() / max(np.abs(y).max(), least) for name, y in expected.items()]
    return float(np.max(relative))
