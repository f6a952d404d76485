"""An exported model: one ONNX file whose metadata describe its inputs and outputs."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from project.runtime.errors import UserError
from project.serving.artifact_file import open_artifact
from project.serving.metadata import GENERATE, LANGUAGE, Metadata, parse_metadata
from project.serving.seal import verify

INPUT = "x"
BATCH_ROWS = 1_024
SHORT_SERIES = 1_024  # time steps that every model with `dynamic_length` takes

Array = NDArray[np.float32]


def max_steps(metadata: Metadata) -> int:
    """Return the largest number of time steps of a row: it takes as much memory as a batch of rows of usual length."""
    window = metadata["window"]
    return max(window * math.isqrt(BATCH_ROWS), SHORT_SERIES) if metadata["dynamic_length"] else window


class Artifact:
    """An exported model that ONNX Runtime computes.

    Args:
        path: An `.onnx` file written by scripts/export.py.
        threads: Threads within one operation.

    Attributes:
        outputs: Names of the outputs of `predict`: `outputs`, and `probabilities` or `spread` if the model has them.

    Raises:
        UserError: If the file is missing, damaged, or not one of this project's.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise UserError('reading an .onnx file needs ONNX Runtime; pip install -e ".[serve]"') from error
        self.path = Path(path)
        with open_artifact(self.path) as file:
            parse_metadata(file, path)  # first, because it reads little of a file of another kind
            file.seek(0)
            content = file.read()  # what is checked is what is loaded, even if the file is replaced meanwhile
        self.metadata = parse_metadata(io.BytesIO(content), path)
        verify(content, self.path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3  # errors are raised; warnings do not help a user
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise UserError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self.outputs = [output.name for output in self.session.get_outputs()]
        if (problem := self.input_problem()) is not None:
            raise UserError(f"{self.path}: {problem}")

    def input_problem(self) -> str | None:
        """Return why the inputs are not those of an exported model of rows; None if they are."""
        if self.metadata["task"] == LANGUAGE:
            return f"a language model predicts no rows; {GENERATE}"
        [*others, entry] = self.session.get_inputs()
        rank = 1 + len(self.metadata["in_shape"])
        if others or (entry.name, entry.type, len(entry.shape)) != (INPUT, "tensor(float)", rank):
            return f"its input is not float32 {INPUT!r} of {rank} dimensions; export the run again"
        return None

    def predict(self, x: Array, options: Any = None) -> dict[str, Array]:
        """Compute every output by name, (rows, …), from raw features (rows, *in_shape), float32 and finite.

        `options` are ONNX Runtime's RunOptions; with `dynamic_length`, x may have any number of time steps.
        """
        if not len(x):  # some operations reject an empty batch
            return {name: values[:0] for name, values in self.predict(np.zeros((1, *x.shape[1:]), np.float32)).items()}
        rows = BATCH_ROWS
        if self.metadata["dynamic_length"] and x.shape[1] > self.metadata["window"]:
            # Attention takes memory with the square of the length.
            rows = max(1, int(rows * (self.metadata["window"] / x.shape[1]) ** 2))
        parts = [
            self.session.run(self.outputs, {INPUT: x[start : start + rows]}, options)
            for start in range(0, len(x), rows)
        ]
        columns = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return dict(zip(self.outputs, columns, strict=True))
