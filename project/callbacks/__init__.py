"""What happens around the training loop: one small idea a file."""

from project.callbacks.checkpoint import RunCheckpoint
from project.callbacks.epoch_line import EpochLine
from project.callbacks.epoch_seed import EpochSeed
from project.callbacks.exact_answer import ExactAnswer
from project.callbacks.fit_figure import FitFigure
from project.callbacks.hyperparameters import Hyperparameters
from project.callbacks.run_folder import RunFolder

__all__ = ["EpochLine", "EpochSeed", "ExactAnswer", "FitFigure", "Hyperparameters", "RunCheckpoint", "RunFolder"]
