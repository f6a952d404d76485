"""Base class of the stages of a pipeline: options, check, run and verdict.

This file and those in `stages/` import nothing heavy until a stage is checked or run: the scripts take their options
from here, and `--help` must be fast.
"""

import argparse
import json
import shlex
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from project.pipeline.pipeline import Measured, Pipeline, StageResult, Task, Verdict
from project.runtime.arguments import ArgumentParser
from project.runtime.errors import UserError

Options = dict[str, Any]


class Stage(ABC):
    """One kind of stage.

    Attributes:
        name: Name in `--stages`, and of the script `scripts/NAME.py` that runs the stage by itself.
        options: Options of that script, as keyword arguments of `argparse.ArgumentParser.add_argument`.
        trains: Whether the stage trains, so that it also takes the flags of scripts/train.py.
        needs_run: Whether a run must exist before this stage.
    """

    name: ClassVar[str]
    options: ClassVar[dict[str, Options]] = {}
    trains: ClassVar[bool] = False
    needs_run: ClassVar[bool] = True

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the stage's options to the parser of a script."""
        for name, arguments in self.options.items():
            parser.add_argument(f"--{name}", **arguments)

    def parse(self, flags: Sequence[str]) -> tuple[Options, list[str]]:
        """Separate the options of the stage that are set from the flags of scripts/train.py.

        Raises:
            UserError: If an option has a wrong value, or the stage takes no other flags; the flag is named.
        """
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        self.add_options(parser)
        try:
            found, others = parser.parse_known_args(flags, argparse.Namespace(**dict.fromkeys(self.options)))
        except argparse.ArgumentError as error:
            raise UserError(f"--{self.name}.{(error.argument_name or '').lstrip('-')}: {error.message}") from error
        if others and not self.trains:
            raise UserError(f"--{self.name}.{others[0].lstrip('-')}: no such flag of {self.name}; remove it")
        return {name: value for name, value in vars(found).items() if value is not None}, others

    def check(self, config: dict[str, Any], options: Options, flags: Sequence[str]) -> None:
        """Raise a UserError if the stage cannot run on the experiment `config` with the results of `parse`."""
        from project.config.flag_errors import refuse_flags
        from project.stages.base import NO_NAME, NO_RESUME, parse

        if self.trains:
            refuse_flags(flags, NO_RESUME | NO_NAME)
            parse(flags, config)

    @abstractmethod
    def run(self, pipeline: Pipeline, result: StageResult, options: Options, flags: list[str]) -> None:
        """Run the stage and fill in its result.

        Raises:
            project.stages.base.StageSkipped: If the stage has nothing to do for the model.
            UserError: If it fails.
        """

    def verdict(self, pipeline: Pipeline, result: StageResult, measured: dict[str, Measured], task: Task) -> Verdict:
        """Compare the model of the stage with the model that it started from."""
        from project.pipeline.report.verdict import of_compression

        return of_compression(measured[result.name], measured[result.source], result.source, task)

    def command(self, *args: object) -> str:
        """The command line that runs the stage by itself."""
        return f"python scripts/{self.name}.py {shlex.join(map(str, args))}"


def script_parser(stage: Stage, description: str | None, flags: str = "", **kwargs: Any) -> ArgumentParser:
    """Return the parser of a stage's script; `flags` are examples of the flags of scripts/train.py that it takes."""
    epilog = f"All other flags are those of train.py{flags and f' and override those of the run: {flags}'}."
    parser = ArgumentParser(description=description, epilog=epilog, **kwargs)
    stage.add_options(parser)
    return parser


def as_flags(options: Options) -> list[str]:
    """Return options as command line arguments."""
    return [arg for name, value in options.items() for arg in (f"--{name}", str(value))]


def fit(pipeline: Pipeline, result: StageResult, begin: Callable[[Path], object]) -> None:
    """Train in the stage's folder with `begin`, or resume the training of an interrupted pipeline there."""
    from project.training.train import train

    result.model = result.name
    run = pipeline.path(result)
    if not (run / "metrics.json").exists():
        if any(run.glob("checkpoints/*.ckpt")):
            train(["--ckpt_path", str(run), *pipeline.trust])
        else:
            shutil.rmtree(run, ignore_errors=True)
            begin(run)
    result.figures = quality(json.loads((run / "metrics.json").read_text()))


def quality(metrics: dict[str, float]) -> dict[str, float]:
    """Return the test metric that stages are compared by."""
    return {name: metrics[name] for name in ("test/accuracy", "test/mse", "test/bits_per_byte") if name in metrics}


# All stages by name, in the order of `stages/__init__.py`, which fills it.
STAGES: dict[str, Stage] = {}
