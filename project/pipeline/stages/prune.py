"""Prune the model so far, and train it further."""

from collections.abc import Sequence
from typing import Any, ClassVar

from project.pipeline.pipeline import Pipeline, StageResult
from project.pipeline.stage import Options, Stage, as_flags, fit
from project.runtime.ranges import OpenUnitInterval

STRUCTURED = 0.5  # default in a pipeline


class Prune(Stage):
    """Removes whole units, or sets weights to zero."""

    name = "prune"
    options: ClassVar[dict[str, Options]] = {
        "sparsity": {
            "type": OpenUnitInterval,
            "metavar": "FRACTION",
            "help": "fraction of the weights to set to zero, over all layers together",
        },
        "structured": {
            "type": OpenUnitInterval,
            "metavar": "FRACTION",
            "help": "fraction of the units (neurons, channels, heads) to remove from each layer",
        },
    }
    trains = True

    def check(self, config: dict[str, Any], options: Options, flags: Sequence[str]) -> None:
        """Check that exactly one way to prune is chosen."""
        from project.stages.prune import require_one_method

        require_one_method(**_with_default(options))
        super().check(config, options, flags)

    def run(self, pipeline: Pipeline, result: StageResult, options: Options, flags: list[str]) -> None:
        """Prune and train in the stage's folder."""
        from project.stages.prune import prune

        options = _with_default(options)
        source = pipeline.run()
        result.source, path = source.name, str(pipeline.path(source))
        result.command = self.command(path, *as_flags(options), *flags, *pipeline.trust)
        args = [*flags, *pipeline.trust]
        fit(pipeline, result, lambda run: prune(path, **options, args=args, folder=run))


def _with_default(options: Options) -> Options:
    return options or {"structured": STRUCTURED}
