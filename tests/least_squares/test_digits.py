"""The last digits, compared with rational arithmetic."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from project.least_squares import LeastSquares, error_free


def rational_solution(x: list[list[float]], y: list[float]) -> list[Fraction]:
    """Intercept and coefficients, by Gaussian elimination on the normal equations."""
    rows = [[Fraction(1), *map(Fraction, row)] for row in x]
    size = len(rows[0])
    equations = [
        [sum(row[i] * row[j] for row in rows) for j in range(size)]
        + [sum(row[i] * Fraction(t) for row, t in zip(rows, y, strict=True))]
        for i in range(size)
    ]
    for i, pivot in enumerate(equations):
        for k, other in enumerate(equations):
            if k != i:
                factor = other[i] / pivot[i]
                equations[k] = [a - factor * b for a, b in zip(other, pivot, strict=True)]
    return [row[-1] / row[i] for i, row in enumerate(equations)]


@pytest.mark.parametrize("noise", [0, 1])
@pytest.mark.parametrize(
    ("points", "degree"),
    [
        (torch.arange(21.0), 5),
        (torch.arange(21.0), 10),
        (torch.linspace(-8.8, -3.1, 82), 10),
        (torch.linspace(0, 1, 100), 10),
    ],
    ids=["0 to 20", "0 to 20, tenth degree", "-8.8 to -3.1", "0 to 1"],
)
def test_polynomial_fits_equal_rational_arithmetic(points, degree, noise):
    x = torch.stack([points.double() ** power for power in range(1, degree + 1)], dim=1)
    y = 1 + x.sum(1) + noise * x.sum(1).std() * torch.randn(len(x), generator=torch.Generator().manual_seed(0)).double()
    metric = LeastSquares(degree, 1)
    metric.update(x, y[:, None])
    fit = metric.compute()
    expected = rational_solution(x.tolist(), y.tolist())
    found = [fit.bias.item(), *fit.weights[:, 0].tolist()]
    assert found == pytest.approx([float(number) for number in expected], rel=1e-15)


magnitudes = st.floats(1e-60, 1e6)
numbers = st.just(0.0) | magnitudes | magnitudes.map(lambda number: -number)


@settings(deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30))
def test_products_of_columns_have_no_rounding_error(rows):
    parts = error_free.gram(torch.tensor(rows, dtype=torch.float64), torch.zeros(3, 2, 2).double())
    for i in range(2):
        for j in range(2):
            exact = sum(Fraction(row[i]) * Fraction(row[j]) for row in rows)
            found = sum(map(Fraction, parts[:, i, j].tolist()))
            largest = max(abs(row[i] * row[j]) for row in rows) or 1
            assert abs(found - exact) <= Fraction(largest) * Fraction(2) ** -120


@settings(deadline=None)
@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=9))
def test_a_product_with_a_vector_is_rounded_once(rows):
    matrix = torch.tensor([row[:2] for row in rows], dtype=torch.float64)
    vector = torch.tensor(rows[0][1:], dtype=torch.float64)
    high, _ = error_free.matmul(matrix[None], vector)
    for found, row in zip(high.tolist(), matrix.tolist(), strict=True):
        assert found == float(sum(Fraction(a) * Fraction(b) for a, b in zip(row, vector.tolist(), strict=True)))


def test_compressed_blocks_lose_no_digits():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40_000, 6, generator=generator) * torch.logspace(-1, 3, 6) + 20
    y = torch.randn(40_000, 2, generator=generator)
    compressed, exact = LeastSquares(6, 2), LeastSquares(6, 2)
    compressed.update(x, y)
    assert not compressed.products.any(), "every block was compressed"
    for start in range(0, len(x), 6):  # too few rows to be compressed
        exact.update(x[start : start + 6], y[start : start + 6])
    assert not exact.compressed.any()
    fast, slow = compressed.compute(), exact.compute()
    torch.testing.assert_close(fast.weights, slow.weights, rtol=1e-10, atol=0)
    assert fast.mse == pytest.approx(slow.mse, rel=1e-13)


def test_the_order_of_rows_changes_no_digit():
    x = torch.arange(40.0)[:, None] ** torch.arange(1, 7)
    y = x.sum(1, keepdim=True) + torch.arange(40.0)[:, None].sin()
    fits = []
    for order in (torch.arange(40), torch.randperm(40, generator=torch.Generator().manual_seed(1))):
        metric = LeastSquares(6, 1)
        for index in order.split(7):
            metric.update(x[index], y[index])
        fits.append(metric.compute())
    torch.testing.assert_close(fits[0].weights, fits[1].weights, rtol=4e-16, atol=0)
