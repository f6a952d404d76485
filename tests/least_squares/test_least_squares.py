import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge

from project.least_squares import LeastSquares, LeastSquaresFit
from project.least_squares.student_t import quantile


def fit(x: torch.Tensor, y: torch.Tensor, *, block: int = 10_000) -> LeastSquaresFit:
    metric = LeastSquares(x.shape[1], y.shape[1])
    for start in range(0, len(x), block):
        metric.update(x[start : start + block], y[start : start + block])
    return metric.compute()


def draw(rows: int, features: int, outputs: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-3, 3, features, dtype=torch.float64)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64) * scale + 10
    return x, torch.randn(rows, outputs, generator=generator, dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 60),
    features=st.integers(1, 5),
    outputs=st.integers(1, 3),
    block=st.integers(1, 70),
    seed=st.integers(0, 9),
)
def test_predictions_equal_numpys_least_squares_for_any_shape_and_blocks(rows, features, outputs, block, seed):
    x, y = draw(rows, features, outputs, seed)
    found = fit(x, y, block=block)
    design = np.column_stack([np.ones(rows), (x / x.norm(dim=0)).numpy()])
    expected = design @ np.linalg.lstsq(design, y.numpy(), rcond=1e-13)[0]
    np.testing.assert_allclose(found.predict(x).numpy(), expected, atol=1e-7)
    assert found.mse == pytest.approx(((expected - y.numpy()) ** 2).mean(), abs=1e-9)  # NumPy's own rounding


def test_standard_errors_equal_the_textbook_formula():
    x, y = draw(200, 3, 1, seed=1)
    found = fit(x, y)
    design = np.column_stack([np.ones(200), x.numpy()])
    solution, *_ = np.linalg.lstsq(design, y.numpy(), rcond=None)
    noise = ((y.numpy() - design @ solution) ** 2).sum() / (200 - 4)
    errors = np.sqrt(noise * np.diag(np.linalg.inv(design.T @ design)))
    assert found.residual_std.item() == pytest.approx(noise**0.5)
    np.testing.assert_allclose(found.standard_errors[:, 0].numpy(), errors[1:], rtol=1e-6)
    np.testing.assert_allclose(found.bias_standard_errors.numpy(), errors[:1], rtol=1e-6)


def test_r2_equals_scikit_learns():
    x, y = draw(50, 2, 1, seed=2)
    expected = LinearRegression().fit(x.numpy(), y.numpy()).score(x.numpy(), y.numpy())
    assert fit(x, y).r2.item() == pytest.approx(expected)


def test_collinear_columns_get_the_minimum_norm_solution():
    x, y = draw(100, 1, 1, seed=3)
    x = torch.cat([x, 2 * x, torch.full_like(x, 7.0), torch.randn_like(x)], dim=1)
    found = fit(x, y)
    centred = (x - x.mean(0)).numpy()
    expected = np.linalg.lstsq(centred, (y - y.mean()).numpy(), rcond=1e-12)[0]
    np.testing.assert_allclose(found.weights.numpy(), expected, atol=1e-9)
    assert found.collinear
    assert found.rank == 2
    assert found.standard_errors[:, 0].isnan().tolist() == [True, True, True, False]


def test_a_large_offset_loses_no_digits():
    x, y = draw(500, 2, 1, seed=4)
    near, far = fit(x, y), fit(x + 1e7, y)
    torch.testing.assert_close(far.weights, near.weights, rtol=1e-6, atol=1e-9)


def test_mse_of_other_weights_is_their_mse_on_the_rows():
    x, y = draw(80, 3, 2, seed=5)
    weights, bias = torch.randn(3, 2).double(), torch.randn(2).double()
    expected = (x @ weights + bias - y).square().mean().item()
    assert fit(x, y).mse_of(weights, bias) == pytest.approx(expected)


