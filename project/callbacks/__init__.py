"""Callbacks of the training loop, one in each file."""

from project.callbacks.best_checkpoint import BestCheckpoint
from project.callbacks.dashboards import Dashboards
from project.callbacks.epoch_line import EpochLine
from project.callbacks.epoch_seed import EpochSeed
from project.callbacks.exact_answer import ExactAnswer
from project.callbacks.exact_resume import ExactResume
from project.callbacks.finetuning import Finetuning
from project.callbacks.fit_figure import FitFigure
from project.callbacks.found_settings import FoundSettings
from project.callbacks.hyperparameters import Hyperparameters
from project.callbacks.last_checkpoint import LastCheckpoint
from project.callbacks.pretrained import Pretrained
from project.callbacks.pruning import Pruning
from project.callbacks.reliability_figure import ReliabilityFigure
from project.callbacks.run_folder import RunFolder
from project.callbacks.schedule_checks import ScheduleChecks
from project.callbacks.small_steps import SmallSteps
from project.callbacks.text_answer import TextAnswer
from project.callbacks.text_figure import TextFigure
from project.callbacks.text_sample import TextSample
from project.callbacks.throughput import Throughput

__all__ = [
    "BestCheckpoint",
    "Dashboards",
    "EpochLine",
    "EpochSeed",
    "ExactAnswer",
    "ExactResume",
    "Finetuning",
    "FitFigure",
    "FoundSettings",
    "Hyperparameters",
    "LastCheckpoint",
    "Pretrained",
    "Pruning",
    "ReliabilityFigure",
    "RunFolder",
    "ScheduleChecks",
    "SmallSteps",
    "TextAnswer",
    "TextFigure",
    "TextSample",
    "Throughput",
]
