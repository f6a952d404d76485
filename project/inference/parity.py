"""Whether two forms of a model answer alike, on real rows."""

from collections.abc import Callable, Iterator

import numpy as np

from project.runtime.errors import UserError
from project.serving.artifact import Array

Answer = Callable[[Array], dict[str, Array]]
BATCHES = (1, 2, 7, 1_024)
# By the precision of weights: the largest difference of two outputs, as part of the largest output.
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}


def require_parity(answer: Answer, expected: Answer, rows: Array, precision: str, lengths: bool) -> float:
    """Compare answers to batches of several sizes, and of sequences of several lengths.

    Args:
        answer: Of the form that is to be checked.
        expected: Of the form that is known to be right.
        rows: Real rows (n, *in_shape); repeated where a batch needs more.
        precision: Of the weights; a key of `TOLERANCE`.
        lengths: Whether rows are sequences of any length.

    Returns:
        The largest difference of two outputs, as part of the largest output.

    Raises:
        UserError: If it is beyond the tolerance.
    """
    worst = 0.0
    for x in batches(rows, lengths):
        worst = np.max([worst, difference(answer(x), expected(x))])  # NaN where one of them is
        if not worst <= TOLERANCE[precision]:
            raise UserError(
                f"the file's answers to rows of shape {x.shape} differ from the network's by {worst:.1e} of the "
                f"largest output, and {precision} allows {TOLERANCE[precision]:.0e}: no file is written"
            )
    return float(worst)


def batches(rows: Array, lengths: bool) -> Iterator[Array]:
    """Rows (n, *in_shape) in batches of several sizes, and with other numbers of time steps where that is possible."""
    for size in BATCHES:
        batch = np.resize(rows[:size], (size, *rows.shape[1:]))
        yield batch
        if lengths:
            yield batch[:, :1]
            yield np.concatenate([batch, batch], axis=1)


def difference(found: dict[str, Array], wanted: dict[str, Array]) -> float:
    """The largest difference of two outputs, as part of the largest one; others are computed from `outputs`, and cannot
    be more exact than they are.
    """
    shapes = [{name: values.shape for name, values in answers.items()} for answers in (found, wanted)]
    if shapes[0] != shapes[1]:
        raise UserError(f"the file answers with {shapes[0]}, and the network with {shapes[1]}: no file is written")
    least = max(np.abs(wanted["outputs"]).max(), np.finfo(np.float32).tiny)
    return float(
        np.max(
            [np.abs(found[name] - values).max() / max(np.abs(values).max(), least) for name, values in wanted.items()]
        )
    )
