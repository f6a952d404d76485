"""A comparison as a table, as JSON, and as a figure."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from project.inference.compare import Figures, compare
from project.runtime.console import Table, open_console
from project.runtime.files import atomic_write, check_output

SHOWN = ("test/accuracy", "test/f1", "test/mse", "test/r2", "test/bits_per_byte")
QUALITY = {"accuracy": "upper", "mse": "lower", "bits_per_byte": "lower"}  # on the axis, and where it is best
COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000"]  # Okabe & Ito, colour-blind safe
MARKERS = "osD^vPX"


def compare_and_report(references: Sequence[str], args: Sequence[str], as_json: bool, plot: Path | None) -> None:
    """Print a comparison, as a table or as a JSON list with one object per model, and draw it if `plot` is set."""
    if plot is not None:
        check_output(plot, [".png", ".svg"])
    figures = compare(references, args)
    if as_json:
        print(json.dumps([as_object(model) for model in figures]))
    else:
        print_figures(figures)
    if plot is not None:
        draw(figures, plot)


def print_figures(figures: Sequence[Figures]) -> None:
    """Print a table with one line per model; times are for one thread."""
    shown = [name for name in SHOWN if all(name in model.metrics for model in figures)]
    table, sizes = Table("model"), list(figures[0].milliseconds)
    for column in (*shown, "bytes", *(f"ms, {rows} row{'s' * (rows > 1)}" for rows in sizes), "first answer, s"):
        table.add_column(column, justify="right")
    for model, name in zip(figures, short_names(figures), strict=True):
        metrics = (f"{model.metrics[metric]:#.6g}" for metric in shown)
        times = (f"{model.milliseconds[rows]:.3g}" for rows in sizes)
        table.add_row(name, *metrics, f"{model.bytes:,}", *times, f"{model.cold_start:.2f}")
    open_console().print(table)


def as_object(model: Figures) -> dict[str, object]:
    """Return all figures of a model by name."""
    return {
        "model": model.name,
        **model.metrics,
        "bytes": model.bytes,
        **{f"milliseconds/{rows}": value for rows, value in model.milliseconds.items()},
        "seconds/first_answer": model.cold_start,
    }


def draw(figures: Sequence[Figures], path: Path) -> None:
    """Draw quality against size and against latency, one mark per model."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    metric, best = next(each for each in QUALITY.items() if f"test/{each[0]}" in figures[0].metrics)
    figure = Figure(figsize=(9, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, (model, name) in enumerate(zip(figures, short_names(figures), strict=True)):
        style = {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)], "s": 110}
        style |= {"edgecolors": "white", "linewidths": 1, "zorder": 3}
        quality = model.metrics[f"test/{metric}"]
        left.scatter(model.bytes / 1_000, quality, label=name, **style)
        right.scatter(model.milliseconds[1], quality, **style)
    left.set(xlabel="size of the file, kB", ylabel=f"test {metric}")
    right.set(xlabel="time for one row on one thread, ms")
    figure.suptitle(f"Quality against size and speed; the {best} left corner is best", fontsize="medium")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.margins(0.15)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    if metric in ("accuracy", "f1"):  # otherwise the axis may extend far beyond 1
        left.set_ylim(top=min(left.get_ylim()[1], 1.005))
    figure.legend(loc="outside lower center", ncols=min(3, len(figures)), frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary)


def short_names(figures: Sequence[Figures]) -> list[str]:
    """Return the names without the folder that all of them share."""
    names = [model.name for model in figures]
    folder = os.path.commonpath([os.path.dirname(os.path.normpath(name)) for name in names])  # noqa: PTH120
    return [os.path.relpath(name, folder) if folder else name for name in names]
