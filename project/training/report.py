"""The report at the end of training: learned against exact coefficients, test metrics, and the run's folder."""

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightning.pytorch import LightningDataModule, LightningModule
from rich.console import Console

from project.callbacks.exact_answer import ExactAnswer, NamedData, coefficient_names, coefficients, for_file
from project.callbacks.pretrained import Pretrained, WeightChange
from project.callbacks.run_folder import RunFolder
from project.callbacks.text_answer import TextAnswer
from project.data.datamodule import RowsDataModule
from project.data.markov import MarkovDataModule
from project.data.synthetic import SyntheticDataModule
from project.data.text import TextDataModule
from project.least_squares import LeastSquaresFit
from project.models.classification import Classification
from project.models.linear_regression import LinearRegression
from project.models.metrics import RegressionMetrics
from project.models.regression import Equation, Regression
from project.models.threshold import Choice
from project.runtime.console import Table, open_console
from project.text.compressors import MAX_BYTES as MAX_COMPRESSED
from project.text.kneser_ney import MAX_TRAINING_SYMBOLS
from project.training.card import metric_table, write_card
from project.training.constant_prediction import constant_metrics
from project.training.residuals import Intervals

MAX_LINES, MAX_TARGETS = 20, 3
BLOCK_ROWS = 65_536


def report(
    model: LightningModule,
    data: LightningDataModule,
    run_folder: RunFolder,
    exact_answer: ExactAnswer,
    text_answer: TextAnswer,
    pretrained: Pretrained,
    metrics: Mapping[str, float],
    intervals: Intervals | None = None,
    threshold: Choice | None = None,
) -> None:
    """Print the learned equation against the exact one, test metrics, intervals and the folder; write the card."""
    console, exact = open_console(), None
    console.print()
    best = model.equation if isinstance(model, Regression) else None
    if isinstance(model, LinearRegression) and isinstance(data, NamedData):
        print_coefficients(console, data, model)
    elif exact_answer.equation is not None and best is not None and isinstance(data, RowsDataModule):
        print_equation(console, data, exact_answer, for_file(best, data))
        exact = exact_metrics(data, exact_answer.exact) if exact_answer.exact is not None else None
    if pretrained.weight_changes:
        print_weight_changes(console, pretrained.weight_changes)
    if tested := {name: value for name, value in metrics.items() if name.startswith("test/")}:
        others = {"constant prediction": constant_metrics(model, data)}
        others |= {} if exact is None else {"exact least squares": exact}
        print_metrics(console, tested, others)
        if run_folder.path is not None and run_folder.path.is_dir():
            write_card(run_folder.path, model, data, tested, others, intervals)
    else:
        console.print(f"Nothing was tested: {type(model).__name__} has no test_step, or does not log in it.")
    if text_answer.bits_per_byte:
        print_text_answer(console, data, text_answer, metrics)
    if intervals is not None:
        print_intervals(console, intervals)
    if threshold is not None and isinstance(model, Classification) and isinstance(data, NamedData):
        print_threshold(console, f"{data.target_names[0]} {(data.class_names or [])[-1]}", model.threshold, threshold)
    if run_folder.path is not None:
        print_run(console, run_folder.path, run_folder.seconds)


def coefficient_table(data: NamedData, fit: LeastSquaresFit) -> dict[str, list[str] | list[float]]:
    """Return the coefficients by name, with standard errors, t values and 95 % confidence intervals."""
    weight_ends, bias_ends = fit.confidence_interval()
    errors = Equation(fit.standard_errors, fit.bias_standard_errors)
    estimates = Equation(fit.weights, fit.bias)
    return {
        "name": coefficient_names(data),
        "coefficient": coefficients(estimates),
        "standard_error": coefficients(errors),
        "t": coefficients(Equation(*(a / b for a, b in zip(estimates, errors, strict=True)))),
        "lower_95": coefficients(Equation(weight_ends[0], bias_ends[0])),
        "upper_95": coefficients(Equation(weight_ends[1], bias_ends[1])),
    }


