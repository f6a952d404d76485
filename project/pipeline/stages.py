"""What each stage of a chain does: it takes the model that is there, and leaves a run, an artifact or a finding."""

import json
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from project.export.quantize import NoGainError, quantize
from project.nets.net import Net
from project.nets.scaling import Standardized
from project.pipeline.plan import EXPERIMENT, own_flags
from project.pipeline.record import Pipeline, StageResult
from project.pipeline.report.report import report
from project.pipeline.serve import serve_and_ask
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.stages.base import LINEAR, stage_config, train_as
from project.stages.distill import student_config
from project.stages.ensemble import ENSEMBLE, train_jointly
from project.stages.prune import narrowed, prune, remaining_units
from project.training.train import train

NARROWER = 0.75  # part of the units of each layer that a student does without


class StageSkipped(Exception):  # noqa: N818
    """A stage has nothing to do, which says something about the model, and is no failure."""


def do(chain: Pipeline, stage: str) -> StageResult:
    """Do the next stage of a chain; its seconds are left to the caller.

    Raises:
        UserError: If it fails.
    """
    done = StageResult(stage, f"{len(chain.done) + 1}_{stage}")
    own, args = own_flags(stage, chain.plan.flags[stage])
    try:
        STAGE[stage](chain, done, own, args)
    except StageSkipped as finding:
        done.finding, done.model = str(finding), ""
    return done


def _train(chain: Pipeline, done: StageResult, own: dict[str, Any], args: list[str]) -> None:
    args = ["--config", str(chain.folder / EXPERIMENT), *args]
    done.command = command("train", *args, *chain.trust)
    _fit(chain, done, lambda run: train([*args, *chain.trust], folder=run))


def _ensemble(chain: Pipeline, done: StageResult, own: dict[str, Any], args: list[str]) -> None:
    args = ["--config", str(chain.folder / EXPERIMENT), *args]
    # Copies of a linear net start at zero: without samples of their own they would stay alike.
    linear = chain.plan.config["model"]["init_args"].get("net", LINEAR)["class_path"] == LINEAR["class_path"]
    members, bootstrap = own["members"], bool(own.get("bootstrap", linear))
    done.command = command("ensemble", "--members", members, *["--bootstrap"] * bootstrap, *args, *chain.trust)
    if chain.plan.config["model"]["class_path"] == "project.models.LinearRegression":
        raise StageSkipped("LinearRegression solves: every member would be the same")
    _fit(chain, done, lambda run: train_jointly(members, bootstrap, [*args, *chain.trust], run))


def _distill(chain: Pipeline, done: StageResult, own: dict[str, Any], args: list[str]) -> None:
    teacher = chain.newest("train", "ensemble", "distill", "prune")
    assert teacher is not None
    done.source, path = teacher.name, chain.path(teacher)
    if not any(arg.split("=")[0] == "--model.net" for arg in args):
        args = ["--model.net", json.dumps(smaller_net(str(path))), *args]
    done.command = command("distill", path, *args, *chain.trust)
    _fit(chain, done, lambda run: train_as(student_config(str(path), [*args, *chain.trust]), chain.trust, run))


def smaller_net(reference: str) -> dict[str, Any]:
    """The settings of a net of a run's kind (of an ensemble, its first member's), with a quarter of its units.

    It has no dropout, which a net needs that is larger than its task.

    Raises:
        StageSkipped: If the net has no units that could go.
    """
    config = stage_config(reference)["model"]["init_args"].get("net", LINEAR)
    net: Any = load_model(read_checkpoint(find_checkpoint(reference)), trusted=None).net.net
    if config["class_path"] == ENSEMBLE:
        config, net = config["init_args"]["nets"][0], net.members[0]
        net = net.net if isinstance(net, Standardized) else net
    arguments = config.get("init_args", {})
    if "dropout" in arguments:
        config = config | {"init_args": arguments | {"dropout": 0.0}}
    return narrowed(config, net, _left(net, NARROWER))


