"""One trial of a sweep: a training that reports to Optuna."""

import contextlib
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer

from project.callbacks.exact_resume import KEY
from project.runs.checkpoint import read_checkpoint
from project.runs.folder import find_checkpoint, remove_own_files
from project.runtime.errors import UserError, is_machine_error
from project.sweep.ranges import as_args
from project.sweep.settings import Settings
from project.training.train import train

if TYPE_CHECKING:
    from optuna import Trial

# A trial that killed this many processes without finishing an epoch in between would kill the next one, too.
MAX_STARTS = 3


def run_of(folder: Path, number: int) -> Path:
    """Return the run folder of a trial."""
    return folder / f"trial_{number}"


def run_trial(trial: "Trial", folder: Path, settings: Settings) -> None:
    """Train a trial, from its last checkpoint if it has one, and store its value or error in the study.

    A problem of the machine, such as a full disk, ends the sweep and not the trial.
    """
    from optuna.trial import TrialState

    study, run = trial.study, run_of(folder, trial.number)
    chosen = as_args({flag: trial.params[flag] for flag in settings["search"]})
    args = [*settings["args"], *settings["trust"], *chosen]
    reported = len(study.get_trials(deepcopy=False)[trial.number].intermediate_values)
    starts = [*trial.user_attrs.get("starts", []), reported]
    set_user_attr(trial, "starts", starts)
    try:
        if starts.count(reported) > MAX_STARTS:
            raise UserError(f"its process died {MAX_STARTS} times without finishing an epoch in between")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            train_run(args, run, TrialPruning(trial, settings["metric"]))
        study.tell(trial, best_value(run, settings["metric"]), skip_if_finished=True)
    except (SystemExit, OSError):
        set_user_attr(trial, "starts", starts[:-1])
        raise
    except (UserError, MemoryError, RuntimeError) as error:
        if is_machine_error(error):  # the same trial may succeed later
            set_user_attr(trial, "starts", starts[:-1])
            raise
        if not isinstance(error, UserError | MemoryError) and "memory" not in str(error):
            raise
        set_user_attr(trial, "error", " ".join(str(error).split()))
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def set_user_attr(trial: "Trial", name: str, value: object) -> None:
    """Set an attribute of a trial, unless the trial was pruned, after which Optuna allows no change."""
    from optuna.exceptions import UpdateFinishedTrialError

    with contextlib.suppress(UpdateFinishedTrialError):
        trial.set_user_attr(name, value)


def train_run(args: list[str], run: Path, callback: Callback) -> None:
    """Train and test a run, or resume the training of an earlier process."""
    if (run / "metrics.json").exists():
        return
    if any(run.glob("checkpoints/*.ckpt")):
        args = [*args, f"--ckpt_path={run}"]
    else:
        remove_own_files(run)
    train(args, [callback], run)


def best_value(run: Path, metric: str) -> float:
    """Return the value of a metric in the best checkpoint of a run."""
    metrics = read_checkpoint(find_checkpoint(str(run)))[KEY]["metrics"]
    if metric not in metrics:
        raise UserError(f"its best checkpoint has no metric {metric!r}")
    return metrics[metric].item()


class TrialPruning(Callback):
    """Report a metric to Optuna after each epoch, and stop the training if Optuna prunes the trial.

    The training stops as with `EarlyStopping`: the run is tested and complete.
    """

    def __init__(self, trial: "Trial", metric: str) -> None:
        self.trial, self.metric = trial, metric

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the metric, and stop before the next epoch if Optuna prunes the trial."""
        from optuna.trial import TrialState

        if trainer.should_stop or self.metric not in trainer.callback_metrics:
            return
        value, epoch = trainer.callback_metrics[self.metric].item(), trainer.current_epoch
        if not math.isfinite(value):
            raise UserError(f"{self.metric} is {value} in epoch {epoch + 1}")
        self.trial.report(value, epoch)
        if epoch + 1 != trainer.max_epochs and self.trial.should_prune():
            self.trial.study.tell(self.trial, state=TrialState.PRUNED)
            trainer.should_stop = True
