"""Log a sample of text of a language model at each validation."""

from textwrap import indent
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy

from project.models.language_model import LanguageModel
from project.models.next_logits import TorchLogits
from project.text.writing import Writing, generate_texts

TOKENS = 64


class TextSample(Callback):
    """Write 64 tokens after the start of a document to TensorBoard at each validation, as `sample`.

    They are drawn as `scripts/generate.py` draws them, with the same random numbers each time, so that samples differ
    by what was learned in between. There are none where the weights are divided among processes.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the sample."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        data: Any = getattr(trainer, "datamodule", None)
        is_divided = isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy)
        known = isinstance(pl_module, LanguageModel) and hasattr(data, "tokenizer")
        if not loggers or not known or trainer.sanity_checking or is_divided or not trainer.is_global_zero:
            return
        [sample] = generate_texts(
            "", TorchLogits(pl_module.net.net, *data.in_shape), data.tokenizer, Writing(max_tokens=TOKENS)
        )
        for logger in loggers:
            logger.experiment.add_text(
                "sample", indent(sample.text, "    "), trainer.global_step - 1
            )  # as Markdown: code
