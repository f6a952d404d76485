"""The user's callbacks, as a run can use them."""

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


def user_callbacks(config: Namespace, resumed: bool, finished: bool) -> list[Callback]:
    """Those that a Trainer's section names or implies.

    Args:
        config: The section; a limit of time in it becomes a callback.
        resumed: Whether a run goes on.
        finished: Whether it has nothing left to train.

    Raises:
        UserError: If one of them cannot go on.
    """
    given = config.callbacks or []
    given = given if isinstance(given, list) else [given]
    if config.max_time is not None:
        given, config.max_time = [*given, Timer(config.max_time, verbose=False)], None
    for callback in given:
        if isinstance(callback, Timer):  # by steps, it would have Lightning end the epoch as if it were whole
            callback._interval = "epoch"
        if isinstance(callback, StochasticWeightAveraging) and resumed and not finished:
            raise UserError(
                "--trainer.callbacks StochasticWeightAveraging: Lightning does not resume its averages exactly: "
                "train anew, or with EMAWeightAveraging"
            )
    if config.enable_progress_bar and shows_widgets() and not any(isinstance(c, ProgressBar) for c in given):
        given = [*given, TQDMProgressBar()]  # rich's, Lightning's first choice, is cut off in a cell
    if resumed:  # what they look for has been found
        given = [c for c in given if not isinstance(c, LearningRateFinder | BatchSizeFinder)]
    return given
