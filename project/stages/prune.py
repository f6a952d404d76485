"""Pruning: set weights of a run's net to zero or remove whole units, and train it further."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from project.callbacks.pruning import require_prunable
from project.callbacks.run_folder import RunFolder
from project.config.flag_errors import refuse_flags
from project.config.trust import with_trust
from project.inference.compare import LATENCY_ROWS, NOTICEABLE, latencies
from project.inference.evaluate import evaluate
from project.inference.predictor import predict_fn
from project.models.network import supervised
from project.nets.scaling import Standardized
from project.nets.sizes import sizes
from project.runs.checkpoint import load_run
from project.runs.folder import find_checkpoint, write_metrics
from project.runtime.console import Table, open_console
from project.runtime.errors import UserError
from project.stages.base import LINEAR, NO_WEIGHTS, require_weights, stage_config
from project.stages.narrow import narrowed, remaining_units
from project.training.train import train

LABELS = {
    "nonzero": "nonzero parameters",
    "bytes": "bytes of the weights",
    "gzip_bytes": "bytes of the weights, compressed by gzip",
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
    """Prune a run's net and train it further, as a new run.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        sparsity: Fraction of all weights to set to zero, the smallest first; above 0 and below 1.
        structured: Fraction of the units (neurons, channels, heads) to remove from each layer; above 0 and below 1.
        args: Flags of scripts/train.py that override the settings of the run.
        folder: Folder of the new run; the next `lightning_logs/version_N` by default.

    Returns:
        The contents of metrics.json: the metrics of the run, size and speed as `pruned/…`, and size, speed and test
        metrics of the run before as `unpruned/…`.

    Raises:
        StageSkipped: If the net has no units to remove, or the fraction would remove none or all of a layer.
        UserError: If not exactly one of `sparsity` and `structured` is set.
    """
    require_one_method(sparsity, structured)
    if structured is not None:
        refuse_flags(args, {"pruning": "has no effect together with --structured; remove it"})
    refuse_flags(args, NO_WEIGHTS | {"pruning.sparsity": "use --sparsity instead"})
    with_trust(args)
    path = str(find_checkpoint(reference).resolve())  # `last` will be the new run
    before = supervised(load_run(path), "pruning").net
    config = stage_config(path, "pruning")
    config["weights"] = {"path": path, "narrow": structured is not None}
    if sparsity is not None:
        require_prunable(before.net, sparsity)
        config["pruning"] = {"sparsity": sparsity}
    if structured is not None:
        arguments = config["model"]["init_args"]
        remaining = remaining_units(before.net, structured)
        arguments["net"] = narrowed(arguments.get("net", LINEAR), before.net, remaining)
    require_weights(config, args)
    tested, _ = evaluate(path, data_flags(args))
    result = PrunedNet({f"unpruned/{name}": value for name, value in (tested | sizes(before)).items()})
    metrics = train(args, [result], folder, config)
    metrics |= figures(before, result.net)
    if result.folder is not None:
        write_metrics(result.folder, metrics)
    return metrics


def require_one_method(sparsity: float | None = None, structured: float | None = None) -> None:
    """Raise a UserError unless exactly one of the two fractions is set, and is above 0 and below 1."""
    fractions = [fraction for fraction in (sparsity, structured) if fraction is not None]
    if len(fractions) != 1 or not 0 < fractions[0] < 1:
        raise UserError(
            "set either --sparsity (the weights to set to zero) or --structured (the units to remove), a fraction "
            "above 0 and below 1; to combine them, prune the pruned run again"
        )


class PrunedNet(Callback):
    """Record the metrics of the net before pruning in the run, and keep the net after its test.

    Args:
        before: Metrics of the net before pruning, which are also saved for a resumed run.

    Attributes:
        net: The net with the weights of the best checkpoint.
        folder: Folder of the run; None on processes that do not write it.
    """

    net: Standardized
    folder: Path | None = None

    def __init__(self, before: dict[str, float]) -> None:
        self.before = before

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Record the metrics in the run."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, RunFolder):
                callback.stage_metrics = self.before

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the tested net."""
        self.net = copy.deepcopy(supervised(pl_module, "pruning").net).cpu()
        for callback in trainer.callbacks if trainer.is_global_zero else ():  # type: ignore[attr-defined]
            if isinstance(callback, RunFolder):
                self.folder = callback.path


def data_flags(args: Sequence[str]) -> list[str]:
    """Return the flags, with their values, that decide which rows a net is tested on."""
    kept, wanted = [], False
    for arg in args:
        wanted = arg.startswith(DATA_FLAGS) if arg.startswith("--") else wanted
        kept += [arg] if wanted else []
    return kept


def figures(before: Standardized, after: Standardized) -> dict[str, float]:
    """Return size, and milliseconds per batch on one CPU thread, of a net before and after pruning."""
    nets = {"unpruned": copy.deepcopy(before).cpu(), "pruned": after}  # copies, because a compiled net would be faster
    found = {f"{name}/{key}": value for name, net in nets.items() for key, value in sizes(net).items()}
    functions = [predict_fn(net.eval(), ["outputs"]) for net in nets.values()]
    for rows in LATENCY_ROWS:
        shape = (rows, *before.in_shape)
        x = (torch.zeros(shape, dtype=torch.int64) if before.net.takes_tokens else torch.randn(shape)).numpy()
        times = latencies(functions, [x] * len(nets))
        found |= {f"{name}/milliseconds_{rows}": time for name, time in zip(nets, times, strict=True)}
    return found


@rank_zero_only
def print_pruning(metrics: Mapping[str, float]) -> None:
    """Print size, speed and quality before and after pruning."""
    console, table = open_console(), Table(title="Pruning", title_justify="left")
    table.add_column("")
    for column in ("before", "after", "after / before"):
        table.add_column(column, justify="right")
    pairs = {
        name: (before, metrics[name] if name.startswith("test/") else metrics[f"pruned/{name}"])
        for full, before in metrics.items()
        if full.startswith("unpruned/") and (name := full.removeprefix("unpruned/"))
    }
    for name, (before, after) in pairs.items():
        kind = "#.4g" if name.startswith(("test/", "milliseconds")) else ",.0f"
        ratio = f"{after / before:.2f}" if before else ""
        table.add_row(LABELS.get(name, name), f"{before:{kind}}", f"{after:{kind}}", ratio)
    console.print(table)
    if pairs["parameters"][0] == pairs["parameters"][1]:
        console.print(
            "Zeros are stored and multiplied like other numbers: the file is not smaller, and nothing is faster. "
            f"Compressed, the weights take {pairs['gzip_bytes'][1] / pairs['gzip_bytes'][0]:.2f} of the bytes before."
        )
        return
    for rows in LATENCY_ROWS:
        before, after = pairs[f"milliseconds_{rows}"]
        speed = f"{before / after:.1f} times faster" if before / after >= NOTICEABLE else "no faster"
        console.print(f"Batches of {rows}: {speed} with torch on one thread.")
