"""Training from a command line to a report."""

import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping

from project.config.flag_errors import ConstructorError, raised_in
from project.models.linear_regression import LinearRegression
from project.models.supervised import Supervised
from project.nets.sizes import sizes
from project.runs.checkpoint import load_weights, read_checkpoint
from project.runs.folder import BEST, LAST, remove_own_files, write_coefficients, write_metrics
from project.runs.intervals import write_intervals
from project.runs.threshold import write_threshold
from project.runtime.errors import UserError
from project.runtime.logging import quiet_lightning
from project.runtime.signals import Stopped, exit_with_parent, stop_message
from project.training.cli import ExperimentCLI
from project.training.plain_code import test_metrics
from project.training.report import coefficient_table, report
from project.training.residuals import intervals
from project.training.schema_report import print_schema
from project.training.threshold import choose_threshold

# Parts of the messages of gloo, NCCL and torch's store when a process has ended or does not answer.
LOST_PROCESS = (
    *("pair closure", "Connection closed by peer", "Connection reset", "Broken pipe", "Timed out waiting"),
    *("NCCL", "gloo", "TCPStore"),
)
WORKERS = ("DataLoader worker", "DataLoader timed out")  # beginnings of torch's messages about worker processes
FLAGS = {  # that cause an exception, by the module that raised it
    "torch.optim": "--optimizer or --lr_scheduler: ",
    "lightning.pytorch.callbacks": "--trainer.callbacks: ",
    "project.nets": "",
}


