"""The decision for a class, from the probabilities of the classes."""

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Probabilities = TypeVar("Probabilities", Tensor, np.ndarray[Any, Any])


def decide(probabilities: "Probabilities", threshold: float | None) -> "Probabilities":
    """Return the class index of each row, (rows,), for probabilities (rows, classes) of NumPy or torch.

    It is that of the most likely class. With a threshold, it is 1 if the probability of the second of two classes is at
    least the threshold, otherwise 0.
    """
    return probabilities.argmax(1) if threshold is None else (probabilities[:, 1] >= threshold) * 1
