"""The figures of a report, drawn by matplotlib as SVG whose colours follow the page's light or dark theme."""

import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from project.pipeline.report.style import THEME, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (4.6, 3.3)  # inches
# Colours that are replaced in the SVG by the variables of the page's style sheet, which matplotlib cannot use.
STAND_INS = {name: f"#0123{number:02x}" for number, name in enumerate(THEME)}


class Point(NamedTuple):
    """A model in a figure: the number of its stage as a label, its cost x, its quality y, and the interval of y."""

    label: str
    x: float
    y: float
    low: float
    high: float


def trade_off(points: Sequence[Point], x_title: str, y_title: str, rises: bool) -> str:
    """Draw quality (which is better if it rises) against cost on a logarithmic scale, with the Pareto front."""
    figure, axes = _axes(x_title, y_title)
    front = pareto_front(points, rises)
    axes.step(
        *zip(*((point.x, point.y) for point in front), strict=True), where="post", linestyle="--", color=_color("soft")
    )
    for point in points:
        axes.plot([point.x, point.x], [point.low, point.high], color=_color("soft"), lw=1)
        axes.scatter(point.x, point.y, s=190, color=_color(series(int(point.label))), zorder=3)
        axes.text(point.x, point.y, point.label, color=_color("on"), ha="center", va="center_baseline", weight="bold")
    axes.set_xscale("log")
    axes.margins(0.15)
    return _svg(figure, f"{y_title} against {x_title}")


def pareto_front(points: Sequence[Point], rises: bool) -> list[Point]:
    """Return the points for which no other point is better at the same or lower cost, the cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda each: (each.x, -each.y if rises else each.y)):
        if not front or (point.y > front[-1].y if rises else point.y < front[-1].y):
            front.append(point)
    return front


def curves_figure(curves: dict[str, list[float]], x_title: str, y_title: str) -> str:
    """Draw values by epoch for each stage's number, on a logarithmic scale if all are positive."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes(x_title, y_title)
    for label, values in curves.items():
        marker = "o" if len(values) == 1 else None
        axes.plot(range(1, len(values) + 1), values, lw=1.8, marker=marker, color=_color(series(int(label))))
    if min(min(values) for values in curves.values()) > 0:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _svg(figure, f"{y_title} by {x_title}")


def _axes(x_title: str, y_title: str) -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_title, color=_color("text"))
    axes.set_ylabel(y_title, color=_color("text"))
    axes.tick_params(which="both", color=_color("line"), labelcolor=_color("soft"))
    axes.grid(color=_color("line"))
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure, axes


def _color(name: str) -> str:
    return STAND_INS[name]


def _svg(figure: "Figure", description: str) -> str:
    """Return a figure as an `svg` element of an HTML page, in the font and the colours of the page."""
    import matplotlib

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: _short(value))
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", transparent=True)
    svg = re.sub(
        r"<metadata>.*?</metadata>|font-family:[^;\"]*;?|xlink:(?=href)", "", buffer.getvalue(), flags=re.DOTALL
    )
    svg = re.sub(r".*?<svg[^>]*(viewBox=\"[^\"]*\")[^>]*>", r"<svg \1>", svg, count=1, flags=re.DOTALL)
    for name, stand_in in STAND_INS.items():
        svg = svg.replace(stand_in, f"var(--{name})")
    return svg


def _short(value: float) -> str:
    """Format the number at a tick."""
    if abs(value) >= 10_000:
        power = min(int(math.log10(abs(value))) // 3, 3)
        return f"{value / 1_000**power:.3g}{' kMG'[power]}"
    return f"{value:.4g}"
