"""Show in TensorBoard, besides the curves: charts of several curves, the configuration, and the network."""

import re
from textwrap import indent
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.callbacks.exact_answer import MAX_CURVES, coefficient_names
from project.callbacks.run_folder import RunFolder
from project.data.datamodule import RowsDataModule
from project.models.language_model import LanguageModel
from project.models.regression import Regression

Layout = dict[str, dict[str, list[Any]]]


class Dashboards(Callback):
    """At the start of a run, write its configuration and its network as text, and charts for the tab Custom Scalars.

    A chart shows the losses of training and validation together, or a learned coefficient with its exact value.

    Args:
        run_folder: The callback that holds the configuration.
    """

    def __init__(self, run_folder: RunFolder) -> None:
        self.run_folder = run_folder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write texts and charts."""
        if trainer.global_step or not trainer.is_global_zero:
            return
        layout = charts(pl_module, getattr(trainer, "datamodule", None))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                writer = logger.experiment
                writer.add_text("configuration", indent(self.run_folder.config, "    "))  # as Markdown: code
                writer.add_text("network", indent(str(getattr(pl_module, "net", pl_module)), "    "))
                writer.add_custom_scalars(layout)


def charts(model: LightningModule, data: Any) -> Layout:
    """Return the charts of a model, in TensorBoard's form: by section and title, the patterns of their curves."""
    sections: Layout = {"Loss": {"training and validation": _chart("train/loss", "val/loss")}}
    if isinstance(model, LanguageModel):
        curves = _chart("val/bits_per_byte", "val/bits_per_byte of Kneser-Ney")
        sections["Bits per byte"] = {"this model and n-grams": curves}
    if isinstance(model, Regression) and isinstance(data, RowsDataModule) and model.equation is not None:
        # TensorBoard leaves curves with parentheses in their names out of these charts.
        names = [name for name in coefficient_names(data)[:MAX_CURVES] if "(" not in name]
        found = {name: _chart(f"equation/{name}", f"equation/{name} exact") for name in names}
        sections["Learned and exact coefficients"] = found
    return sections


def _chart(*curves: str) -> list[Any]:
    return ["Multiline", [f"^{re.escape(name)}$" for name in curves]]
