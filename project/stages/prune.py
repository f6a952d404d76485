"""Pruning: a run's net with zeros among its weights, or with fewer units, trained further."""

import copy
import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.table import Table
from torch import Tensor, nn

from project.callbacks.pruning import require_prunable
from project.callbacks.run_folder import RunFolder
from project.config.flag_errors import refuse_flags
from project.config.trust import with_trust
from project.inference.compare import LATENCY_ROWS, latencies
from project.inference.evaluate import evaluate
from project.models.supervised import Supervised
from project.nets.net import Net
from project.nets.pruned import removable
from project.nets.scaling import Standardized
from project.nets.widths import widths
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint, write_metrics
from project.runtime.console import open_console
from project.runtime.errors import UserError
from project.serving.artifact import Array
from project.stages.base import LINEAR, NO_WEIGHTS, Config, require_weights, stage_config
from project.training.train import train

PRUNED = "project.nets.Pruned"
GAIN = 1.1  # below it, a difference in speed is noise
LABELS = {
    "nonzero": "parameters that are not 0",
    "bytes": "bytes of the weights",
    "gzip_bytes": "the same, compressed by gzip",
    "milliseconds_1": "ms for 1 row",
    "milliseconds_64": "ms for 64 rows",
}
DATA_FLAGS = ("--data", "--sampling", "--trust")


def prune(
    reference: str,
    sparsity: float | None = None,
    structured: float | None = None,
    args: Sequence[str] = (),
    folder: Path | None = None,
) -> dict[str, float]:
    """Prune a run's net and train it further, as a run of its own.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        sparsity: Part of all weights that becomes zero, the smallest first.
        structured: Part of the units of each layer (neurons, channels, heads) that is left out.
        args: Flags of scripts/train.py that differ from the run's own.
        folder: Where the run is to lie; the next `lightning_logs/version_N` without one.

    Returns:
        What metrics.json holds: the metrics of the run, and size and speed as `pruned/…`; the same of the run before,
        with its test metrics, as `unpruned/…`.

    Raises:
        UserError: If a part is not between 0 and 1, or leaves nothing of a layer, or there is nothing to prune.
    """
    require_one_part(sparsity, structured)
    if structured is not None:
        refuse_flags(args, {"pruning": "--structured leaves units out at once: leave it out"})
    refuse_flags(args, NO_WEIGHTS | {"pruning.sparsity": "give --sparsity"})
    with_trust(args)
    path = str(find_checkpoint(reference).resolve())  # `last` would be another one soon
    before = load_model(read_checkpoint(find_checkpoint(path)), trusted=None).net
    config = stage_config(path, "pruning")
    config["weights"] = {"path": path, "narrow": structured is not None}
    if sparsity is not None:
        require_prunable(before.net, sparsity)
        config["pruning"] = {"sparsity": sparsity}
    if structured is not None:
        arguments = config["model"]["init_args"]
        left = remaining_units(before.net, structured)
        arguments["net"] = narrowed(arguments.get("net", LINEAR), before.net, left)
    require_weights(config, args)
    tested, _ = evaluate(path, data_flags(args))
    result = Result()
    metrics = train(["--config", yaml.safe_dump(config), *args], [result], folder)
    metrics |= {f"unpruned/{name}": value for name, value in tested.items()} | figures(before, result.net)
    if result.folder is not None:
        write_metrics(result.folder, metrics)
    return metrics


def require_one_part(sparsity: float | None, structured: float | None) -> None:
    """Raise a UserError unless one of the two is given, and is a part."""
    if sparsity is None and structured is None:
        raise UserError("give --sparsity, the part of weights to be zero, or --structured, the part of units to go")
    if sparsity is not None and structured is not None:
        raise UserError("--sparsity and --structured: give one of them, and prune by the other afterwards")
    for flag, part in (("sparsity", sparsity), ("structured", structured)):
        if part is not None and not 0 < part < 1:
            raise UserError(f"--{flag} is {part}: give a part, above 0 and below 1")