def _left(net: Net, part: float) -> dict[str, int]:
    try:
        return remaining_units(net, part)
    except UserError as error:
        raise StageSkipped(str(error).removeprefix("--structured: ").partition(": prune its weights")[0]) from error


def _prune(chain: Pipeline, done: StageResult, own: dict[str, Any], args: list[str]) -> None:
    source = chain.run()
    done.source, path = source.name, chain.path(source)
    done.command = command("prune", path, *_flags(own), *args, *chain.trust)
    if "structured" in own and 0 < own["structured"] < 1:
        _left(load_model(read_checkpoint(find_checkpoint(str(path))), trusted=None).net.net, own["structured"])
    _fit(
        chain,
        done,
        lambda run: prune(str(path), own.get("sparsity"), own.get("structured"), [*args, *chain.trust], run),
    )


def _fit(chain: Pipeline, done: StageResult, begin: Callable[[Path], object]) -> None:
    """Train in the stage's own folder; go on with what a chain that was interrupted has trained there."""
    done.model = done.name
    run = chain.path(done)
    if not (run / "metrics.json").exists():
        if any(run.glob("checkpoints/*.ckpt")):
            train(["--ckpt_path", str(run), *chain.trust])
        else:
            shutil.rmtree(run, ignore_errors=True)
            begin(run)
    done.figures = _quality(json.loads((run / "metrics.json").read_text()))


def _quality(metrics: dict[str, float]) -> dict[str, float]:
    return {name: metrics[name] for name in ("test/accuracy", "test/mse") if name in metrics}


def _flags(own: dict[str, Any]) -> list[str]:
    return [arg for name, value in own.items() for arg in (f"--{name}", str(value))]


def _export(chain: Pipeline, done: StageResult, own: dict[str, Any], args: list[str]) -> None:
    runs = [each for each in chain.done if each.model and chain.path(each).is_dir()]
    done.source, done.figures["files"] = chain.run().name, len(runs)
    done.command = command("export", chain.path(chain.run()), *chain.trust)
    for each in runs:
        chain.artifact(each)


def _quantize(chain: Pipeline, done: StageResult, own: dict[str, Any], args: list[str]) -> None:
    source, precision = chain.run(), own.get("dtype", "int8")
    done.source, done.model = source.name, f"{done.name}/model.{precision}.onnx"
    before, after = chain.artifact(source), chain.path(done)
    done.command = command("quantize", before, after, *_flags(own), *chain.trust)
    after.parent.mkdir(exist_ok=True)
    try:
        quantized = quantize(str(before), after, own.get("method"), precision, chain.trust)
    except NoGainError as error:
        after.parent.rmdir()
        raise StageSkipped(str(error).removeprefix("no gain: ")) from error
    done.figures = _quality(quantized.after.metrics) | {"bytes": quantized.after.bytes}


def _serve(chain: Pipeline, done: StageResult, own: dict[str, Any], args: list[str]) -> None:
    source = chain.last()
    done.source, path = source.name, chain.artifact(source)
    done.command = command("serve", path, *_flags(own))
    done.figures |= serve_and_ask(path, _flags(own), chain.path(chain.run()), chain.trust)


def _evaluate(chain: Pipeline, done: StageResult, own: dict[str, Any], args: list[str]) -> None:
    began, last = time.perf_counter(), chain.last()
    done.source, done.command = last.name, command("evaluate", chain.path(last), *chain.trust)
    report(chain, done, began)


STAGE: dict[str, Callable[[Pipeline, StageResult, dict[str, Any], list[str]], None]] = {
    "train": _train,
    "ensemble": _ensemble,
    "distill": _distill,
    "prune": _prune,
    "export": _export,
    "quantize": _quantize,
    "serve": _serve,
    "evaluate": _evaluate,
}


def command(script: str, *args: object) -> str:
    """What a user types for it."""
    return f"python scripts/{script}.py {shlex.join(map(str, args))}"
