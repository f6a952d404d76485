"""Collect the callbacks that the user has configured, adapted so that a run with them can be resumed."""

from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    LearningRateFinder,
    ProgressBar,
    StochasticWeightAveraging,
    Timer,
    TQDMProgressBar,
)

from project.runtime.console import shows_widgets
from project.runtime.errors import UserError


def stop_timers_after_epochs(trainer: Namespace) -> None:
    """Change the interval of every `Timer` in the `trainer` section of a configuration.

    With `step`, Lightning would end the epoch as if it were complete; `LastCheckpoint` stops within an epoch.
    """
    callbacks = trainer.callbacks or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if callback.class_path == "lightning.pytorch.callbacks.Timer":
            callback.init_args.interval = "epoch"


def user_callbacks(config: Namespace, resumed: bool, finished: bool) -> list[Callback]:
    """Return the callbacks that the `trainer` section of a configuration names or implies, a `Timer` for `max_time`.

    `finished` says that the resumed run has no epochs left to train. Raise a UserError if a callback cannot be resumed.
    """
    callbacks = config.callbacks or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    if config.max_time is not None:
        callbacks, config.max_time = [*callbacks, Timer(config.max_time, interval="epoch", verbose=False)], None
    for callback in callbacks:
        if isinstance(callback, StochasticWeightAveraging) and resumed and not finished:
            raise UserError(
                "--trainer.callbacks StochasticWeightAveraging: Lightning does not resume its averages exactly; "
                "use EMAWeightAveraging, or train from the start"
            )
    if config.enable_progress_bar and shows_widgets() and not any(isinstance(c, ProgressBar) for c in callbacks):
        callbacks = [*callbacks, TQDMProgressBar()]  # a notebook cell cuts off RichProgressBar, Lightning's default
    if resumed:  # the run has its learning rate and batch size already
        callbacks = [c for c in callbacks if not isinstance(c, LearningRateFinder | BatchSizeFinder)]
    return callbacks
