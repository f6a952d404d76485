"""Weights of rows: whole numbers of them are rows that occur several times, and others are in proportion."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge

from project.least_squares import LeastSquares


def fit(x, y, weights=None, alpha=0.0):
    least_squares = LeastSquares(x.shape[1], y.shape[1])
    least_squares.update(x, y, weights)
    return least_squares.compute().ridge(alpha) if alpha else least_squares.compute()


def draw(rows, features, repeated=0):
    """Rows of which the last ones have the inputs of the first, and weights of 0 to 3."""
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, features, generator=generator).double() * torch.logspace(-2, 2, features) + 5
    x[len(x) - repeated :] = x[:repeated]
    y = torch.randn(rows, 2, generator=generator).double()
    return x, y, torch.randint(4, (rows,), generator=generator)


@pytest.mark.parametrize("alpha", [0.0, 0.7])
@pytest.mark.parametrize(
    ("rows", "features", "repeated"),
    [(60, 3, 0), (3_000, 3, 0), (40, 600, 15)],
    ids=["summed exactly", "summed in float64", "more columns than rows"],
)
def test_a_weight_is_the_number_of_times_that_a_row_occurs(rows, features, repeated, alpha):
    x, y, weights = draw(rows, features, repeated)
    found = fit(x, y, weights.float(), alpha)
    expected = fit(*(part.repeat_interleave(weights, dim=0) for part in (x, y)), alpha=alpha)
    for name in ("weights", "bias", "squared_error", "target_spread", "r2"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.variance, expected.variance, rtol=1e-9, atol=1e-9, equal_nan=True)
    assert (found.rank, found.total_weight) == (expected.rank, expected.rows)
    assert found.rows == (weights > 0).sum()
    moved = found.weights * 1.01, found.bias + 0.1
    assert found.mse_of(*moved) == pytest.approx(expected.mse_of(*moved), rel=1e-9)


@pytest.mark.parametrize("rows", [60, 3_000])
def test_the_coefficients_are_those_of_scikit_learn_and_no_unit_of_the_weights_changes_their_errors(rows):
    x, y, _ = draw(rows, 3)
    weights = torch.rand(rows, generator=torch.Generator().manual_seed(1)).double()
    found, scaled = fit(x, y, weights), fit(x, y, 1e-7 * weights)
    peer = LinearRegression().fit(x.numpy(), y.numpy(), sample_weight=weights.numpy())
    np.testing.assert_allclose(found.weights.T.numpy(), peer.coef_, rtol=1e-10)
    ridge = Ridge(alpha=2).fit(x.numpy(), y.numpy(), sample_weight=weights.numpy())
    np.testing.assert_allclose(found.ridge(2).weights.T.numpy(), ridge.coef_, rtol=1e-9)
    torch.testing.assert_close(scaled.standard_errors, found.standard_errors, rtol=1e-12, atol=0)
    # Theil, "Principles of Econometrics" (1971), section 6.2.
    design = np.column_stack([np.ones(rows), x]) * weights.sqrt().numpy()[:, None]
    inverse = np.linalg.inv(design.T @ design).diagonal()
    residuals = (y - found.predict(x)).numpy()
    noise = (weights.numpy()[:, None] * residuals**2).sum(0) / (rows - 4)
    np.testing.assert_allclose(found.standard_errors.numpy(), np.sqrt(np.outer(inverse[1:], noise)), rtol=1e-9)


def test_digits_survive_weights_where_columns_are_nearly_the_same():
    x = torch.linspace(1, 2, 60).double()[:, None] ** torch.arange(1, 9)
    y = x.sum(1, keepdim=True)
    weights = torch.rand(60, generator=torch.Generator().manual_seed(2))
    # The columns round, so that the target is no combination of them exactly: at most by their rounding errors.
    torch.testing.assert_close(fit(x, y, weights).weights, torch.ones(8, 1).double(), rtol=2e-6, atol=0)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_below_0_or_not_finite_is_an_error(weight):
    x, y, _ = draw(20, 3)
    with pytest.raises(ValueError, match="weights of 0 or more"):
        fit(x, y, torch.full((20,), weight))


def test_a_block_of_rows_with_weight_0_changes_nothing():
    x, y, _ = draw(20, 2)
    least_squares = LeastSquares(2, 2)
    least_squares.update(x[:5], y[:5], torch.zeros(5, 1))
    least_squares.update(x, y)
    found, expected = least_squares.compute(), fit(x, y)
    assert (found.rows, found.rank) == (20, expected.rank)
    assert found.weights.equal(expected.weights)
