"""What a network says about rows, by name, as an exported file says it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from project.inference.parity import Answer
from project.models.supervised import Supervised
from project.serving.artifact import BATCH_ROWS, Array


class ExportModule(nn.Module):
    """All that a model has to say about rows.

    Args:
        model: Trained, in evaluation mode.
        classifies: Whether its outputs are logits.

    Attributes:
        names: `outputs`; `probabilities` of classes; `spread` over the members of an ensemble.
    """

    def __init__(self, model: Supervised, classifies: bool) -> None:
        super().__init__()
        self.net, self.classifies, self.spreads = model.net, classifies, hasattr(model.net.net, "spread")
        self.names = ["outputs", *["probabilities"] * classifies, *["spread"] * self.spreads]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x (B, *in_shape) -> (B, out_features) for each of `names`."""
        outputs = self.net(x)
        answers = [outputs]
        if self.classifies:
            answers.append(outputs.softmax(1))
        if self.spreads:
            spread: Any = self.net.net.spread
            answers.append(spread(self.net.inputs(x)) * self.net.targets.std)
        return tuple(answers)


def predict_fn(module: Callable[[Tensor], Sequence[Tensor]], names: Sequence[str], device: str = "cpu") -> Answer:
    """What a module says, by name, to any number of rows."""

    @torch.inference_mode()
    def answer(x: Array) -> dict[str, Array]:
        rows = torch.tensor(x if len(x) else np.zeros((1, *x.shape[1:]), np.float32))  # not every net takes none
        parts = [module(part.to(device)) for part in rows.split(BATCH_ROWS)]
        columns = [torch.cat(column)[: len(x)].cpu().numpy() for column in zip(*parts, strict=True)]
        return dict(zip(names, columns, strict=True))

    return answer
