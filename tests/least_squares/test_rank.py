"""Which columns are independent, and which coefficients the rows determine, compared with NumPy on scaled columns."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from project.least_squares import LeastSquares, LeastSquaresFit

KINDS = ["dummies", "copy", "sum", "difference", "constant", "zero", "interaction", "offset", "free"]


def fit(x: np.ndarray, y: np.ndarray, *, block: int | None = None) -> LeastSquaresFit:
    least_squares = LeastSquares(x.shape[1], y.shape[1])
    for index in range(0, len(x), block or len(x)):
        rows = slice(index, index + (block or len(x)))
        least_squares.update(torch.from_numpy(x[rows]), torch.from_numpy(y[rows]))
    return least_squares.compute()


def design(kinds: list[str], rows: int, seed: int) -> np.ndarray:
    """Columns of which many are combinations of others."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, 2))
    for kind in kinds:
        unit = 10.0 ** random.integers(-6, 7)
        a, b = x[:, random.integers(x.shape[1])], x[:, random.integers(x.shape[1])]
        column = {
            "dummies": np.eye(random.integers(2, 5))[random.integers(0, 2, rows)],
            "copy": unit * a,
            "sum": a + b,
            "difference": unit * (a - 2 * b),
            "constant": np.full(rows, unit),
            "zero": np.zeros(rows),
            "interaction": a * random.integers(0, 2, rows),
            "offset": random.standard_normal(rows) + 1e6,
            "free": unit * random.standard_normal(rows),
        }[kind]
        x = np.column_stack([x, column])
    return x[:, random.permutation(x.shape[1])]


