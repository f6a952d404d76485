"""Log the learned weights of a linear model together with the exact least squares solution."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from project.data.datamodule import RowsDataModule
from project.data.plain import PlainDataModule
from project.least_squares import LeastSquaresFit
from project.models.linear_regression import LinearRegression
from project.models.regression import Equation, Regression

NamedData = RowsDataModule | PlainDataModule  # with names for inputs and targets
MAX_CURVES = 20
MAX_SECONDS = 10


class ExactAnswer(Callback):
    """After each epoch of a linear model, log each weight and bias, its exact value, and the gap in training MSE.

    Logs `equation/NAME` and `equation/NAME exact` in original units, for the first 20 coefficients, and
    `gap/train_mse`: the training MSE of the current weights divided by the minimum of any linear model, minus 1. The
    gap is left out if the minimum is no larger than the rounding error of float32. The attributes `equation` and `gap`
    keep the values of the last epoch, and `exact` the exact solution. The exact solution is left out, with a warning,
    if it would take longer than 10 seconds or more than 1 GiB of memory.
    """

    def __init__(self) -> None:
        self.equation: Equation | None = None
        self.gap: float | None = None
        self.exact: LeastSquaresFit | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the exact solution without bootstrap samples; until training starts, a signal ends the process."""
        data: Any = getattr(trainer, "datamodule", None)
        if not isinstance(pl_module, Regression) or not isinstance(data, RowsDataModule):
            return
        if pl_module.equation is None or data.sampling.bootstrap is not None:
            return
        if isinstance(pl_module, LinearRegression):
            self.exact = data.least_squares
        elif trainer.is_global_zero:
            self.exact = data.least_squares_within(MAX_SECONDS)
            if self.exact is None:
                size = f"{len(data.splits.train):,} rows x {len(data.input_names):,} features"
                problem = f"least squares of {size} takes more than {MAX_SECONDS} s or 1 GiB"
                rank_zero_warn(f"the exact answer is left out: {problem}; --model LinearRegression computes it")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the curves."""
        if not isinstance(pl_module, Regression) or not trainer.is_global_zero or pl_module.equation is None:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, RowsDataModule):
            return
        self.equation = for_file(pl_module.equation, data)
        names = coefficient_names(data)[:MAX_CURVES]
        curves = {f"equation/{name}": value for name, value in zip(names, coefficients(self.equation), strict=False)}
        if (exact := self.exact) is not None:
            pairs = zip(names, coefficients(Equation(exact.weights, exact.bias)), strict=False)
            curves |= {f"equation/{name} exact": value for name, value in pairs}
            if exact.mse > (4 * torch.finfo(torch.float32).eps) ** 2 * _mean_square_target(data):
                self.gap = exact.mse_of(*self.equation) / exact.mse - 1
                curves["gap/train_mse"] = self.gap
        for logger in trainer.loggers:  # at the step at which Lightning logs the metrics of this epoch
            logger.log_metrics(curves, step=trainer.global_step - 1)


def for_file(equation: Equation, data: RowsDataModule) -> Equation:
    """Return the equation of the numbers in the file, from which `data` may have subtracted offsets."""
    return Equation(equation.weights, equation.bias + data.bias_change(equation.weights))


def _mean_square_target(data: RowsDataModule) -> float:
    """Return the mean squared target, to which the rounding error of a training MSE is relative."""
    statistics = data.target_statistics
    return 0.0 if statistics is None else (statistics.mean.square() + statistics.std.square()).mean().item()


def coefficient_names(data: NamedData) -> list[str]:
    """Return one name per coefficient: the features and `bias`, prefixed by the target if there are several targets."""
    names = [*data.input_names, "(bias)" if "bias" in data.input_names else "bias"]
    targets = data.target_names
    return names if len(targets) == 1 else [f"{target}/{name}" for target in targets for name in names]


def coefficients(equation: Equation) -> list[float]:
    """Return weights and bias target by target, in the order of `coefficient_names`."""
    return torch.cat([equation.weights, equation.bias[None]]).T.flatten().tolist()
