"""A comparison on screen, as JSON, and as a picture."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from project.lifecycle.compare import LATENCY_ROWS, Figures, compare
from project.whole_file import check_output, whole_file

COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000"]  # Okabe & Ito, for every eye
MARKERS = "osD^vPX"


def compare_and_report(references: Sequence[str], words: Sequence[str], as_json: bool, plot: Path | None) -> None:
    """Print a comparison, as a table or as a JSON list of one object a model, and draw it where a file is given."""
    if plot is not None:
        check_output(plot, [".png", ".svg"])
    figures = compare(references, words)
    if as_json:
        print(json.dumps([as_object(model) for model in figures]))
    else:
        print_figures(figures)
    if plot is not None:
        draw(figures, plot)


def print_figures(figures: Sequence[Figures]) -> None:
    """A table with a model a column; times of one thread."""
    table = Table("")
    for name in short_names(figures):
        table.add_column(escape(name), justify="right", overflow="fold")
    for metric in figures[0].metrics:
        table.add_row(metric, *(f"{model.metrics[metric]:#.6g}" for model in figures))
    table.add_section()
    table.add_row("bytes", *(f"{model.bytes:,}" for model in figures))
    for rows in LATENCY_ROWS:
        label = f"ms for {rows} row{'s' * (rows > 1)}"
        table.add_row(label, *(f"{model.milliseconds[rows]:.3g}" for model in figures))
    table.add_row("seconds to first answer", *(f"{model.cold_start:.2f}" for model in figures))
    Console().print(table)


def as_object(model: Figures) -> dict[str, object]:
    """Everything about a model, by name."""
    times = {f"milliseconds/{rows}": value for rows, value in model.milliseconds.items()}
    return {
        "model": model.name,
        **model.metrics,
        "bytes": model.bytes,
        **times,
        "seconds/first_answer": model.cold_start,
    }


def draw(figures: Sequence[Figures], path: Path) -> None:
    """Quality against size and against latency, a mark a model."""
    from matplotlib.figure import Figure as Picture
    from matplotlib.ticker import FuncFormatter

    metric, better = ("accuracy", "higher") if "test/accuracy" in figures[0].metrics else ("mse", "lower")
    picture = Picture(figsize=(9, 4.2), dpi=150, layout="constrained")
    left, right = picture.subplots(1, 2, sharey=True)
    for number, (model, name) in enumerate(zip(figures, short_names(figures), strict=True)):
        style = {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)], "ls": "", "ms": 10}
        quality = model.metrics[f"test/{metric}"]
        left.plot(model.bytes / 1_000, quality, label=name, **style)
        right.plot(model.milliseconds[1], quality, **style)
    left.set(xlabel="size of the file, kB", ylabel=f"test {metric} ({better} is better)")
    right.set(xlabel="time for one row, one thread, ms")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.margins(0.2)
        axes.grid(True, which="both", color="0.92")
        axes.set_axisbelow(True)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.spines[["top", "right"]].set_visible(False)
    picture.legend(loc="outside lower center", ncols=min(3, len(figures)), frameon=False)
    with whole_file(path) as temporary:
        picture.savefig(temporary)


def short_names(figures: Sequence[Figures]) -> list[str]:
    """Names without the folder that all of them lie in."""
    names = [model.name for model in figures]
    folder = os.path.commonpath([os.path.dirname(os.path.normpath(name)) for name in names])  # noqa: PTH120
    return [os.path.relpath(name, folder) if folder else name for name in names]
