"""Least squares that nobody has asked for has a limit of time and memory."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from project.least_squares import LeastSquares, budget, fit_within


def blocks(count: int, seen: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        seen.append(number)
        yield torch.randn(1_000, 3, generator=generator), torch.randn(1_000, 1, generator=generator)


def test_a_fit_within_the_limit_is_that_of_all_rows():
    least_squares = LeastSquares(3, 1)
    for block in blocks(5, []):
        least_squares.update(*block)
    found = fit_within(math.inf, blocks(5, []), 5_000)
    assert found.rows == 5_000
    assert found.weights.equal(least_squares.compute().weights)


def test_the_time_of_all_rows_is_extrapolated_from_the_first_ones(monkeypatch):
    clock = iter(range(1_000))
    monkeypatch.setattr(budget.time, "monotonic", lambda: next(clock))  # each block takes a second
    seen: list[int] = []
    assert fit_within(50, blocks(100, seen), 100_000) is None
    assert len(seen) < 10


@pytest.mark.parametrize(("rows", "features"), [(10**9, 100), (10**5, 20_000), (3_000, 10**5), (100, 10**6)])
def test_no_row_is_added_if_their_number_already_takes_too_much(monkeypatch, rows, features):
    monkeypatch.setattr(LeastSquares, "update", None)
    assert fit_within(10, [(torch.zeros(1, features), torch.zeros(1, 1))], rows) is None


@pytest.mark.parametrize(("rows", "features"), [(4_000_000, 64), (10**6, 20), (64, 6_829), (10_000, 1_000)])
def test_tables_of_usual_sizes_are_within_ten_seconds(rows, features):
    seconds, memory = budget.cost(rows, features, 1)
    assert seconds < 10
    assert memory < budget.MAX_BYTES
