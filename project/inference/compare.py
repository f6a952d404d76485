"""Compare runs and exported files: test metrics, size, latency and time to the first answer."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from project.config.trust import granted
from project.inference.evaluate import measure
from project.inference.open_run import open_run
from project.inference.predictor import is_artifact, open_predictor
from project.runs.folder import find_checkpoint
from project.runtime.address import local_path
from project.runtime.errors import UserError
from project.serving.artifact import Array
from project.serving.metadata import LANGUAGE, Metadata

LATENCY_ROWS = (1, 64)
NOTICEABLE = 1.1  # a smaller ratio of two sizes or times is reported as no difference
ROUNDS, ROUND_SECONDS = 15, 0.02
COLD_STARTS = 3
# Programs that predict one row in a new process, with an exported file and with a run.
START_ARTIFACT = """
import sys, numpy
from project.serving.text_artifact import load_artifact
artifact = load_artifact(sys.argv[1])
artifact.predict(numpy.zeros((1, *artifact.metadata["in_shape"]), numpy.float32))
"""
START_RUN = """
import sys, numpy
from project.inference.predictor import open_predictor
predictor = open_predictor(sys.argv[1], sys.argv[2:])
kind = numpy.int64 if predictor.metadata["task"] == "language modelling" else numpy.float32
predictor.predict(numpy.zeros((1, *predictor.metadata["in_shape"]), kind))
"""


class Figures(NamedTuple):
    """Test metrics, size and speed of one model."""

    name: str  # the user's reference to it
    metrics: dict[str, float]
    bytes: int
    milliseconds: dict[int, float]  # median latency by number of rows, on one thread
    cold_start: float  # median seconds from the start of a process to its first answer


def compare(references: Sequence[str], args: Sequence[str] = ()) -> list[Figures]:
    """Measure several models on the same test rows, in turns.

    Args:
        references: Run folders, checkpoints, `last`, or `.onnx` files.
        args: Flags of scripts/train.py that override those of all runs.

    Raises:
        UserError: If a reference is not a model, or has other test rows.
    """
    runs = [open_run(reference, args) for reference in references]
    for reference, run in zip(references[1:], runs[1:], strict=True):
        y, first = (each.datamodule.splits.test.y for each in (run, runs[0]))
        if y.dtype != first.dtype or not torch.equal(y, first):
            raise UserError(
                f"{reference}: its test rows differ from those of {references[0]}; set the same rows for all, "
                "for example with --data.test_path"
            )
    metrics = [measure(run) for run in runs]
    inputs = [run.datamodule.splits.test.first(max(LATENCY_ROWS)).numpy() for run in runs]
    predictors = [open_predictor(reference, trusted=None) for reference in references]
    sizes = latency_rows(predictors[0].metadata)
    functions = [predictor.predict for predictor in predictors]
    times = [latencies(functions, [np.resize(x, (rows, *x.shape[1:])) for x in inputs]) for rows in sizes]
    starts = _medians([[_start(reference) for reference in references] for _ in range(COLD_STARTS)])
    files = [
        local_path(reference) if is_artifact(reference) else find_checkpoint(reference) for reference in references
    ]
    return [
        Figures(name, measured, file.stat().st_size, dict(zip(sizes, milliseconds, strict=True)), start)
        for name, measured, file, *milliseconds, start in zip(references, metrics, files, *times, starts, strict=True)
    ]


def latency_rows(metadata: Metadata) -> tuple[int, ...]:
    """Return the numbers of rows that are timed: of a language model only 1, which has many outputs already."""
    return LATENCY_ROWS[:1] if metadata["task"] == LANGUAGE else LATENCY_ROWS


def latencies(functions: Sequence[Callable[[Array], object]], inputs: Sequence[Array]) -> list[float]:
    """Return the median milliseconds of each function for its input; they take turns, so other load affects all."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [list(map(_milliseconds, functions, inputs)) for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    return _medians(rounds)


def _medians(rounds: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(each) for each in zip(*rounds, strict=True)]


def _milliseconds(function: Callable[[Array], object], x: Array) -> float:
    """Return the median over the calls of one round, after a first call that fills caches."""
    function(x)
    seconds, end = list[float](), time.perf_counter() + ROUND_SECONDS
    while not seconds or time.perf_counter() < end:
        start = time.perf_counter()
        function(x)
        seconds.append(time.perf_counter() - start)
    return 1_000 * statistics.median(seconds)


def _start(reference: str) -> float:
    """Return the seconds until a new process has predicted a row."""
    code = START_ARTIFACT if is_artifact(reference) else START_RUN
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, reference, *granted()], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{reference}: a new process failed: {done.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - start
