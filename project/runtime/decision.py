"""Which class a model decides for."""

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Probabilities = TypeVar("Probabilities", Tensor, np.ndarray[Any, Any])


def decide(probabilities: "Probabilities", threshold: float | None) -> "Probabilities":
    """Return the class number of each row, (rows,), for probabilities (rows, classes), of NumPy or torch.

    It is the most likely class; with a threshold, the second of two classes if its probability is at least as high.
    """
    return probabilities.argmax(1) if threshold is None else (probabilities[:, 1] >= threshold) * 1
