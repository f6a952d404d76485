"""Figures as a table on screen, as JSON, and as a picture."""

import json
import platform
from collections.abc import Iterable
from pathlib import Path

import torch
from rich.table import Table

from benchmarks.suite import Figure
from project.runtime.console import open_console


def machine() -> str:
    """What the figures were measured on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(figures: Iterable[Figure]) -> Table:
    """One line a figure; times differ from machine to machine, ratios hardly."""
    result = Table(title=machine(), title_justify="left")
    for column, justify in [("what", "left"), ("who", "left"), ("value", "right"), ("ratio", "right"), ("to", "left")]:
        result.add_column(column, justify=justify)  # type: ignore[arg-type]
    before = None
    for figure in figures:
        what = figure.what if figure.what != before else ""
        value = f"{figure.value:,.3g} {figure.unit}" if figure.value < 1e4 else f"{figure.value:,.0f} {figure.unit}"
        result.add_row(what, figure.name, value, f"{figure.ratio:.3g}", figure.to)
        before = figure.what
    return result


def write_json(figures: Iterable[Figure], path: Path) -> None:
    """One object: the machine, and every figure."""
    path.write_text(json.dumps({"machine": machine(), "figures": [f._asdict() for f in figures]}, indent=2) + "\n")


def draw(figures: Iterable[Figure], path: Path) -> None:
    """The contestants of the first epoch as bars of their ratio to the plain loop, on a logarithmic axis."""
    from matplotlib.figure import Figure as Picture

    figures = list(figures)
    shown = sorted((f for f in figures if f.what == figures[0].what), key=lambda f: f.ratio, reverse=True)
    picture = Picture(figsize=(8, 3.2), dpi=120, layout="constrained")
    axes = picture.add_subplot(title=figures[0].what, xscale="log", xlabel="times a plain PyTorch loop over slices")
    colors = ["tab:orange" if f.name == "hello-lightning" else "tab:gray" for f in shown]
    bars = axes.barh([f.name for f in shown], [f.ratio for f in shown], color=colors)
    axes.bar_label(bars, [f"{f.ratio:.3g}" for f in shown], padding=4)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    picture.savefig(path)


def show(figures: Iterable[Figure]) -> list[Figure]:
    """Print a line a figure as it is measured, then the whole table."""
    console, seen = open_console(), []
    for figure in figures:
        console.print(f"[dim]{figure.what}: {figure.name} {figure.ratio:.3g}[/dim]")
        seen.append(figure)
    console.print(table(seen))
    return seen
