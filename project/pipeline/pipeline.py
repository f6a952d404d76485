"""A pipeline in memory: its plan, the results of its stages, and the measurements of their models.

Scripts import this file for their `--help`, so it imports nothing heavy at the top.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXPERIMENT, ONNX = "experiment.yaml", "model.onnx"


class Plan(NamedTuple):
    """The stages of a pipeline, with their settings.

    Attributes:
        stages: Names in order; the last one is `evaluate`.
        flags: Command line flags of each stage, with their values: `{"prune": [["--structured", "0.5"]]}`.
        config: Complete settings of the experiment.
    """

    stages: list[str]
    flags: dict[str, list[list[str]]]
    config: dict[str, Any]

    def args(self, stage: str) -> list[str]:
        """The flags of a stage as command line arguments."""
        return [arg for flag in self.flags.get(stage, []) for arg in flag]


@dataclass
class StageResult:
    """The result of a stage.

    Attributes:
        stage: Name of the stage.
        name: Number and name of the stage, which is also the name of its folder.
        command: Command line that runs the stage by itself.
        source: Name of the result whose model it started from.
        model: Run folder or ONNX file that it wrote, relative to the pipeline's folder; empty without one.
        skipped: Reason for which it was skipped; empty if it ran.
        seconds: Duration.
        figures: Measurements by name.
    """

    stage: str
    name: str
    command: str = ""
    source: str = ""
    model: str = ""
    skipped: str = ""
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)


class Pipeline(NamedTuple):
    """A pipeline that is running.

    Attributes:
        folder: Its folder.
        plan: Its plan.
        results: Results of the stages so far.
        trust: `--trust` flags for the modules whose classes configurations may name.
    """

    folder: Path
    plan: Plan
    results: list[StageResult]
    trust: list[str]

    @property
    def experiment(self) -> Path:
        """The YAML file with the settings of the experiment."""
        return self.folder / EXPERIMENT

    def newest(self, *stages: str) -> StageResult:
        """The newest result of the given stages that has a model; else the newest of an ensemble."""
        models = [result for result in reversed(self.results) if result.model]
        return next(result for names in (stages, ("ensemble",)) for result in models if result.stage in names)

    def run(self) -> StageResult:
        """The run to compress and to serve."""
        return self.newest("train", "distill", "prune")

    def last(self) -> StageResult:
        """The model at the end of the stages so far: a run, or an ONNX file."""
        return self.newest("train", "distill", "prune", "quantize")

    def path(self, result: StageResult) -> Path:
        """Path of the model of a result."""
        return self.folder / result.model

    def artifact(self, result: StageResult) -> Path:
        """The ONNX file of a result; it is exported if it does not exist yet."""
        from project.exporting.export import export

        path = self.path(result)
        if path.suffix == ".onnx":
            return path
        return path / ONNX if (path / ONNX).exists() else export(str(path), args=self.trust).path


class Measured(NamedTuple):
    """Measurements of a model.

    Attributes:
        metrics: Test metrics, as scripts/evaluate.py prints them.
        scores: Squared error of each test row, or 1 if its class is right and else 0; their mean is the quality.
        interval: 95 % interval of that mean.
        parameters: Number of parameters of the net.
        nonzero: Number of them that are not 0.
        bytes: Size of the ONNX file.
        milliseconds: Time of ONNX Runtime for a batch, by number of rows.
    """

    metrics: dict[str, float]
    scores: "NDArray[np.float64]"
    interval: tuple[float, float]
    parameters: int
    nonzero: int
    bytes: int
    milliseconds: dict[int, float]


class Task(NamedTuple):
    """The task that all models of a pipeline share.

    Attributes:
        metric: Name of the metric that models are compared by, without `test/`.
        rises: Whether a higher value is better.
        x: Test rows (n, *in_shape).
        y: Their targets (n, out_features), or classes (n,).
        naive: The metric of a constant prediction: the most frequent class, or the mean of the training rows.
    """

    metric: str
    rises: bool
    x: "NDArray[np.float32]"
    y: "NDArray[np.float32] | NDArray[np.int64]"
    naive: float


class Verdict(NamedTuple):
    """Whether a stage improved the model.

    Attributes:
        gain: True for an improvement, False for none, None for a trade-off or a stage without a model of its own.
        text: The verdict in words.
    """

    gain: bool | None
    text: str