class Result(Callback):
    """Keeps what a training has come to.

    Attributes:
        net: Of the best checkpoint.
        folder: Of the run, where this process writes it.
    """

    net: Standardized
    folder: Path | None = None

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take it."""
        assert isinstance(pl_module, Supervised)
        self.net = copy.deepcopy(pl_module.net).cpu()
        for callback in trainer.callbacks if trainer.is_global_zero else ():  # type: ignore[attr-defined]
            if isinstance(callback, RunFolder):
                self.folder = callback.path


def remaining_units(net: Net, part: float) -> dict[str, int]:
    """How many units are left of each layer, by its name.

    Args:
        net: With its weights.
        part: What part of the units of each layer goes.

    Raises:
        UserError: If no size of the net is free to change, or all units of a layer would go, or none of any.
    """
    free, name = removable(net), type(net).__name__
    if not free:
        raise UserError(f"--structured: {name} has no layer whose units could go: prune its weights, with --sparsity")
    left = {layer: width.units - round(part * width.units) for layer, width in free.items()}
    for layer, units in left.items():
        if units == 0:
            raise UserError(f"--structured {part} leaves none of the {free[layer].units} units of {layer}: give less")
    if all(units == free[layer].units for layer, units in left.items()):
        raise UserError(f"--structured {part} is not one unit of any layer of {name}: give more")
    return left


def narrowed(config: Config, net: Net, left: dict[str, int]) -> Config:
    """The settings of a net with fewer units, by its own arguments where they can say it.

    Args:
        config: Settings of the net.
        net: The net.
        left: From `remaining_units`.
    """
    path, arguments = config["class_path"], config.get("init_args", {})
    units = {layer: width.units for layer, width in widths(net).items()} | left
    match path.removeprefix("project.nets."):
        case "MLP":
            own: Config = {"hidden": [*units.values()]}
        case "CNN":
            *channels, hidden = units.values()
            own = {"channels": channels, "hidden": hidden}
        case "RNN":
            own = {"hidden": units["recurrence"]}
        case "Pruned":
            own = {"units": arguments["units"] | left}
        case _:
            return {"class_path": PRUNED, "init_args": {"net": config, "units": left}}
    return {"class_path": path, "init_args": arguments | own}


def data_flags(args: Sequence[str]) -> list[str]:
    """Those flags, with their values, that say which rows a net is tested on."""
    kept, wanted = [], False
    for arg in args:
        wanted = arg.startswith(DATA_FLAGS) if arg.startswith("--") else wanted
        kept += [arg] if wanted else []
    return kept


def figures(before: Standardized, after: Standardized) -> dict[str, float]:
    """Size, and milliseconds a batch on one thread of the CPU, of a net before and after pruning."""
    nets = {"unpruned": copy.deepcopy(before).cpu(), "pruned": after}  # a copy is never compiled
    found = {f"{name}/{key}": value for name, net in nets.items() for key, value in sizes(net).items()}
    answers = [predict_fn(net) for net in nets.values()]
    for rows in LATENCY_ROWS:
        x = torch.randn(rows, *before.net.in_shape).numpy()
        taken = latencies(answers, [x] * len(nets))
        found |= {f"{name}/milliseconds_{rows}": time for name, time in zip(nets, taken, strict=True)}
    return found


def predict_fn(net: nn.Module) -> Callable[[Array], Tensor]:
    """A net as a function of rows (B, *in_shape)."""
    net.eval()
    return torch.inference_mode()(lambda x: net(torch.from_numpy(x)))


def sizes(net: nn.Module) -> dict[str, float]:
    """Parameters, those that are not zero, and bytes of the weights, as stored and compressed by gzip."""
    from safetensors.torch import save

    stored = save({name: value.detach().clone().contiguous() for name, value in net.state_dict().items()})
    return {
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "nonzero": sum(int(parameter.count_nonzero()) for parameter in net.parameters()),
        "bytes": len(stored),
        "gzip_bytes": len(gzip.compress(stored)),
    }


@rank_zero_only
def print_pruning(metrics: Mapping[str, float]) -> None:
    """What pruning has changed, and what it has not."""
    console, table = open_console(), Table(title="Pruning", title_justify="left")
    table.add_column("")
    for column in ("before", "after", "after / before"):
        table.add_column(column, justify="right")
    pairs = {
        name: (was, metrics[name] if name.startswith("test/") else metrics[f"pruned/{name}"])
        for full, was in metrics.items()
        if full.startswith("unpruned/") and (name := full.removeprefix("unpruned/"))
    }
    for name, (was, now) in pairs.items():
        kind = "#.4g" if name.startswith(("test/", "milliseconds")) else ",.0f"
        table.add_row(LABELS.get(name, name), f"{was:{kind}}", f"{now:{kind}}", f"{now / was:.2f}" if was else "")
    console.print(table)
    ratio = {name: was / now for name, (was, now) in pairs.items() if now}
    if ratio["parameters"] == 1:
        console.print(
            "Zeros are stored and multiplied like any number: no file is smaller, and nothing is faster. "
            f"Compressed, the weights take {1 / ratio['gzip_bytes']:.2f} of the bytes they took before."
        )
        return
    for rows in LATENCY_ROWS:
        speed = ratio[f"milliseconds_{rows}"]
        told = f"{speed:.1f} times faster" if speed > GAIN else "no faster"
        console.print(f"Batches of {rows}: {told}, by torch on one thread.")
