"""Log the tokens per second of a language model's training, and the share of the device's peak that it uses."""

import math
import time
from typing import Any

import torch
from lightning.fabric.utilities.throughput import get_available_flops
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from project.models.language_model import LanguageModel
from project.nets.gpt import GPT
from project.nets.lora import LoRA
from project.nets.quantized import QuantizedLinear

PRECISIONS = {"16": torch.float16, "bf16": torch.bfloat16, "64": torch.float64}


class Throughput(Callback):
    """Log `tokens_per_second` of the training steps since the last validation, and `mfu` if the peak is known.

    Model FLOPs utilisation (MFU) is the number of operations that the model needs divided by the number that the device
    could do in the same time; recomputed activations do not count. Lightning knows the peak of many GPUs by name.
    """

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None  # time and trained tokens; None within a resumed epoch
        self._peak: float | None = None  # floating-point operations per second of one device

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look up the peak of the device."""
        if pl_module.device.type == "cuda" and isinstance(pl_module, LanguageModel):
            dtype = PRECISIONS.get(str(trainer.precision).partition("-")[0], torch.float32)
            self._peak = get_available_flops(pl_module.device, dtype)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._begin(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the speed."""
        self._log(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock again."""
        self._begin(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the speed of the steps after the last validation."""
        self._log(trainer, pl_module)

    def _begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, LanguageModel) and not trainer.sanity_checking:
            self._start = time.perf_counter(), trained_tokens(trainer, pl_module)

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._start is None or not isinstance(pl_module, LanguageModel):
            return
        seconds, tokens = time.perf_counter() - self._start[0], trained_tokens(trainer, pl_module) - self._start[1]
        if not tokens:  # the end of an epoch just after a validation
            return
        curves = {"tokens_per_second": tokens / seconds}
        flops = flops_per_token(pl_module.net.net, pl_module.net.net.in_shape[0])
        if self._peak is not None and flops is not None:
            curves["mfu"] = curves["tokens_per_second"] / trainer.world_size * flops / self._peak
        for logger in trainer.loggers:
            logger.log_metrics(curves, step=trainer.global_step - 1)  # at which Lightning logs the other metrics


def trained_tokens(trainer: Trainer, model: LanguageModel) -> int:
    """Return the number of tokens that all processes have trained on, those after the end of a text included."""
    return model.running.rows * model.net.net.in_shape[0] * trainer.world_size


def flops_per_token(net: nn.Module, length: int) -> float | None:
    """Return the floating-point operations of a training step for each token of a sequence; None if it is not a `GPT`.

    A weight takes a multiplication and an addition in the forward pass, as many for the gradient of its input, and as
    many for its own if it is trained.

    Source: Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways" (2022), appendix B.
    """
    gpt = net.net if isinstance(net, LoRA) else net
    if not isinstance(gpt, GPT):
        return None
    looked_up = [] if gpt.positions is None else [gpt.positions.weight]
    looked_up += [] if gpt.head.weight is gpt.embedding.weight else [gpt.embedding.weight]
    skipped = {id(weight) for weight in looked_up}
    weights = [weight for weight in net.parameters() if weight.ndim > 1 and id(weight) not in skipped]
    products = sum((6 if weight.requires_grad else 4) * weight.numel() for weight in weights)
    products += sum(4 * math.prod(layer.shape) for layer in net.modules() if isinstance(layer, QuantizedLinear))
    attention: Any = gpt.blocks[0].get_submodule("attention")
    return products + 12 * len(gpt.blocks) * attention.heads * attention.head_width * length
