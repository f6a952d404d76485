"""More columns than rows: the weights of minimum norm, and the solution by columns, which the other tests check."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge

from project.least_squares import LeastSquares, LeastSquaresFit, accumulator


def fit(x: torch.Tensor, y: torch.Tensor) -> LeastSquaresFit:
    least_squares = LeastSquares(x.shape[1], y.shape[1])
    for part in zip(x.split(7), y.split(7), strict=True):
        least_squares.update(*part)
    return least_squares.compute()


def by_columns(x: torch.Tensor, y: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> LeastSquaresFit:
    with monkeypatch.context() as patch:
        patch.setattr(accumulator, "MAX_SQUARE_COLUMNS", x.shape[1])
        return fit(x, y)


def draw(rows: int, features: int, outputs: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, features, generator=generator).double() * torch.logspace(-2, 2, features) + 5
    return x, torch.randn(rows, outputs, generator=generator).double()


def test_weights_are_those_of_scikit_learn_and_fit_every_row():
    x, y = draw(40, 3_000)
    peer = LinearRegression().fit(x.numpy(), y.numpy())
    found = fit(x, y)
    np.testing.assert_allclose(found.weights.T.numpy(), peer.coef_, rtol=1e-7, atol=1e-13)
    np.testing.assert_allclose(found.bias.numpy(), peer.intercept_, rtol=1e-7)
    torch.testing.assert_close(found.predict(x), y, rtol=0, atol=1e-10)
    assert (found.rank, found.freedom, found.mse) == (39, 0, pytest.approx(0, abs=1e-20))
    assert found.standard_errors.isnan().all()


def test_repeated_rows_leave_degrees_of_freedom(monkeypatch):
    monkeypatch.setattr(accumulator, "MAX_SQUARE_COLUMNS", 10)
    x, y = draw(12, 80)
    x = torch.cat([x, x[:5], x[:3]])
    x[:, 0] = torch.arange(len(x)) // 2 % 2  # another column is determined by two pairs of equal rows
    x[:, 1:] = x[:, 1:].where(torch.rand(79, generator=torch.Generator().manual_seed(1)) < 0.1, 0.0)
    y = torch.cat([y, y[:5] + 1, y[:3] - 2])
    found, expected = fit(x, y), by_columns(x, y, monkeypatch)
    assert found.rank == expected.rank
    assert found.freedom == expected.freedom > 0
    torch.testing.assert_close(found.weights, expected.weights, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.bias, expected.bias, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.variance, expected.variance, rtol=1e-6, atol=0, equal_nan=True)
    torch.testing.assert_close(found.squared_error, expected.squared_error)
    torch.testing.assert_close(found.r2, expected.r2)


def test_ridge_is_that_of_scikit_learn_and_that_by_columns(monkeypatch):
    x, y = draw(40, 600)
    alpha = torch.linspace(1, 9, 600).double()
    found, expected = fit(x, y).ridge(alpha), by_columns(x, y, monkeypatch).ridge(alpha)
    for name in ("weights", "bias", "variance", "squared_error", "residual_std"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-8, atol=1e-14)
    assert found.freedom == pytest.approx(expected.freedom)
    peer = Ridge(alpha=3.0).fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(fit(x, y).ridge(3.0).weights.T.numpy(), peer.coef_, rtol=1e-7, atol=1e-12)


def test_a_penalty_on_some_of_the_columns_equals_numpys_least_squares_with_more_rows():
    x, y = draw(30, 600)
    alpha = torch.linspace(1, 9, 600).double()
    alpha[::100] = 0
    found = fit(x, y).ridge(alpha)
    centred = torch.cat([x - x.mean(0), alpha.sqrt().diag()]).numpy()
    expected = np.linalg.lstsq(centred, torch.cat([y - y.mean(0), torch.zeros(600, 2)]).numpy(), rcond=1e-14)[0]
    np.testing.assert_allclose(found.weights.numpy(), expected, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found.bias.numpy(), (y - x @ torch.from_numpy(expected)).mean(0).numpy(), rtol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_mse_of_other_weights_is_their_mse_on_the_rows(alpha):
    x, y = draw(30, 700)
    weights, bias = torch.randn(700, 2).double(), torch.randn(2).double()
    found = fit(x, y)
    found = found.ridge(alpha) if alpha else found
    assert found.mse_of(weights, bias) == pytest.approx((x @ weights + bias - y).square().mean().item())


def test_as_many_rows_as_columns_are_solved_by_columns(monkeypatch):
    monkeypatch.setattr(accumulator, "MAX_SQUARE_COLUMNS", 10)
    x, y = draw(25, 20)
    found, expected = fit(x, y), by_columns(x, y, monkeypatch)
    torch.testing.assert_close(found.weights, expected.weights, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.variance, expected.variance)
