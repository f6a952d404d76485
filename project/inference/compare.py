"""Several runs and artifacts side by side: how good they are, how large, how fast, and how soon they answer."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from project.config.trust import granted
from project.inference.evaluate import measure
from project.inference.open_run import open_run
from project.inference.predictor import is_artifact, open_predictor
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.serving.artifact import Array
from project.training.cli import ExperimentCLI

LATENCY_ROWS = (1, 64)
ROUNDS, ROUND_SECONDS = 15, 0.02
COLD_STARTS = 3
# What a new process does to answer, of a file and of a run.
START_ARTIFACT = """
import sys, numpy
from project.serving.artifact import Artifact
artifact = Artifact(sys.argv[1])
artifact.predict(numpy.zeros((1, *artifact.metadata["in_shape"]), numpy.float32))
"""
START_RUN = """
import sys, numpy
from project.inference.predictor import open_predictor
predictor = open_predictor(sys.argv[1], sys.argv[2:])
predictor.answer(numpy.zeros((1, *predictor.metadata["in_shape"]), numpy.float32))
"""


class Figures(NamedTuple):
    """What is known of a model.

    Attributes:
        name: As the user gave it.
        metrics: Of test rows, by name.
        bytes: Of the file that it lies in.
        milliseconds: Median time of an answer, by rows; one thread.
        cold_start: Seconds from the start of a process to its first answer, median.
    """

    name: str
    metrics: dict[str, float]
    bytes: int
    milliseconds: dict[int, float]
    cold_start: float


def compare(references: Sequence[str], args: Sequence[str] = ()) -> list[Figures]:
    """Figures of several models on the same test rows, each measured in turn with the others.

    Args:
        references: Run folders, checkpoints, `last`, or `.onnx` files.
        args: Flags of scripts/train.py that override those of all runs.

    Raises:
        UserError: If one of them is none, or has other test rows.
    """
    runs = [open_run(reference, args) for reference in references]
    for reference, run in zip(references[1:], runs[1:], strict=True):
        if not _same(_targets(run), _targets(runs[0])):
            raise UserError(
                f"{reference}: its test rows are not those of {references[0]}: give flags by which they are the same, "
                "such as --data.test_path"
            )
    metrics = [measure(run) for run in runs]
    inputs = [run.datamodule.splits.test.x[: max(LATENCY_ROWS)].numpy() for run in runs]
    answers = [open_predictor(reference, trusted=None).answer for reference in references]
    times = [latencies(answers, [_resized(x, rows) for x in inputs]) for rows in LATENCY_ROWS]
    starts = cold_starts(references)
    return [
        Figures(reference, found, size(reference), dict(zip(LATENCY_ROWS, milliseconds, strict=True)), start)
        for reference, found, *milliseconds, start in zip(references, metrics, *times, starts, strict=True)
    ]


def size(reference: str) -> int:
    """Bytes of the file that a model lies in."""
    return (Path(reference) if is_artifact(reference) else find_checkpoint(reference)).stat().st_size


def latencies(answers: Sequence[Callable[[Array], object]], inputs: Sequence[Array]) -> list[float]:
    """Median milliseconds of each answer to its input; all take turns, so that what slows the machine slows each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [[_milliseconds(answer, x) for answer, x in zip(answers, inputs, strict=True)] for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    return [statistics.median(each) for each in zip(*rounds, strict=True)]


def cold_starts(references: Sequence[str]) -> list[float]:
    """Median seconds until a new process has answered a row, of each model in turn."""
    rounds = [[_start(reference) for reference in references] for _ in range(COLD_STARTS)]
    return [statistics.median(each) for each in zip(*rounds, strict=True)]


def _targets(run: ExperimentCLI) -> torch.Tensor:
    return run.datamodule.splits.test.y


def _same(y: torch.Tensor, other: torch.Tensor) -> bool:
    return y.dtype == other.dtype and torch.equal(y, other)


def _resized(x: Array, rows: int) -> Array:
    return np.resize(x, (rows, *x.shape[1:]))


def _milliseconds(answer: Callable[[Array], object], x: Array) -> float:
    """Median over as many calls as a fraction of a second holds, after one that fills caches."""
    answer(x)
    taken, end = list[float](), time.perf_counter() + ROUND_SECONDS
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        answer(x)
        taken.append(time.perf_counter() - start)
    return 1_000 * statistics.median(taken)


def _start(reference: str) -> float:
    code = START_ARTIFACT if is_artifact(reference) else START_RUN
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, reference, *granted()], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{reference}: a new process could not answer: {done.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - start
