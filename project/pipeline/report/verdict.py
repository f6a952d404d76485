"""Verdicts on stages: better, worse or no difference first, then the numbers."""

from project.inference.compare import LATENCY_ROWS, NOTICEABLE
from project.pipeline.pipeline import Measured, Task, Verdict
from project.pipeline.report.measure import bootstrap_interval
from project.pipeline.report.table import format_metric

CONSTANTS = {  # predictions that are the same for all rows, by the metric of the task
    "accuracy": "the most frequent class",
    "mse": "the training mean",
    "loss": "tokens by their frequency in the training text",
}
ZERO = 1e-6  # a smaller difference, relative to the metric of the constant prediction, counts as none


def of_training(now: Measured, task: Task) -> Verdict:
    """Compare the first model with a constant prediction."""
    value = now.metrics[f"test/{task.metric}"]
    better = now.interval[0] > task.naive if task.rises else now.interval[1] < task.naive
    constant = CONSTANTS[task.metric]
    numbers = f"{task.metric} {format_metric(value)} against {format_metric(task.naive)}"
    return Verdict(better, f"{'better' if better else 'no better'} than always predicting {constant}: {numbers}")


def of_quality(now: Measured, before: Measured, name: str, task: Task) -> Verdict:
    """Compare the quality alone."""
    direction, text = compare_quality(now, before, name, task)
    return Verdict(direction > 0, text)


def of_compression(now: Measured, before: Measured, name: str, task: Task) -> Verdict:
    """Compare quality, size and speed. Worse quality for a smaller or faster model is a trade-off, not a gain."""
    direction, text = compare_quality(now, before, name, task)
    smaller = before.bytes / now.bytes
    faster = {rows: before.milliseconds[rows] / now.milliseconds[rows] for rows in LATENCY_ROWS}
    parts = [_ratio(smaller, "smaller", "larger")]
    parts += [f"{_ratio(speed, 'faster', 'slower')} at {n} row{'s' * (n > 1)}" for n, speed in faster.items()]
    saves = max(smaller, *faster.values()) >= NOTICEABLE
    gain = (direction > 0 or saves) if direction >= 0 else (None if saves else False)
    return Verdict(gain, f"{text}; {', '.join(parts)}")


def _ratio(ratio: float, gain: str, loss: str) -> str:
    if ratio >= NOTICEABLE:
        return f"{ratio:.1f} times {gain}"
    return f"{1 / ratio:.1f} times {loss}" if ratio <= 1 / NOTICEABLE else f"no {gain}"


def compare_quality(now: Measured, before: Measured, name: str, task: Task) -> tuple[int, str]:
    """Compare two models row by row.

    Returns:
        1 if the quality is significantly better, -1 if it is significantly worse, else 0; and the same in words.
    """
    low, high = bootstrap_interval(now.scores - before.scores)
    difference = now.metrics[f"test/{task.metric}"] - before.metrics[f"test/{task.metric}"]
    if max(abs(low), abs(high), abs(difference)) < ZERO * task.naive:
        return 0, f"no difference from {name} in {task.metric}"
    direction = (low > 0) - (high < 0) if task.rises else (high < 0) - (low > 0)
    relation = {1: "better than", -1: "worse than", 0: "no difference beyond chance from"}[direction]
    numbers = f"{task.metric} {difference:+.2g} (95 % interval {low:+.2g} to {high:+.2g})"
    return direction, f"{relation} {name}: {numbers}"
