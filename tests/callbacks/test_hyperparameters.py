from types import SimpleNamespace

import torch
from lightning.pytorch.loggers import TensorBoardLogger

from project.callbacks import Hyperparameters
from project.config.plain_data import flatten
from tests.callbacks.fitting import MemoryLogger, fit

CONFIG = {
    "model": {"class_path": "a.b.Net", "init_args": {"hidden": [1, 2], "act": None}},
    "seed_everything": 0,
    "trainer": {"max_epochs": 3},
    "ckpt_path": "last",
}
VALUES = {"model": "Net", "model.hidden": "[1, 2]", "seed_everything": 0}


def test_every_logger_gets_the_settings_without_those_of_the_trainer():
    loggers = [MemoryLogger(), MemoryLogger()]
    fit(Hyperparameters(CONFIG), logger=loggers, max_epochs=1)
    assert [logger.hyperparams for logger in loggers] == [VALUES, VALUES]


def test_test_metrics_alone_are_linked_to_the_settings(tmp_path):
    logger, summaries = TensorBoardLogger(tmp_path), []
    logger.experiment.file_writer.add_summary = summaries.append
    metrics = {"test/mse": torch.tensor(1.0), "val/mse": torch.tensor(2.0)}
    trainer = SimpleNamespace(callback_metrics=metrics, loggers=[logger], is_global_zero=True)
    Hyperparameters(CONFIG).on_test_end(trainer, SimpleNamespace())
    text = "".join(map(str, summaries))
    assert "test/mse" in text
    assert "val/mse" not in text
    assert all(name in text for name in VALUES)


def test_hyperparameters_are_flat_short_and_without_none():
    config = {name: CONFIG[name] for name in ("model", "seed_everything")} | {"scheduler": None}
    assert flatten(config) == VALUES
