"""A short fit with the callbacks under test, and a logger that keeps what is logged."""

from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from project.data import SyntheticDataModule
from project.models import Regression
from project.nets import MLP


class MemoryLogger(Logger):
    """Keeps metrics by name and step, and hyperparameters."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, dict[int, float]] = {}
        self.hyperparams: Any = None

    name, version = "memory", 0

    def log_metrics(self, metrics, step=None):
        for name, value in metrics.items():
            self.metrics.setdefault(name, {})[step] = float(value)

    def log_hyperparams(self, params, *_, **__):
        self.hyperparams = params


def small_data(**options: Any) -> SyntheticDataModule:
    """Return 60 training rows of two features in 6 batches."""
    return SyntheticDataModule(**{"rows": 60, "features": 2, "batch_size": 10, "val_rows": 20} | options)


def small_mlp(data: SyntheticDataModule, dropout: float = 0.0) -> Regression:
    """Return a model with two hidden layers of four units, with the same weights at every call."""
    torch.manual_seed(0)
    return Regression(data.in_shape, data.out_features, net=lambda *shapes: MLP(*shapes, [4, 4], dropout=dropout))


def fit(
    *callbacks: Callback,
    model: LightningModule | None = None,
    data: SyntheticDataModule | None = None,
    lr: float = 0.1,
    ckpt_path: Any = None,
    **options: Any,
) -> Trainer:
    """Fit a linear model, or the given one, for three epochs."""
    data = data or small_data()
    model = model or Regression(data.in_shape, data.out_features)
    model.optimizer = partial(torch.optim.SGD, lr=lr)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "accelerator": "cpu"}
    trainer = Trainer(**quiet | {"max_epochs": 3, "callbacks": list(callbacks)} | options)
    trainer.fit(model, data, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return trainer