def print_coefficients(console: Console, data: NamedData, model: LinearRegression) -> None:
    """Print the coefficients of a closed-form regression with their errors, and the R² of each target."""
    fit = model.fit
    if fit is None:
        return
    method = f"Ridge regression with alpha {model.alpha:g} (errors ignore its bias)" if model.alpha else "Least squares"
    names, *columns = coefficient_table(data, fit).values()
    rows = []
    for name, *numbers in list(zip(names, *columns, strict=True))[:MAX_LINES]:
        value, error, t, low, high = (f"{number:#.5g}" for number in numbers)
        precision = [error, t, f"{low} to {high}"] if error != "nan" else ["undetermined"]
        rows.append([str(name), value, *precision])
    header = ["", "coefficient", "standard error", "t", "95 % confidence interval"]
    console.print(_table(header, rows, f"{method}, in the data's own units"))
    _print_rest(console, len(names), fit)
    for name, r2, std in zip(data.target_names, fit.r2.tolist(), fit.residual_std.tolist(), strict=True):
        console.print(
            f"{name}: R² {r2:.6f}, residual standard deviation {std:#.5g}, {fit.rows} rows, "
            f"{fit.freedom:.6g} degrees of freedom"
        )


def _print_rest(console: Console, lines: int, fit: LeastSquaresFit | None) -> None:
    if lines > MAX_LINES:
        console.print(f"… and {lines - MAX_LINES} more coefficients")
    if fit is not None and fit.collinear:
        console.print(
            f"The {len(fit.weights)} features have rank {fit.rank}: some are constant or combinations of others, "
            "so the exact weights shown are those of minimum norm."
        )


def print_equation(console: Console, data: RowsDataModule, exact_answer: ExactAnswer, best: Equation) -> None:
    """Print each coefficient in the units of the data: true (if known), exact, learned, and of the best checkpoint."""
    columns: dict[str, list[str]] = {"": coefficient_names(data)}
    if isinstance(data, SyntheticDataModule):
        columns["truth"] = _numbers(Equation(data.weight, data.bias))
    if (exact := exact_answer.exact) is not None:
        errors = _numbers(Equation(exact.standard_errors, exact.bias_standard_errors))
        columns["exact least squares"] = [
            f"{value} ± {error}" if error != "nan" else f"{value} (undetermined)"
            for value, error in zip(_numbers(Equation(exact.weights, exact.bias)), errors, strict=True)
        ]
    if exact_answer.equation is not None:
        columns["learned"] = _numbers(exact_answer.equation)
    columns["best checkpoint"] = _numbers(best)
    rows = [*zip(*columns.values(), strict=True)]
    console.print(_table(list(columns), rows[:MAX_LINES], "Learned equation, in the data's own units"))
    if (gap := exact_answer.gap) is not None:
        console.print(f"Training MSE: {gap:.1e} (relative) above the minimum for a linear model.")
    _print_rest(console, len(columns[""]), exact)


def print_weight_changes(console: Console, weight_changes: Mapping[str, WeightChange]) -> None:
    """Print how much of each part of a net was trained, and how much its weights changed."""
    rows = []
    for name, part in weight_changes.items():
        change = "new" if part.change != part.change else f"{part.change:.3g}"
        frozen = f"{part.frozen_change:.3g}" if part.trained < part.parameters else ""
        rows.append([name, f"{part.parameters:,}", f"{part.trained:,}", change if part.trained else "", frozen])
    header = ["part", "parameters", "trained", "largest change", "change, frozen"]
    console.print(_table(header, rows, "Trained from pretrained weights"))


def print_metrics(
    console: Console, metrics: Mapping[str, float], others: Mapping[str, Mapping[str, float]] | None = None
) -> None:
    """Print a table of metrics, with a column for each of the other predictions of the same rows."""
    console.print(_table(*metric_table(metrics, others or {})))


