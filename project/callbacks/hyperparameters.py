"""Hyperparameters in every logger, and beside the test metrics in TensorBoard's HParams tab, where runs compare."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.config.yaml import SECTIONS, flatten


class Hyperparameters(Callback):
    """Logs what a run was made of.

    Args:
        config: The configuration, nested; of it all is logged but the Trainer and what belongs to a single fit.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.values = flatten({section: config.get(section) for section in SECTIONS})

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell every logger."""
        if stage == "fit":
            for logger in trainer.loggers:
                logger.log_hyperparams(self.values)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tie the values to the test metrics; the points themselves have been logged, and are not logged again."""
        metrics = [name for name in trainer.callback_metrics if name.startswith("test/")]
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
                from torch.utils.tensorboard.summary import hparams

                for summary in hparams(self.values, dict.fromkeys(metrics, 0.0)):
                    logger.experiment.file_writer.add_summary(summary)
