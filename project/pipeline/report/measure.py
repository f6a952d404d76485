"""Measure the models of a pipeline on the same test rows: quality, size and speed.

Source of the interval: Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979); the percentile interval, Efron
& Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from project.data import TextDataModule
from project.data.windows import UNCOUNTED
from project.inference.compare import LATENCY_ROWS, latencies
from project.inference.evaluate import evaluate
from project.inference.open_run import open_run
from project.pipeline.pipeline import Measured, Pipeline, StageResult, Task
from project.runs.checkpoint import load_run
from project.runtime.decision import decide
from project.serving.artifact import Array, Artifact
from project.serving.text_artifact import TextArtifact, load_artifact

THREADS = 1
TEXT_ROWS = 16  # windows of tokens that are computed at once
RESAMPLES, SEED, LEVEL = 1_000, 0, 95
Numbers = NDArray[np.float64]


def read_task(pipeline: Pipeline) -> Task:
    """Read the task from the data of the first run."""
    first = next(result for result in pipeline.results if result.model)
    data = open_run(str(pipeline.path(first)), pipeline.trust).datamodule
    x, y = data.splits.test.x.numpy(), data.splits.test.y.numpy()
    if isinstance(data, TextDataModule):
        return Task("loss", False, x, y, _frequency_loss(data.files.tokens("train").numpy(), y, data.out_features))
    known = data.splits.train.y.numpy()
    if data.class_names is None:
        known = known[~np.isnan(known).any(1)].astype(np.float64)
        return Task("mse", False, x, y, float(((y - known.mean(0)) ** 2).mean()))
    most_frequent = np.bincount(known[known >= 0]).argmax()
    return Task("accuracy", True, x, y, float((y == most_frequent).mean()))


def measure(pipeline: Pipeline, task: Task) -> dict[str, Measured]:
    """Measure all models of a pipeline; keys are the names of their results."""
    models = [result for result in pipeline.results if result.model]
    artifacts = [load_artifact(pipeline.artifact(result), THREADS) for result in models]
    speeds = {rows: _milliseconds(artifacts, task.x, rows) for rows in LATENCY_ROWS}
    found = {}
    for place, (result, artifact) in enumerate(zip(models, artifacts, strict=True)):
        scores = _scores(artifact, task)
        found[result.name] = Measured(
            evaluate(str(pipeline.path(result)), pipeline.trust)[0],
            scores,
            bootstrap_interval(scores),
            *_count_parameters(pipeline, result),
            artifact.path.stat().st_size,
            {rows: speeds[rows][place] for rows in LATENCY_ROWS},
        )
    return found


def _scores(artifact: Artifact, task: Task) -> Numbers:
    """Return the score of each test row; rows of tokens are computed a few at a time, because outputs take memory."""
    if not isinstance(artifact, TextArtifact):
        return row_scores(artifact.predict(task.x), task, artifact.metadata.get("threshold"))
    slices = [slice(start, start + TEXT_ROWS) for start in range(0, len(task.x), TEXT_ROWS)]
    parts = [window_losses(artifact.predict(task.x[part])["outputs"], np.asarray(task.y[part])) for part in slices]
    return np.concatenate(parts)


def window_losses(logits: Array, y: NDArray[Any]) -> Numbers:
    """Return the mean negative log-likelihood of the counted targets (n, T) of each window, in nats."""
    logits = logits.astype(np.float64) - logits.max(2, keepdims=True)
    chosen = np.take_along_axis(logits, np.maximum(y, 0)[:, :, None], axis=2)[:, :, 0]
    counted = y != UNCOUNTED
    losses = (np.log(np.exp(logits).sum(2)) - chosen) * counted
    found: Numbers = losses.sum(1) / counted.sum(1)
    return found


def _frequency_loss(tokens: NDArray[np.integer[Any]], y: NDArray[Any], vocabulary: int) -> float:
    """Return the loss of predicting tokens by their frequency in the training text, with add-one smoothing."""
    ids = tokens.view(np.uint16) if tokens.dtype == np.int16 else tokens
    counts = 1.0 + np.bincount(ids, minlength=vocabulary)
    return float(-np.log(counts / counts.sum())[y[y != UNCOUNTED]].mean())


def row_scores(outputs: Mapping[str, Array], task: Task, threshold: float | None = None) -> Numbers:
    """Return the score of each test row for outputs (n, out_features), or for probabilities of classes."""
    if task.rises:
        return (decide(outputs["probabilities"], threshold) == task.y).astype(np.float64)
    return ((outputs["outputs"].astype(np.float64) - task.y) ** 2).mean(1)


def bootstrap_interval(values: Numbers) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean of values (rows,)."""
    rng, rows = np.random.default_rng(SEED), len(values)
    means = [values[rng.integers(rows, size=rows)].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)


def learning_curves(pipeline: Pipeline) -> dict[str, list[float]]:
    """Return the validation loss after each epoch, from TensorBoard's files, of each run that logged it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns about the repeated points of a resumed run
    curves = {}
    for result in pipeline.results:
        if result.model and pipeline.path(result).is_dir():
            events = EventAccumulator(str(pipeline.path(result)), size_guidance={"scalars": 0}).Reload()
            if "val/loss" in events.Tags()["scalars"]:
                curves[result.name] = [point.value for point in events.Scalars("val/loss")]
    return curves


def _milliseconds(artifacts: Sequence[Artifact], x: Array, rows: int) -> list[float]:
    batch = np.resize(x, (rows, *x.shape[1:]))
    return latencies([artifact.predict for artifact in artifacts], [batch] * len(artifacts))


def _count_parameters(pipeline: Pipeline, result: StageResult) -> tuple[int, int]:
    """Count the parameters of a net, and those that are not 0; for an ONNX file, of the run it was made from."""
    while not pipeline.path(result).is_dir():
        result = next(each for each in pipeline.results if each.name == result.source)
    parameters = list(load_run(str(pipeline.path(result))).parameters())
    return sum(each.numel() for each in parameters), sum(int(each.count_nonzero()) for each in parameters)
