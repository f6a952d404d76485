"""Write a smaller form of a run or an exported file, and measure its accuracy, size and speed."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from project.data.loader import Rows
from project.exporting.export import export
from project.exporting.formats import require_onnx, save_onnx
from project.exporting.onnx_quantize import operators, write_blocks, write_halves, write_integers
from project.exporting.text_export import check_text_onnx, test_rows
from project.inference.compare import LATENCY_ROWS, latencies, latency_rows
from project.inference.evaluate import measure
from project.inference.metadata import run_folder
from project.inference.open_run import open_rows, use_artifact
from project.inference.parity import require_parity
from project.inference.predictor import is_artifact
from project.runs.folder import find_checkpoint
from project.runtime.console import Table, open_console
from project.runtime.errors import UserError
from project.runtime.files import atomic_write, check_output
from project.serving.artifact import Array
from project.serving.metadata import LANGUAGE, Metadata, read_metadata
from project.serving.text_artifact import TextArtifact, load_artifact
from project.training.cli import ExperimentCLI

PRECISIONS = ("int8", "float16", "bfloat16")
METHODS = ("dynamic", "static")
CALIBRATION_ROWS = 512
THREADS = (1, 2)
MAX_SIZE_RATIO = 0.9  # of the bytes before; a larger file is no gain
# Recurrent operators that ONNX Runtime cannot compute with integers.
FLOAT_ONLY = ("GRU", "RNN")


class NoGainError(UserError):
    """A model that would not get smaller; the message says why."""


class Measured(NamedTuple):
    """Test metrics, size and speed of a file."""

    metrics: dict[str, float]
    bytes: int
    milliseconds: dict[tuple[int, int], float]  # median latency by threads and rows


class Quantized(NamedTuple):
    """A file that was written, and what changed from the float32 file."""

    path: Path
    precision: str
    method: str  # `dynamic`, `static`, or `rounded` for half precision
    kept: list[str]  # operators that stay in float32
    before: Measured
    after: Measured


def quantize(
    reference: str,
    destination: Path | None = None,
    method: str | None = None,
    precision: str = "int8",
    args: Sequence[str] = (),
) -> Quantized:
    """Write a smaller form of a model.

    Args:
        reference: A run folder, a checkpoint, `last`, or an `.onnx` file in float32.
        destination: The file; by default `model.int8.onnx` or similar next to the model.
        method: One of `METHODS`, for int8; by default `static` for convolutions, otherwise `dynamic`.
        precision: One of `PRECISIONS`.
        args: Flags of scripts/train.py that override the run's own, such as `--data.path moved.csv`.

    Raises:
        NoGainError: If the file would not get smaller.
        UserError: If the model or a package is missing, or the file is already quantized.
    """
    path = _check(reference, destination, method, precision)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(reference)
        if not is_artifact(reference):
            source = export(reference, Path(folder) / "model.onnx", args=args).path
        original = load_artifact(source)
        run = open_rows(str(source), args, "to calibrate and test on")
        before = measure(run)
        with atomic_write(path) as temporary:
            used, kept = _write(source, temporary, {**original.metadata, "precision": precision}, method, run)
            written = load_artifact(temporary)
            if precision != "int8" and isinstance(original, TextArtifact):
                check_text_onnx(temporary, original, test_rows(run.datamodule), precision)
            elif precision != "int8":
                rows = run.datamodule.splits.test.x.numpy()
                any_length = original.metadata["dynamic_length"]
                require_parity(written.predict, original.predict, rows, precision, any_length)
            use_artifact(run, written)
            after, times = measure(run), _times([source, temporary], run)
            files = [source.stat().st_size, temporary.stat().st_size]
    return Quantized(path, precision, used, kept, *map(Measured, (before, after), files, times))


def require_precision(precision: str, method: str | None) -> None:
    """Raise a UserError for an unknown precision, or a method that it does not have."""
    if precision not in PRECISIONS:
        raise UserError(f"--dtype: must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if method is not None and (method not in METHODS or precision != "int8"):
        raise UserError(f"--method: must be one of {', '.join(METHODS)}, and only with --dtype int8, got {method!r}")


def _check(reference: str, destination: Path | None, method: str | None, precision: str) -> Path:
    """Check the arguments, and return the file to write."""
    require_onnx()
    require_precision(precision, method)
    if is_artifact(reference):
        if (found := read_metadata(reference)["precision"]) != "float32":
            raise UserError(f"{reference}: is already in {found}; pass its run or the float32 file")
        model = Path(reference).with_suffix("")
    else:
        model = run_folder(find_checkpoint(reference)) / "model"
    path = destination or model.with_name(f"{model.name}.{precision}.onnx")
    check_output(path, [".onnx"], Path(reference))
    return path


def _write(
    source: Path, target: Path, metadata: Metadata, method: str | None, run: ExperimentCLI
) -> tuple[str, list[str]]:
    """Write the file, and return the method and the operators that stay in float32.

    Raises:
        NoGainError: If the file is not smaller.
    """
    import onnx

    model, kept = onnx.load(source), list[str]()
    if metadata["precision"] == "int8":
        method = method or ("static" if operators(model)["Conv"] else "dynamic")
        if metadata["task"] != LANGUAGE:
            changed = write_integers(source, target, method, _calibration_rows(run.datamodule.splits.train))
        elif method == "static":
            raise UserError("--method static: is for rows of numbers, and a language model reads tokens; use dynamic")
        else:
            changed = write_blocks(source, target)
        kept = [name for name in FLOAT_ONLY if operators(model)[name]]
    else:
        method, changed = "rounded", write_halves(source, target, metadata["precision"])
    before, after = source.stat().st_size, target.stat().st_size
    if changed and after <= MAX_SIZE_RATIO * before:
        save_onnx(target, onnx.load(target), metadata)
        return method, kept
    weights = sum(math.prod(weight.dims) for weight in model.graph.initializer)
    reason = f"its {weights:,} weights are few compared with the metadata"
    if kept:
        reason = f"ONNX Runtime computes {kept[0]} only in float32; --dtype float16 halves its weights"
    raise NoGainError(f"no gain: {before:,} bytes would become {after:,}: {reason}")


def _calibration_rows(train: Rows) -> Array:
    """Return inputs of rows from all over the training rows."""
    spaced = torch.linspace(0, len(train) - 1, min(CALIBRATION_ROWS, len(train))).long()
    rows: Array = train.gather(spaced)[0].numpy()
    return rows


def _times(paths: Sequence[Path], run: ExperimentCLI) -> list[dict[tuple[int, int], float]]:
    x = run.datamodule.splits.test.first(max(LATENCY_ROWS)).numpy()
    found: list[dict[tuple[int, int], float]] = [{} for _ in paths]
    for threads in THREADS:
        artifacts = [load_artifact(path, threads) for path in paths]
        functions = [artifact.predict for artifact in artifacts]
        for rows in latency_rows(artifacts[0].metadata):
            batch = np.resize(x, (rows, *x.shape[1:]))
            for times, milliseconds in zip(found, latencies(functions, [batch] * len(functions)), strict=True):
                times[threads, rows] = milliseconds
    return found


def print_quantized(result: Quantized) -> None:
    """Print accuracy, size and speed of a file and of the float32 file that it was made from."""
    before, after = result.before, result.after
    table = Table("", title=f"{result.path}: {result.method} {result.precision}", title_justify="left")
    for column in ("float32", result.precision, ""):
        table.add_column(column, justify="right")
    for name, value in before.metrics.items():
        now = after.metrics[name]
        table.add_row(name, f"{value:#.6g}", f"{now:#.6g}", f"{now - value:+.2g}")
    table.add_section()
    table.add_row(
        "bytes", f"{before.bytes:,}", f"{after.bytes:,}", ratio(before.bytes, after.bytes, "smaller", "larger")
    )
    for (threads, rows), value in before.milliseconds.items():
        now = after.milliseconds[threads, rows]
        label = f"ms for {rows} row{'s' * (rows > 1)}, {threads} thread{'s' * (threads > 1)}"
        table.add_row(label, f"{value:.3g}", f"{now:.3g}", ratio(value, now, "faster", "slower"))
    open_console().print(table)
    for name in result.kept:
        print(f"{name} stays in float32: ONNX Runtime cannot compute it with integers")


def ratio(before: float, after: float, less: str, more: str) -> str:
    """Format a ratio as how many times less or more."""
    return f"{before / after:.2f} times {less}" if after <= before else f"{after / before:.2f} times {more}"
