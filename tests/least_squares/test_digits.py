"""The last digits, compared with rational arithmetic."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from project.least_squares import LeastSquares, accumulator, error_free


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
    parts = error_free.zeros(2, 2)
    error_free.add_gram(parts, torch.tensor(rows, dtype=torch.float64))
    for i in range(2):
        for j in range(2):
            exact = sum(Fraction(row[i]) * Fraction(row[j]) for row in rows)
            found = sum(map(Fraction, parts[:, i, j].tolist()))
            largest = Fraction(max(abs(row[i]) for row in rows)) * Fraction(max(abs(row[j]) for row in rows))
            assert abs(found - exact) <= largest * Fraction(2) ** -120


@settings(deadline=None)
@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=9))
def test_products_of_matrices_have_no_rounding_error(rows):
    left, right = (torch.tensor(rows, dtype=torch.float64)[:, columns] for columns in (slice(2), slice(1, 3)))
    for multiply in (lambda: error_free.matmul(left.T[None], right[None]), lambda: by_elements(left, right)):
        found = multiply()
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            products = [
                Fraction(a) * Fraction(b) for a, b in zip(left[:, i].tolist(), right[:, j].tolist(), strict=True)
            ]
            largest = Fraction(left[:, i].abs().max().item()) * Fraction(right[:, j].abs().max().item())
            assert abs(sum(map(Fraction, found[:, i, j].tolist())) - sum(products)) <= largest * Fraction(2) ** -120


def by_elements(left, right):
    """The same product, row by row."""
    result = error_free.zeros(2, 2)
    for a, b in zip(left, right, strict=True):
        result = error_free.add(result, *error_free.multiply(a[None, :, None], b[None, None]))
    return result


@given(st.tuples(magnitudes, numbers, numbers))
def test_a_reciprocal_is_right_to_159_bits(number):
    parts = error_free.add(error_free.zeros(1), *(torch.tensor([value], dtype=torch.float64) for value in number))[:, 0]
    if parts.any():
        exact = 1 / sum(map(Fraction, parts.tolist()))
        found = sum(map(Fraction, error_free.reciprocal(parts).tolist()))
        assert abs(found - exact) <= abs(exact) * Fraction(2) ** -150


def test_large_blocks_are_summed_in_float64_and_lose_no_digits(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40_000, 6, generator=generator).double() * torch.logspace(-1, 3, 6) + 1e6
    y = torch.randn(40_000, 2, generator=generator)
    fast, exact = LeastSquares(6, 2), LeastSquares(6, 2)
    with monkeypatch.context() as patch:
        patch.setattr(accumulator, "_add_exactly", None)
        fast.update(x, y)
    monkeypatch.setattr(accumulator, "_add_fast", lambda *_: None)
    exact.update(x, y)
    torch.testing.assert_close(fast.compute().weights, exact.compute().weights, rtol=1e-10, atol=0)
    assert fast.compute().mse == pytest.approx(exact.compute().mse, rel=1e-13)


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
