"""Pictures of a report, as SVG that takes its colours from the page."""

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

WIDTH, HEIGHT = 360, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 44
MAX_POINTS = 200

Place = Callable[[float], float]


class Point(NamedTuple):
    """A model in a picture.

    Attributes:
        label: What stands in its mark.
        x: Its cost.
        y: Its quality.
        low: Lower end of the interval of y.
        high: Upper end.
    """

    label: str
    x: float
    y: float
    low: float
    high: float


def trade_off(points: Sequence[Point], x_title: str, y_title: str, rises: bool) -> str:
    """Quality against a cost, which is on a logarithmic scale, with intervals and the Pareto front.

    Args:
        points: One a model.
        x_title: What is paid.
        y_title: What is got.
        rises: Whether more of it is better.
    """
    x, x_ticks = _logarithmic([point.x for point in points])
    y, y_ticks = _linear([end for point in points for end in (point.low, point.high)])
    parts = [_axes(x, x_ticks, y, y_ticks, x_title, y_title)]
    best = pareto_front(points, rises)
    corners = [f"{x(a.x):.1f},{y(a.y):.1f} {x(b.x):.1f},{y(a.y):.1f}" for a, b in pairwise(best)]
    corners.append(f"{x(best[-1].x):.1f},{y(best[-1].y):.1f}")
    parts.append(f'<polyline class="front" points="{" ".join(corners)}"/>')
    for point in points:
        ends = f'y1="{y(point.low):.1f}" y2="{y(point.high):.1f}"'
        parts.append(f'<line class="whisker" x1="{x(point.x):.1f}" x2="{x(point.x):.1f}" {ends}/>')
    for point in points:
        place, height = x(point.x), y(point.y)
        parts.append(
            f'<circle class="mark m{point.label}" cx="{place:.1f}" cy="{height:.1f}" r="9"/>'
            f'<text class="number" x="{place:.1f}" y="{height + 4:.1f}">{escape(point.label)}</text>'
        )
    return _picture(parts, f"{y_title} against {x_title}")


def pareto_front(points: Sequence[Point], rises: bool) -> list[Point]:
    """Points that no other one is better than at no more cost, the cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda each: (each.x, -each.y if rises else each.y)):
        if not front or (point.y > front[-1].y if rises else point.y < front[-1].y):
            front.append(point)
    return front


def lines(curves: dict[str, list[float]], x_title: str, y_title: str) -> str:
    """Values after each epoch, on a logarithmic scale where all are above 0; keys are labels.

    Args:
        curves: Values by label.
        x_title: Of the epochs.
        y_title: Of the values.
    """
    values = [value for curve in curves.values() for value in curve]
    y, y_ticks = _logarithmic(values, upwards=True) if min(values) > 0 else _linear(values)
    x, x_ticks = _linear([1, max(len(curve) for curve in curves.values())], upwards=False)
    parts = [_axes(x, [tick for tick in x_ticks if tick == int(tick)], y, y_ticks, x_title, y_title)]
    for label, curve in curves.items():
        kept = sorted({round(k * (len(curve) - 1) / MAX_POINTS) for k in range(MAX_POINTS + 1)})
        points = " ".join(f"{x(index + 1):.1f},{y(curve[index]):.1f}" for index in kept)
        parts.append(f'<polyline class="curve c{label}" points="{points}"/>')
    return _picture(parts, f"{y_title} by {x_title}")


def _linear(values: Sequence[float], upwards: bool = True) -> tuple[Place, list[float]]:
    low, high = min(values), max(values)
    margin = 0.08 * (high - low) if upwards else 0.0
    low, high = (low - margin, high + margin) if high > low else (low - 0.5, high + 0.5)
    step = 10 ** math.floor(math.log10((high - low) / 3))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 5)
    first = math.ceil(low / step)
    ticks = [round((first + k) * step, 12) for k in range(math.floor(high / step) - first + 1)]
    return _place(low, high, upwards, lambda value: value), ticks


def _logarithmic(values: Sequence[float], upwards: bool = False) -> tuple[Place, list[float]]:
    low, high = min(values) / 1.25, max(values) * 1.25
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
        if len(ticks) >= 3:
            break
    return _place(low, high, upwards, math.log), ticks


def _place(low: float, high: float, upwards: bool, scale: Callable[[float], float]) -> Place:
    start, end = (HEIGHT - BOTTOM, TOP) if upwards else (LEFT, WIDTH - RIGHT)
    return lambda value: start + (end - start) * (scale(value) - scale(low)) / (scale(high) - scale(low))


def _axes(x: Place, x_ticks: list[float], y: Place, y_ticks: list[float], x_title: str, y_title: str) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in y_ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{LEFT - 5}" y="{y(tick) + 4:.1f}">{_short(tick)}</text>')
    for tick in x_ticks:
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x(tick):.1f}" y="{bottom + 15}">{_short(tick)}</text>'
        )
    parts.append(
        f'<text class="title" text-anchor="middle" x="{(LEFT + right) / 2}" y="{HEIGHT - 8}">{escape(x_title)}</text>'
    )
    middle = (TOP + bottom) / 2
    parts.append(
        f'<text class="title" text-anchor="middle" transform="rotate(-90 12 {middle})" x="12" y="{middle}">'
        f"{escape(y_title)}</text>"
    )
    return "".join(parts)


def _short(value: float) -> str:
    return (
        f"{value:.0f}"
        if 1_000 <= abs(value) < 10_000
        else f"{value:.3g}"
        if value < 10_000
        else f"{value / 1_000:.3g}k"
    )


def _picture(parts: Sequence[str], name: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'
