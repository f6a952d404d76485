"""How often least squares of one column per level, which is collinear with the intercept, differs from NumPy's."""

import numpy as np
import torch

from project.least_squares import LeastSquares

TOLERANCE = 1e-8


def wrong_one_hot_designs(count: int) -> int:
    """Return how many of so many random designs have another rank or other predictions, with 1 or 2 threads."""
    threads = torch.get_num_threads()
    try:
        return sum(not _is_right(seed) for seed in range(count))
    finally:
        torch.set_num_threads(threads)


def _is_right(seed: int) -> bool:
    random = np.random.default_rng(seed)
    torch.set_num_threads(1 + seed % 2)
    levels, rows = int(random.integers(2, 9)), int(random.integers(10, 5_000))
    numbers = random.standard_normal((rows, random.integers(0, 4))) * 10.0 ** random.integers(-4, 5)
    x = np.column_stack([np.eye(levels)[random.integers(levels, size=rows)], numbers])
    y = x @ random.standard_normal((x.shape[1], 1)) + random.standard_normal((rows, 1))
    block, least_squares = int(random.integers(1 + rows // 5, rows + 1)), LeastSquares(x.shape[1], 1)
    for part in zip(torch.from_numpy(x).split(block), torch.from_numpy(y).split(block), strict=True):
        least_squares.update(*part)
    fit = least_squares.compute()
    columns = np.column_stack([np.ones(rows), x])
    lengths = np.linalg.norm(columns, axis=0)
    design = columns / np.where(lengths > 0, lengths, 1)
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=1e-10)
    difference = np.abs(design @ solution - fit.predict(torch.from_numpy(x)).numpy()).max()
    return fit.rank == rank - 1 and bool(difference <= TOLERANCE * np.abs(y).max())
