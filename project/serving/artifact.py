"""An exported model: one ONNX file that says itself what goes in and what comes out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from project.runtime.errors import UserError
from project.serving.metadata import FORMAT as FORMAT
from project.serving.metadata import KEY as KEY
from project.serving.metadata import Metadata as Metadata
from project.serving.metadata import read_metadata as read_metadata
from project.serving.seal import verify

INPUT = "x"
BATCH_ROWS = 1_024

Array = NDArray[np.float32]


class Artifact:
    """A model that predicts, by ONNX Runtime.

    Args:
        path: An `.onnx` file that scripts/export.py wrote.
        threads: Threads within one operation.

    Attributes:
        metadata: What the file says of itself.
        outputs: Names of what `predict` gives: `outputs`, and `probabilities` or `spread` where there are any.

    Raises:
        UserError: If the file is missing, damaged, or not one of this project's.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise UserError('an artifact needs ONNX Runtime: pip install -e ".[serve]"') from error
        self.path = Path(path)
        self.metadata = read_metadata(path)
        verify(self.path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3  # what goes wrong is raised; the rest is of no use to a user
        try:
            self.session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own have no class in common
            raise UserError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self.outputs = [output.name for output in self.session.get_outputs()]
        [*others, entry] = self.session.get_inputs()
        rank = 1 + len(self.metadata["in_shape"])
        if others or (entry.name, entry.type, len(entry.shape)) != (INPUT, "tensor(float)", rank):
            raise UserError(f"{path}: its input is not float32 {INPUT!r} of {rank} dimensions: export the run again")

    def predict(self, x: Array, options: Any = None) -> dict[str, Array]:
        """Every output by name, (rows, …).

        Args:
            x: Raw features (rows, *in_shape), float32, finite; any number of time steps where `dynamic_length`.
            options: Of `run_options`, where another thread may want to end it.
        """
        if not len(x):  # not every operation takes an empty batch
            return {name: values[:0] for name, values in self.predict(np.zeros((1, *x.shape[1:]), np.float32)).items()}
        parts = [
            self.session.run(self.outputs, {INPUT: x[start : start + BATCH_ROWS]}, options)
            for start in range(0, len(x), BATCH_ROWS)
        ]
        columns = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
        return dict(zip(self.outputs, columns, strict=True))


def run_options() -> Any:
    """Options for `predict`, which fails from when their `terminate` is set to True."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4  # who ends it knows
    return options
