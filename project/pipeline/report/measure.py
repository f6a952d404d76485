"""What the models of a chain are worth: quality on the same test rows, size, and speed, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from project.inference.compare import LATENCY_ROWS, latencies
from project.inference.evaluate import evaluate
from project.inference.open_run import open_run
from project.pipeline.record import Pipeline, StageResult
from project.pipeline.report.bootstrap import interval
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.serving.artifact import Array, Artifact

THREADS = 1
Numbers = NDArray[np.float64]


class Measured(NamedTuple):
    """A model of a chain.

    Attributes:
        metrics: What scripts/evaluate.py says of it.
        scores: What its quality is the mean of: of each test row, its squared error, or whether its class is right.
        interval: Ends of the 95 % interval of that mean.
        parameters: Of the net.
        nonzero: Those of them that are not 0.
        bytes: Of the ONNX file.
        milliseconds: Of ONNX Runtime for a batch, by its rows.
    """

    metrics: dict[str, float]
    scores: Numbers
    interval: tuple[float, float]
    parameters: int
    nonzero: int
    bytes: int
    milliseconds: dict[int, float]


class Task(NamedTuple):
    """What all models of a chain are to do.

    Attributes:
        metric: Its name, without `test/`.
        rises: Whether more of it is better.
        x: Test rows (n, *in_shape).
        y: Their targets (n, out_features), or classes (n,).
        naive: The metric of always the same answer: the commonest class, or the mean of the training rows.
    """

    metric: str
    rises: bool
    x: Array
    y: NDArray[np.float32] | NDArray[np.int64]
    naive: float


def read_task(chain: Pipeline) -> Task:
    """What the chain is about, from the data of its first run."""
    first = next(done for done in chain.done if done.model)
    data = open_run(str(chain.path(first)), chain.trust).datamodule
    x, y = data.splits.test.x.numpy(), data.splits.test.y.numpy()
    known = data.splits.train.y.numpy()
    if data.class_names is None:
        known = known[~np.isnan(known).any(1)].astype(np.float64)
        return Task("mse", False, x, y, float(((y - known.mean(0)) ** 2).mean()))
    commonest = np.bincount(known[known >= 0]).argmax()
    return Task("accuracy", True, x, y, float((y == commonest).mean()))


def measure(chain: Pipeline, task: Task) -> dict[str, Measured]:
    """All models of a chain by the name of their stage."""
    models = [done for done in chain.done if done.model]
    artifacts = [Artifact(chain.artifact(done), THREADS) for done in models]
    speeds = {rows: _milliseconds(artifacts, task.x, rows) for rows in LATENCY_ROWS}
    found = {}
    for place, (done, artifact) in enumerate(zip(models, artifacts, strict=True)):
        scores = row_scores(artifact.predict(task.x)["outputs"], task)
        parameters, nonzero = _weights(chain, done)
        found[done.name] = Measured(
            evaluate(str(chain.path(done)), chain.trust)[0],
            scores,
            interval(scores),
            parameters,
            nonzero,
            artifact.path.stat().st_size,
            {rows: speeds[rows][place] for rows in LATENCY_ROWS},
        )
    return found


def row_scores(outputs: Array, task: Task) -> Numbers:
    """What the metric is the mean of, one a test row; outputs (n, out_features)."""
    if task.rises:
        return (outputs.argmax(1) == task.y).astype(np.float64)
    return ((outputs.astype(np.float64) - task.y) ** 2).mean(1)


def _milliseconds(artifacts: Sequence[Artifact], x: Array, rows: int) -> list[float]:
    batch = np.resize(x, (rows, *x.shape[1:]))
    return latencies([artifact.predict for artifact in artifacts], [batch] * len(artifacts))


def _weights(chain: Pipeline, done: StageResult) -> tuple[int, int]:
    """Parameters of a model's net, and those that are not 0; of an artifact, those of the run that it was made of."""
    path: Path = chain.path(done)
    if not path.is_dir():
        path = chain.path(next(each for each in chain.done if each.name == done.source))
    weights = list(load_model(read_checkpoint(find_checkpoint(str(path))), trusted=None).net.parameters())
    return sum(each.numel() for each in weights), sum(int(each.count_nonzero()) for each in weights)
