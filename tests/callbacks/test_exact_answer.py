import numpy as np
import pytest

from project.callbacks import ExactAnswer, exact_answer
from project.callbacks.exact_answer import coefficient_names
from project.data.sampling import Sampling
from tests.callbacks.fitting import MemoryLogger, fit, small_data, small_mlp


def test_exact_coefficients_are_those_of_numpy_and_the_gap_is_the_excess_of_the_loss():
    data, logger, answer = small_data(), MemoryLogger(), ExactAnswer()
    fit(answer, data=data, lr=0.02, logger=logger)
    x, y = (part.double().numpy() for part in (data.splits.train.x, data.splits.train.y))
    design = np.column_stack([x, np.ones(len(x))])
    exact = np.linalg.lstsq(design, y, rcond=None)[0]
    logged = [logger.metrics[f"equation/{name} exact"][17] for name in ("x1", "x2", "bias")]
    np.testing.assert_allclose(logged, exact[:, 0], rtol=1e-9)
    learned = np.array([[logger.metrics[f"equation/{name}"][17]] for name in ("x1", "x2", "bias")])
    excess = ((design @ learned - y) ** 2).mean() / ((design @ exact - y) ** 2).mean() - 1
    assert excess > 0.01
    assert answer.gap == pytest.approx(excess, rel=1e-6)
    assert logger.metrics["gap/train_mse"][17] == answer.gap


def test_a_net_with_hidden_layers_has_no_equation():
    data, logger, answer = small_data(), MemoryLogger(), ExactAnswer()
    fit(answer, model=small_mlp(data), data=data, logger=logger)
    assert (answer.equation, answer.gap) == (None, None)
    assert not [name for name in logger.metrics if name.startswith(("equation", "gap"))]


def test_names_have_the_target_before_them_only_if_there_are_several():
    assert coefficient_names(small_data()) == ["x1", "x2", "bias"]
    assert coefficient_names(small_data(outputs=2))[2:5] == ["y1/bias", "y2/x1", "y2/x2"]


def test_rows_of_a_bootstrap_sample_have_no_exact_answer():
    data, logger, answer = small_data(), MemoryLogger(), ExactAnswer()
    data.sampling = Sampling(bootstrap=0)
    fit(answer, data=data, lr=0.02, logger=logger)
    assert (answer.exact, answer.gap) == (None, None)
    assert "equation/x1" in logger.metrics
    assert "equation/x1 exact" not in logger.metrics


def test_an_exact_answer_that_takes_too_long_is_left_out_with_a_warning_that_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(exact_answer, "MAX_SECONDS", 1e-9)
    data, logger, answer = small_data(), MemoryLogger(), ExactAnswer()
    expected = (
        "the exact answer is left out: .* 60 rows x 2 features takes more .* --model LinearRegression computes it"
    )
    with pytest.warns(UserWarning, match=expected):
        fit(answer, data=data, lr=0.02, logger=logger)
    assert (answer.exact, answer.gap) == (None, None)
    assert "equation/x1 exact" not in logger.metrics
    assert data.least_squares.rows == 60
