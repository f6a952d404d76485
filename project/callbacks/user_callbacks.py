"""Collect the callbacks that the user has configured, adapted so that a run with them can be resumed."""

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    LearningRateFinder,
    ModelPruning,
    OnExceptionCheckpoint,
    ProgressBar,
    SpikeDetection,
    StochasticWeightAveraging,
    Timer,
)

from project.callbacks.epoch_bar import EpochBar
from project.runtime.errors import UserError

REFUSED = {
    ModelPruning: "checkpoints lack its masks, so the run could not be resumed; use --pruning.sparsity",
    OnExceptionCheckpoint: (
        "with it, Lightning resumes from any checkpoint that it finds instead of starting a new run; remove it: "
        "a stopped run has a last.ckpt anyway"
    ),
}
REFUSED_IF_RESUMED = {
    StochasticWeightAveraging: (
        "Lightning does not restore its averages exactly; use EMAWeightAveraging, or train from the start"
    ),
    SpikeDetection: "Lightning cannot restore its state; resume with --trainer.callbacks null, or train from the start",
}


def stop_timers_after_epochs(trainer: Namespace) -> None:
    """Change the interval of every `Timer` in the `trainer` section of a configuration.

    With `step`, Lightning would end the epoch as if it were complete; `LastCheckpoint` stops within an epoch.
    """
    callbacks = trainer.callbacks or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if callback.class_path == "lightning.pytorch.callbacks.Timer":
            callback.init_args.interval = "epoch"


def user_callbacks(config: Namespace, model: LightningModule, resumed: bool, finished: bool) -> list[Callback]:
    """Return the callbacks that the `trainer` section of a configuration names or implies, a `Timer` for `max_time`.

    `finished` says that the resumed run is not trained any further. Raise a UserError if a callback cannot be resumed.
    """
    callbacks = config.callbacks or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    if config.max_time is not None:
        callbacks, config.max_time = [*callbacks, Timer(config.max_time, interval="epoch", verbose=False)], None
    for callback in callbacks:
        if problem := _problem(callback, model, resumed and not finished):
            raise UserError(f"--trainer.callbacks {type(callback).__name__}: {problem}")
    if config.enable_progress_bar and not any(isinstance(callback, ProgressBar) for callback in callbacks):
        callbacks = [*callbacks, EpochBar()]
    if resumed:  # the run has its learning rate and batch size already
        callbacks = [c for c in callbacks if not isinstance(c, LearningRateFinder | BatchSizeFinder | SpikeDetection)]
    return callbacks


def _problem(callback: Callback, model: LightningModule, is_continued: bool) -> str | None:
    """Return why a run with a callback could not be resumed exactly; None if it can."""
    if isinstance(callback, BackboneFinetuning) and not hasattr(model, "backbone"):
        return f"{type(model).__name__} has no `backbone`; use --finetuning.freeze"
    refused: dict[type[Callback], str] = REFUSED | (REFUSED_IF_RESUMED if is_continued else {})
    return next((problem for kind, problem in refused.items() if isinstance(callback, kind)), None)
