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

    The sampling and its seed are the defaults of `scripts/generate.py`, so samples differ only by what was learned.
    Strategies that shard the weights get no samples.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the sample."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        data: Any = getattr(trainer, "datamodule", None)
        is_divided = isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy)
        is_skipped = is_divided or trainer.sanity_checking or not trainer.is_global_zero
        if not loggers or is_skipped or not isinstance(pl_module, LanguageModel) or not hasattr(data, "tokenizer"):
            return
        next_logits = TorchLogits(pl_module.net.net, *data.in_shape)
        [sample] = generate_texts("", next_logits, data.tokenizer, Writing(max_tokens=TOKENS))
        code = indent(sample.text, "    ", lambda line: True)  # in Markdown
        for logger in loggers:
            logger.experiment.add_text("sample", code, trainer.global_step - 1)