def train(
    args: Sequence[str],
    callbacks: Sequence[Callback] = (),
    folder: Path | None = None,
    config: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Fit, test the best checkpoint, write metrics.json, and print a report.

    Args:
        args: Command-line arguments; `--trust MODULE` among them allows configurations to name the module's classes.
        callbacks: Callbacks for this training only, which are not part of the run's configuration.
        folder: Folder of the run; by default that of `--name`, or the next `lightning_logs/version_N`.
        config: A complete configuration, which the args override.

    Returns:
        The content of metrics.json.
    """
    quiet_lightning()
    exit_with_parent()
    cli = ExperimentCLI(args, callbacks, folder, config)
    try:
        if cli.trainer.is_global_zero:
            print_schema(cli.datamodule)
        fit(cli)
        return test_and_report(cli)
    except Stopped as stop:
        if cli.trainer.is_global_zero:
            print(stop_message(stop, cli.trainer.global_step, cli.experiment.run_folder.path), file=sys.stderr)
        sys.exit(128 + stop.signum)
    except BaseException:
        claimed = cli.experiment.claimed
        if claimed is not None and not any(claimed.glob("checkpoints/*.ckpt")):
            remove_own_files(claimed)
        raise
    finally:
        cli.experiment.run_folder.release()


def test_and_report(cli: ExperimentCLI) -> dict[str, float]:
    """Test the best checkpoint, write the metrics and coefficients, and print the report."""
    model, data, trainer, run, exact, text, pretrained, best, _ = cli.experiment
    logged = {name: value.item() for name, value in trainer.callback_metrics.items() if name != "step"}
    if isinstance(model, Supervised):
        logged = {name: value for name, value in logged.items() if name.startswith(("train/", "val/"))}
    if best is not None and best.best_model_path:
        # Not by `trainer.test(ckpt_path=...)`, which loads the weights before averaging if a callback averages them.
        load_weights(model, read_checkpoint(Path(best.best_model_path))["state_dict"])
    chosen = choose_threshold(model, data)
    metrics = logged | test_metrics(trainer, model, data) | pretrained.metrics()
    if exact.gap is not None:
        metrics["gap/train_mse"] = exact.gap
    metrics |= {f"bits_per_byte/{name}": value for name, value in text.bits_per_byte.items()}
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()  # threads that still run at exit sometimes abort the process
    if not trainer.is_global_zero:
        return metrics
    found = intervals(model, data)
    if run.path is not None and (run.seconds or trainer.max_epochs == 0):
        if run.seconds:
            metrics |= {"seconds/fit": run.seconds, "rows_per_second": run.rows * trainer.world_size / run.seconds}
        metrics |= run.stage_metrics
        if any(name.startswith("unpruned/") for name in run.stage_metrics) and isinstance(cli.model, Supervised):
            metrics |= {f"pruned/{name}": value for name, value in sizes(cli.model.net).items()}
        if chosen is not None:
            write_threshold(run.path, chosen.threshold)
        write_metrics(run.path, metrics)
        if isinstance(model, LinearRegression) and model.fit is not None:
            write_coefficients(run.path, coefficient_table(data, model.fit))
        if found is not None:
            write_intervals(run.path, found.half_widths)
    report(model, data, run, exact, text, pretrained, metrics, found, chosen)
    return metrics


def fit(cli: ExperimentCLI) -> None:
    """Fit the model; raise `Stopped` if a signal stopped training."""
    trainer = cli.trainer
    try:
        trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.settings.resumed.checkpoint, weights_only=True)
    except Stopped as stop:
        if stop.signum:
            raise
        complete = "train/loss" in trainer.callback_metrics  # at least one epoch
        if isinstance(cli.model, Supervised) and not complete:
            cli.model.to(trainer.strategy.root_device)  # with the last batches; it is on the CPU now
            cli.model.running.flush()
            values = cli.model.train_metrics.compute()
            trainer.callback_metrics.update({f"train/{name}": value for name, value in values.items()})
        validate_last_steps(cli)
    except (MisconfigurationException, RuntimeError, ValueError, UserWarning, ConstructorError) as error:
        if (kill := getattr(trainer.strategy.launcher, "kill", None)) is not None:
            kill(signal.SIGKILL)  # a process that does not answer ignores SIGTERM, too
        if isinstance(error, ConstructorError):  # of the optimizer or the scheduler
            raise optimizer_error(error.__cause__, cli.settings.config) from error.__cause__
        raise training_error(error, cli.experiment.run_folder.path) or error  # noqa: B904 (a defect keeps its own cause)
    for callback in trainer.early_stopping_callbacks if trainer.is_global_zero else ():
        if isinstance(callback, EarlyStopping) and callback.stopped_epoch:
            reason = (callback.stopping_reason_message or "").removesuffix(" Signaling Trainer to stop.")
            print(f"Stopped early, after epoch {callback.stopped_epoch + 1} of {trainer.max_epochs}: {reason}")
    if trainer.max_epochs == 0:
        keep_untrained(cli)
    elif trainer.global_step == cli.settings.resumed.steps and not cli.settings.resumed.is_finished:
        cli.experiment.run_folder.discard(trainer)
        raise UserError(
            "no step was trained; raise --trainer.max_steps, --trainer.max_time or --trainer.limit_train_batches"
        )


def validate_last_steps(cli: ExperimentCLI) -> None:
    """Validate the weights of a run that a limit ended within an epoch, and keep them if they are the best."""
    trainer, best = cli.trainer, cli.experiment.best
    if best is None:
        return
    logged = dict(trainer.callback_metrics)
    validated = {}
    trained = cli.settings.resumed.is_finished or trainer.global_step != cli.settings.resumed.steps
    if trained and trainer.limit_val_batches:
        trainer.validate(cli.model, cli.datamodule, verbose=False)
        validated = dict(trainer.callback_metrics)
    trainer.callback_metrics.update(logged | validated)
    if not best.keep_last_steps(trainer, validated) and best.best_model_path and trainer.is_global_zero:
        print("tested: the best epoch; without validation, the steps after the last epoch cannot be compared with it")


def keep_untrained(cli: ExperimentCLI) -> None:
    """Save pretrained weights as a run without training them, with their metrics."""
    best, folder = cli.experiment.best, cli.experiment.run_folder.path
    if best is not None and folder is not None:
        for name in (LAST, BEST):
            cli.trainer.save_checkpoint(folder / "checkpoints" / name)
        best.best_model_path = str(folder / "checkpoints" / BEST)
    cli.trainer.validate(cli.model, cli.datamodule, verbose=False)


def optimizer_error(cause: BaseException | None, config: Namespace) -> BaseException:
    """Return a UserError for wrong arguments of the optimizer or the scheduler; other exceptions unchanged."""
    if not isinstance(cause, ValueError | TypeError):
        return cause or RuntimeError("the optimizer was not built")
    decay = "--finetuning.layer_decay, " if config.finetuning.layer_decay != 1 else ""
    return UserError(f"{decay}--optimizer or --lr_scheduler: {cause}")


def training_error(error: Exception, run: Path | None) -> UserError | None:
    """Return a UserError for an exception in training that the user or the machine caused; None for a defect."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, MisconfigurationException | UserWarning):
        return UserError(str(error))
    message, module = str(error), raised_in(error)
    if "shared memory" in message:
        return UserError("--data.num_workers: /dev/shm is full; free some of it, or set it to 0")
    if message.startswith(WORKERS) or "Communication with the workers" in message:
        return UserError(f"--data.num_workers: {message.splitlines()[0]}; set it to 0")
    if "EADDRINUSE" in message:
        port = os.environ.get("MASTER_PORT")
        return UserError(f"MASTER_PORT {port}: another process listens there; set it to another port")
    lost = next((text for text in LOST_PROCESS if text in message), None)
    if lost is None and module.startswith("torch.distributed"):
        lost = message.splitlines()[0] if message else type(error).__name__
    if lost and dist.is_available() and dist.is_initialized():
        hint = f"; resume with --ckpt_path {shlex.quote(str(run))}" if run is not None else ""
        return UserError(f"a training process ended or does not answer ({lost}){hint}")
    if message.startswith("Error(s) in loading state_dict"):
        return UserError(f"the checkpoint's weights belong to another network: {message.splitlines()[1].strip()}")
    flag = next((flag for name, flag in FLAGS.items() if module.startswith(name)), None)
    return None if flag is None else UserError(flag + message)