@pytest.mark.parametrize("alpha", [0.5, 300.0])
def test_ridge_equals_scikit_learns(alpha):
    x, y = draw(60, 4, 2, seed=6)
    expected = Ridge(alpha=alpha, solver="svd").fit(x.numpy(), y.numpy())
    found = fit(x, y).ridge(alpha)
    np.testing.assert_allclose(found.weights.T.numpy(), expected.coef_, rtol=1e-9)
    np.testing.assert_allclose(found.bias.numpy(), expected.intercept_, rtol=1e-9)
    squared = ((expected.predict(x.numpy()) - y.numpy()) ** 2).sum(0)
    np.testing.assert_allclose(found.squared_error.numpy(), squared, rtol=1e-9)
    weights, bias = torch.randn(4, 2).double(), torch.randn(2).double()
    assert found.mse_of(weights, bias) == pytest.approx((x @ weights + bias - y).square().mean().item())


def test_standard_errors_of_ridge_equal_the_textbook_formula():
    x, y = draw(50, 3, 1, seed=7)
    x = x / x.std(0)
    found = fit(x, y).ridge(20.0)
    centred = (x - x.mean(0)).numpy()
    inverse = np.linalg.inv(centred.T @ centred + 20 * np.eye(3))
    freedom = 50 - 1 - np.trace(inverse @ centred.T @ centred)
    assert found.freedom == pytest.approx(freedom)
    noise = found.squared_error.item() / freedom
    expected = np.sqrt(noise * np.diag(inverse @ centred.T @ centred @ inverse))
    np.testing.assert_allclose(found.standard_errors[:, 0].numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("unit", [1.0, 1e5, 1e8, 1e-8])
def test_whether_a_coefficient_is_determined_does_not_depend_on_units(unit):
    x, y = draw(100, 2, 1, seed=9)
    found = fit(torch.cat([x, unit * x[:, :1]], dim=1), y)
    assert found.standard_errors[:, 0].isnan().tolist() == [True, False, True]


@pytest.mark.parametrize("value", [0.0, 0.1, 12345.678])
def test_a_constant_target_has_no_r2(value):
    x, _ = draw(100, 2, 1, seed=10)
    assert fit(x, torch.full((100, 1), value)).r2.isnan()


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.ones(5, 2), torch.ones(10, 1)),
        (torch.ones(10, 2), torch.ones(1, 1)),
        (torch.ones(10, 3), torch.ones(10, 1)),
        (torch.ones(10, 2), torch.ones(10)),
        (torch.full((10, 2), torch.nan), torch.ones(10, 1)),
        (torch.ones(10, 2), torch.full((10, 1), torch.inf)),
    ],
)
def test_rows_of_wrong_shapes_or_with_infinite_values_are_an_error(x, y):
    with pytest.raises(ValueError, match=r"shapes \(rows, 2\) and \(rows, 1\), got|finite"):
        LeastSquares(2, 1).update(x, y)


def test_boolean_columns_are_0_and_1():
    x, y = draw(50, 2, 1, seed=11)
    torch.testing.assert_close(fit(x > 10, y).weights, fit((x > 10).double(), y).weights)


def test_a_negative_penalty_and_an_invalid_level_are_errors():
    x, y = draw(20, 2, 1, seed=12)
    with pytest.raises(ValueError, match="alpha must be 0 or more"):
        fit(x, y).ridge(-1.0)
    with pytest.raises(ValueError, match="level must be above 0 and below 1, got 1.0"):
        fit(x, y).confidence_interval(1.0)


def test_confidence_intervals_are_those_of_students_t():
    x, y = draw(12, 2, 1, seed=8)
    found = fit(x, y)
    (low, high), (bias_low, bias_high) = found.confidence_interval(0.9)
    reach = scipy.stats.t.ppf(0.95, 12 - 3)
    torch.testing.assert_close(high - low, 2 * reach * found.standard_errors)
    torch.testing.assert_close(bias_high - bias_low, 2 * reach * found.bias_standard_errors)


@given(st.floats(0.5, 0.9995), st.floats(0.5, 10) | st.floats(1, 1e7))
def test_quantiles_of_t_equal_scipys(probability, freedom):
    expected = scipy.stats.t.ppf(probability, freedom)
    assert quantile(probability, freedom) == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_no_rows_is_an_error():
    with pytest.raises(ValueError, match="at least one row"):
        LeastSquares(1, 1).compute()
