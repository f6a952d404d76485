"""Measurements as a table on the terminal, as JSON, and as a figure."""

import json
import platform
import re
from collections.abc import Iterable
from pathlib import Path

import torch

from benchmarks.suite import OURS, Measurement
from project.runtime.console import Table, open_console


def machine() -> str:
    """Describe the machine that runs the benchmark."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    name = found[1] if found else platform.processor() or platform.machine()
    card = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{card}{name}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def table(measurements: Iterable[Measurement]) -> Table:
    """Build a table with one row per measurement; ratios depend far less on the machine than times do."""
    result = Table(title=machine(), title_justify="left")
    for column, justify in [("what", "left"), ("who", "left"), ("value", "right"), ("ratio", "right"), ("to", "left")]:
        result.add_column(column, justify=justify)  # type: ignore[arg-type]
    before = None
    for measurement in measurements:
        what = measurement.what if measurement.what != before else ""
        value = f"{measurement.value:{',.3g' if measurement.value < 1e4 else ',.0f'}} {measurement.unit}"
        result.add_row(what, measurement.name, value, f"{measurement.ratio:.3g}", measurement.to)
        before = measurement.what
    return result


def write_json(measurements: Iterable[Measurement], path: Path) -> None:
    """Write one JSON object: the machine, and every measurement."""
    path.write_text(json.dumps({"machine": machine(), "figures": [m._asdict() for m in measurements]}, indent=2) + "\n")


def draw(measurements: Iterable[Measurement], path: Path) -> None:
    """Draw the first comparison as bars: each contestant's ratio to the plain loop, on a logarithmic axis."""
    from matplotlib.figure import Figure

    measurements = list(measurements)
    shown = sorted((m for m in measurements if m.what == measurements[0].what), key=lambda m: m.ratio, reverse=True)
    figure = Figure(figsize=(8, 3.2), dpi=120, layout="constrained")
    axes = figure.add_subplot(
        title=measurements[0].what, xscale="log", xlabel="time relative to a plain PyTorch loop over slices"
    )
    colors = ["tab:orange" if m.name == OURS else "tab:gray" for m in shown]
    bars = axes.barh([m.name for m in shown], [m.ratio for m in shown], color=colors)
    axes.bar_label(bars, [f"{m.ratio:.3g}" for m in shown], padding=4)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def show(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Print a line for each measurement as soon as it is taken, then the whole table; return the measurements."""
    console, seen = open_console(), []
    for measurement in measurements:
        console.print(f"{measurement.what}: {measurement.name} {measurement.ratio:.3g}", style="dim")
        seen.append(measurement)
    console.print(table(seen))
    return seen