def print_text_answer(
    console: Console, data: LightningDataModule, answer: TextAnswer, metrics: Mapping[str, float]
) -> None:
    """Print a table of the bits per byte of the test split, for the model and for other methods."""
    names = {"kneser_ney": f"n-grams (Kneser-Ney, order {answer.order})", "zstd": "zstd -22", "xz": "xz -9e"}
    if isinstance(data, MarkovDataModule):
        names["source"] = f"the source itself (entropy {data.entropy:#.6g})"
    learned = {"learned": metrics["test/bits_per_byte"]} if "test/bits_per_byte" in metrics else {}
    rows = [[names.get(name, name), f"{bits:#.5g}"] for name, bits in (learned | answer.bits_per_byte).items()]
    console.print(_table(["", "bits per byte"], rows, "Test split, predicted from the training split"))
    if isinstance(data, TextDataModule) and data.split_bytes["train"] > MAX_COMPRESSED:
        seen = f"{MAX_TRAINING_SYMBOLS:,} bytes (n-grams), and the last {MAX_COMPRESSED:,} (compressors)"
        console.print(f"The learned model has seen the whole training split; the others have seen the last {seen}.")


def print_comparison(metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Print a table of the same metrics of several models, one per column."""
    names = [name for name in next(iter(metrics.values())) if name.startswith("test/")]
    rows = [[name, *(f"{values[name]:#.6g}" for values in metrics.values())] for name in names]
    open_console().print(_table(["metric", *metrics], rows))


def print_spread(metrics: Mapping[str, float]) -> None:
    """Print a table of metrics with their standard deviations, which are named `NAME/std`."""
    means = {name: value for name, value in metrics.items() if f"{name}/std" in metrics}
    rows = [[name, f"{mean:#.6g}", f"{metrics[f'{name}/std']:#.3g}"] for name, mean in means.items()]
    open_console().print(_table(["metric", "mean", "standard deviation"], rows))


def print_intervals(console: Console, intervals: Intervals) -> None:
    """Print the width of the intervals, and the share of the test targets within them."""
    console.print(intervals.summary(MAX_TARGETS), highlight=False, soft_wrap=True)


def print_threshold(console: Console, name: str, score: str | float | None, choice: Choice) -> None:
    """Print the chosen threshold, and its score on the validation rows."""
    title = "balanced accuracy" if score == "balanced" else "F1"
    console.print(
        f"Threshold of {name}: {choice.threshold:#.4g}, where {title} of the validation rows is highest: "
        f"{choice.score:#.4g}, and {choice.usual:#.4g} with 0.5.",
        highlight=False,
        soft_wrap=True,
    )


def print_run(console: Console, run: Path, seconds: float) -> None:
    """Print the folder of the run, and the commands to use next."""
    run = Path(os.path.relpath(run))
    lines = {"Run": f"{run}  (fit took {seconds:.1f} s)"}
    if any(run.glob("events.*")):
        lines["TensorBoard"] = f"tensorboard --logdir {shlex.quote(str(run.parent))}"
    lines["Evaluate"] = f"python scripts/evaluate.py {shlex.quote(str(run))}"
    for name, line in lines.items():
        console.print(f"{name + ':':<12} {line}", highlight=False, soft_wrap=True)


def exact_metrics(data: RowsDataModule, fit: LeastSquaresFit) -> dict[str, float]:
    """Return the metrics of exact least squares on the test rows, named like a model's."""
    metrics = RegressionMetrics(data.out_features, sync_on_compute=False)
    change = data.bias_change(fit.weights)
    for x, y in zip(*(part.split(BLOCK_ROWS) for part in (data.splits.test.x, data.splits.test.y)), strict=True):
        metrics.update(fit.predict(data.one_hot(x).flatten(1)) - change, y)
    return {f"test/{name}": value.item() for name, value in metrics.compute().items()}


def _numbers(equation: Equation) -> list[str]:
    return [f"{value:#.5g}" for value in coefficients(equation)]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> Table:
    """Make a table whose first column is left-aligned, and the others right-aligned."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(header):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table
