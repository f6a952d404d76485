"""Log hyperparameters to every logger, and next to the test metrics in TensorBoard's HParams tab."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.config.plain_data import flatten
from project.config.yaml import run_settings
from project.runtime.address import remove_credentials


class Hyperparameters(Callback):
    """Log the configuration of a run, except the sections of the Trainer and of a single fit."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.choose(config)

    def choose(self, config: Mapping[str, Any]) -> None:
        """Use another configuration."""
        self.values = flatten(remove_credentials(run_settings(config)))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the hyperparameters to every logger."""
        for logger in trainer.loggers:
            logger.log_hyperparams(self.values)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Link the hyperparameters to the test metrics, whose values Lightning has logged already."""
        metrics = [name for name in trainer.callback_metrics if name.startswith("test/")]
        for logger in trainer.loggers if metrics else ():
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                from torch.utils.tensorboard.summary import hparams

                for summary in hparams(self.values, dict.fromkeys(metrics, 0.0)):
                    logger.experiment.file_writer.add_summary(summary)
