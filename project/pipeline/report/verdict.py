"""What a stage has gained, said so that it is true: no difference is named that chance may have made."""

from typing import NamedTuple

from project.inference.compare import LATENCY_ROWS
from project.pipeline.report.bootstrap import interval
from project.pipeline.report.measure import Measured, Task
from project.pipeline.report.table import quality

NOTHING = 1e-6  # of a difference, as part of the metric of a model that knows nothing
GAIN = 1.1  # below it, a difference in size or speed is none worth naming


class Verdict(NamedTuple):
    """Whether a stage has gained anything, and what.

    Attributes:
        gain: Whether; None where the stage is not there to gain.
        told: In a sentence.
    """

    gain: bool | None
    told: str


def of_training(now: Measured, task: Task) -> Verdict:
    """Of the first net, beside one that always gives the same answer."""
    value = now.metrics[f"test/{task.metric}"]
    better = now.interval[0] > task.naive if task.rises else now.interval[1] < task.naive
    naive = "the commonest class" if task.rises else "the training mean"
    return Verdict(better, f"{task.metric} {quality(value)}, and {quality(task.naive)} of always answering {naive}")


def of_ensemble(now: Measured, before: Measured, name: str, task: Task) -> Verdict:
    """Of several nets as one, which cost more: quality alone counts."""
    direction, told = compared(now, before, name, task)
    return Verdict(direction > 0, told)


def of_compression(now: Measured, before: Measured, name: str, task: Task) -> Verdict:
    """Of what is to make a model smaller or faster."""
    smaller = before.bytes / now.bytes
    faster = {rows: before.milliseconds[rows] / now.milliseconds[rows] for rows in LATENCY_ROWS}
    parts = [f"{smaller:.1f} times smaller" if smaller >= GAIN else _worse(smaller, "larger", "no smaller")]
    for rows, ratio in faster.items():
        told = f"{ratio:.1f} times faster" if ratio >= GAIN else _worse(ratio, "slower", "no faster")
        parts.append(f"{told} at {rows} row{'s' * (rows > 1)}")
    parts[-1] += f"; {compared(now, before, name, task)[1]}"
    return Verdict(max(smaller, *faster.values()) >= GAIN, ", ".join(parts))


def _worse(ratio: float, arg: str, neither: str) -> str:
    return f"{1 / ratio:.1f} times {arg}" if ratio <= 1 / GAIN else neither


def compared(now: Measured, before: Measured, name: str, task: Task) -> tuple[int, str]:
    """Whether quality is better (1), worse (-1) or neither beyond chance (0), row by row, and the same in args."""
    low, high = interval(now.scores - before.scores)
    difference = now.metrics[f"test/{task.metric}"] - before.metrics[f"test/{task.metric}"]
    direction = (low > 0) - (high < 0) if task.rises else (high < 0) - (low > 0)
    meaning = {1: "better", -1: "worse", 0: "within chance"}[direction]
    beside, *ends = (_signed(value, task) for value in (difference, low, high))
    return direction, f"{task.metric} {beside} ({' to '.join(ends)}) beside {name}: {meaning}"


def _signed(difference: float, task: Task) -> str:
    return "0" if abs(difference) < NOTHING * task.naive else f"{difference:+.2g}"
