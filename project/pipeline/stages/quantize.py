"""Quantize the model so far."""

from collections.abc import Sequence
from typing import Any, ClassVar

from project.pipeline.pipeline import Pipeline, StageResult
from project.pipeline.stage import Options, Stage, as_flags, quality


class Quantize(Stage):
    """Writes an ONNX file with weights of fewer bits."""

    name = "quantize"
    options: ClassVar[dict[str, Options]] = {
        "dtype": {"help": "int8 (default), float16 or bfloat16; the last two only store the weights in fewer bits"},
        "method": {"help": "dynamic or static, for int8 (default: static if there are convolutions, else dynamic)"},
    }

    def check(self, config: dict[str, Any], options: Options, flags: Sequence[str]) -> None:
        """Check that a method is chosen for int8 alone."""
        from project.exporting.quantize import require_precision

        require_precision(options.get("dtype", "int8"), options.get("method"))

    def run(self, pipeline: Pipeline, result: StageResult, options: Options, flags: list[str]) -> None:
        """Quantize the newest run's ONNX file."""
        from project.exporting.quantize import NoGainError, quantize
        from project.stages.base import StageSkipped

        source, precision = pipeline.run(), options.get("dtype", "int8")
        result.source, result.model = source.name, f"{result.name}/model.{precision}.onnx"
        before, after = pipeline.artifact(source), pipeline.path(result)
        result.command = self.command(before, after, *as_flags(options), *pipeline.trust)
        after.parent.mkdir(exist_ok=True)
        try:
            quantized = quantize(str(before), after, options.get("method"), precision, pipeline.trust)
        except NoGainError as error:
            after.parent.rmdir()
            raise StageSkipped(str(error).removeprefix("no gain: ")) from error
        result.figures = quality(quantized.after.metrics) | {"bytes": quantized.after.bytes}
