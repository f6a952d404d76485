"""A model as one network with named outputs, as an exported file computes them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from project.inference.parity import PredictFn
from project.models.supervised import Supervised
from project.serving.artifact import BATCH_ROWS, Array


class ExportModule(nn.Module):
    """A network that computes every output of an exported file.

    Args:
        model: Trained, in evaluation mode.
        classifies: Whether its outputs are logits.

    Attributes:
        names: `outputs`; `probabilities` for classes; `spread` over the members of an ensemble.
    """

    def __init__(self, model: Supervised, classifies: bool) -> None:
        super().__init__()
        self.net, self.classifies, self.has_spread = model.net, classifies, hasattr(model.net.net, "spread")
        self.names = ["outputs", *["probabilities"] * classifies, *["spread"] * self.has_spread]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x (B, *in_shape) -> (B, out_features) for each of `names`."""
        logits_or_targets = self.net(x)
        outputs = [logits_or_targets]
        if self.classifies:
            outputs.append(logits_or_targets.softmax(1))
        if self.has_spread:
            spread: Any = self.net.net.spread
            outputs.append(spread(self.net.inputs(x)) * self.net.targets.std)
        return tuple(outputs)


def predict_fn(
    module: Callable[[Tensor], Tensor | Sequence[Tensor]], names: Sequence[str] = ("outputs",), device: str = "cpu"
) -> PredictFn:
    """Turn a module into a function from any number of rows (n, *in_shape) to its outputs by name.

    Args:
        module: In evaluation mode; returns one tensor, or one for each name.
        names: Names of the outputs.
        device: Where the module is.
    """

    @torch.inference_mode()
    def predict(x: Array) -> dict[str, Array]:
        rows = torch.tensor(x if len(x) else np.zeros((1, *x.shape[1:]), np.float32))  # some nets reject an empty batch
        parts = [module(part.to(device)) for part in rows.split(BATCH_ROWS)]
        columns = zip(*((part,) if isinstance(part, Tensor) else part for part in parts), strict=True)
        arrays = [torch.cat(column)[: len(x)].cpu().numpy() for column in columns]
        return dict(zip(names, arrays, strict=True))

    return predict