def expected(x: np.ndarray, y: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Rank without the intercept, predictions, and standard errors (NaN if not determined) by a NumPy SVD."""
    columns = np.column_stack([np.ones(len(x)), x])
    lengths = np.linalg.norm(columns, axis=0)
    scale = np.where(lengths > 0, lengths, 1)
    u, singular, vt = np.linalg.svd(columns / scale)
    rank = int((singular > 1e-12 * singular[0]).sum())
    predicted = u[:, :rank] @ (u[:, :rank].T @ y)
    determined = (vt[rank:] ** 2).sum(0) < 1e-14
    variance = ((vt[:rank].T / singular[:rank]) ** 2).sum(1) / scale**2
    freedom = len(x) - rank
    noise = ((y - predicted) ** 2).sum(0) / freedom if freedom else np.full(y.shape[1], np.nan)
    return rank - 1, predicted, np.where(determined, variance, np.nan)[:, None] ** 0.5 * noise**0.5


@settings(max_examples=150, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), max_size=7),
    rows=st.integers(3, 60),
    block=st.integers(1, 60),
    seed=st.integers(0, 10_000),
)
def test_rank_predictions_and_errors_equal_numpys_svd(kinds, rows, block, seed):
    x = design(kinds, rows, seed)
    y = np.random.default_rng(seed + 1).standard_normal((rows, 2))
    rank, predicted, errors = expected(x, y)
    found = fit(x, y, block=block)
    assert found.rank == rank
    rounding = 1e-15 * (np.abs(x) @ np.abs(found.weights.numpy()) + np.abs(found.bias.numpy()))  # of the prediction
    assert (np.abs(found.predict(torch.from_numpy(x)).numpy() - predicted) < 1e-8 + rounding).all()
    ours = torch.cat([found.bias_standard_errors[None], found.standard_errors]).numpy()
    if found.freedom:
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(errors))
        np.testing.assert_allclose(ours, errors, rtol=1e-5)
    else:
        assert np.isnan(ours).all()


@settings(max_examples=50, deadline=None)
@given(kinds=st.lists(st.sampled_from(KINDS), max_size=5), seed=st.integers(0, 10_000))
def test_weights_have_the_minimum_norm_of_numpys_lstsq(kinds, seed):
    x = design([kind for kind in kinds if kind not in ("copy", "difference", "offset", "free", "constant")], 50, seed)
    y = np.random.default_rng(seed).standard_normal((50, 1))
    centred = x - x.mean(0)
    weights = np.linalg.lstsq(centred, y - y.mean(), rcond=1e-12)[0]
    found = fit(x, y)
    np.testing.assert_allclose(found.weights.numpy(), weights, atol=1e-8)
    np.testing.assert_allclose(found.bias.numpy(), (y - x @ weights).mean(0), atol=1e-8)


@pytest.mark.parametrize("levels", [2, 3, 5, 8])
@pytest.mark.parametrize("block", [100, 1_000, 3_000, 20_000])
def test_one_column_per_level_predicts_the_mean_of_each_level(levels, block):
    random = np.random.default_rng(levels)
    level = random.integers(levels, size=20_000)
    x, y = np.eye(levels)[level], (2 * level + random.standard_normal(20_000))[:, None]
    found = fit(x, y, block=block)
    means = [y[level == number].mean() for number in range(levels)]
    np.testing.assert_allclose(found.predict(torch.eye(levels))[:, 0].numpy(), means, rtol=1e-12)
    assert found.rank == levels - 1
    assert found.bias_standard_errors.isnan().all()
    assert found.standard_errors.isnan().all()


@pytest.mark.slow
def test_a_thousand_one_hot_designs_are_solved_as_by_numpy_with_any_blocks_and_threads():
    random, threads = np.random.default_rng(0), torch.get_num_threads()
    wrong = 0
    for number in range(1_000):
        rows = int(np.exp(random.uniform(np.log(5), np.log(8_000))))
        levels = random.integers(2, 9, random.integers(1, 5))
        dummies = [np.eye(count)[random.integers(0, count, rows)] for count in levels]
        x = np.column_stack([*dummies, random.standard_normal((rows, random.integers(0, 3)))])
        y = (x @ random.standard_normal((x.shape[1], 1))) + random.standard_normal((rows, 1))
        torch.set_num_threads(1 + number % 2)
        found = fit(x, y, block=int(random.integers(1 + rows // 10, rows + 1)))
        columns = np.column_stack([np.ones(rows), x])
        singular = np.linalg.svd(columns, compute_uv=False)
        predicted = columns @ np.linalg.lstsq(columns, y, rcond=1e-12)[0]
        is_right = found.rank == (singular > 1e-12 * singular[0]).sum() - 1
        wrong += not (is_right and np.allclose(found.predict(torch.from_numpy(x)).numpy(), predicted, atol=1e-9))
    torch.set_num_threads(threads)
    assert wrong == 0


def test_order_of_rows_block_size_and_threads_change_no_digit_of_collinear_columns():
    x = design(["dummies", "sum", "offset", "interaction"], 5_000, seed=3)
    y = np.random.default_rng(3).standard_normal((5_000, 1))
    order = np.random.default_rng(4).permutation(5_000)
    threads = torch.get_num_threads()
    fits = [fit(x, y, block=1_000)]
    torch.set_num_threads(3 - min(threads, 2))
    fits += [fit(x, y, block=77), fit(x[order], y[order])]
    torch.set_num_threads(threads)
    for other in fits[1:]:
        assert other.rank == fits[0].rank
        torch.testing.assert_close(other.weights, fits[0].weights, rtol=1e-13, atol=0)
        torch.testing.assert_close(other.variance, fits[0].variance, rtol=1e-9, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"a": [0, 1, 0, 1, 1, 0], "b": [1, 0, 1, 0, 0, 1], "c": [3, 1, 4, 1, 5, 9]}, "c"),
        ({"a": [0, 1, 0, 1, 1, 0], "c": [3, 1, 4, 1, 5, 9], "d": [7, 7, 7, 7, 7, 7]}, "ac"),
        ({"a": [0, 1, 0, 1, 1, 0], "c": [3, 1, 4, 1, 5, 9], "z": [0, 0, 0, 0, 0, 0]}, "ac1"),
        ({"a": [0, 1, 0, 1, 1, 0], "c": [3, 1, 4, 1, 5, 9], "e": [6, 2, 8, 2, 10, 18]}, "a1"),
    ],
    ids=["complementary dummies", "constant", "zero", "multiple"],
)
def test_only_determined_coefficients_have_standard_errors(columns, names):
    x = np.array(list(columns.values()), dtype=float).T
    found = fit(x, np.array([[1.0], [2], [2], [5], [4], [0]]))
    errors = dict(
        zip([*columns, "1"], [*found.standard_errors[:, 0].tolist(), found.bias_standard_errors.item()], strict=True)
    )
    assert "".join(sorted(name for name, error in errors.items() if error == error)) == "".join(sorted(names))


def test_nearly_collinear_columns_are_independent():
    a, b = np.random.default_rng(0).standard_normal((2, 100))
    for share in (1e-3, 1e-6, 1e-9, 1e-12):
        x = np.column_stack([a, a + share * b])
        found = fit(x, (3 * x[:, :1] + x[:, 1:]))
        assert found.rank == 2
        np.testing.assert_allclose(found.weights[:, 0].numpy(), [3, 1], rtol=1e-15 / share)
