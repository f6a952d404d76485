"""A model that predicts, from a run's network or an exported file, with named outputs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from project.inference.metadata import describe
from project.inference.parity import PredictFn
from project.models.network import network
from project.nets.scaling import Standardized
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.address import local_path
from project.runtime.errors import UserError
from project.serving.artifact import BATCH_ROWS, Array
from project.serving.metadata import GENERATE, LANGUAGE, Metadata
from project.serving.text_artifact import load_artifact


class Predictor(NamedTuple):
    """A model that is ready to predict, with the metadata of an exported file."""

    metadata: Metadata
    names: list[str]  # of its outputs: `outputs`, and `probabilities` or `spread` if the model has them
    predict: PredictFn  # computes every output by name from raw rows (n, *in_shape), float32


class ExportModule(nn.Module):
    """A network that computes every output of an exported file.

    Attributes:
        names: `outputs`; `probabilities` for classes; `spread` over the members of an ensemble.
    """

    def __init__(self, net: Standardized, classifies: bool) -> None:
        super().__init__()
        self.net, self.classifies, self.has_spread = net, classifies, hasattr(net.net, "spread")
        self.names = ["outputs", *["probabilities"] * classifies, *["spread"] * self.has_spread]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x (B, *in_shape) -> (B, out_features) for each of `names`."""
        outputs = [self.net(x)]
        if self.classifies:
            outputs.append(outputs[0].softmax(1))
        if self.has_spread:
            outputs.append(self.net.spread(x))
        return tuple(outputs)


def export_module(model: LightningModule, metadata: Metadata) -> ExportModule:
    """Return a model's network as an exported file has it, in evaluation mode."""
    net = network(model, tuple(metadata["in_shape"]), metadata["out_features"])
    return ExportModule(net, metadata["task"] == "classification").eval()


def predict_fn(
    module: Callable[[Tensor], Tensor | Sequence[Tensor]], names: Sequence[str] = ("outputs",), device: str = "cpu"
) -> PredictFn:
    """Turn a module into a function from any number of rows (n, *in_shape) to its outputs by name.

    The module, in evaluation mode on `device`, returns one tensor, or one for each name.
    """

    @torch.inference_mode()
    def predict(x: Array) -> dict[str, Array]:
        rows = torch.tensor(x if len(x) else np.zeros((1, *x.shape[1:]), np.float32))  # some nets reject an empty batch
        parts = [module(part.to(device)) for part in rows.split(BATCH_ROWS)]
        columns = zip(*((part,) if isinstance(part, Tensor) else part for part in parts), strict=True)
        arrays = [torch.cat(column)[: len(x)].cpu().numpy() for column in columns]
        return dict(zip(names, arrays, strict=True))

    return predict


def is_artifact(reference: str) -> bool:
    """Whether a reference is an exported file that can be read here; torch's own formats are not, as they run code."""
    return reference.lower().endswith(".onnx")


def require_rows(reference: str | Path, metadata: Metadata) -> None:
    """Raise a UserError if a model predicts no rows."""
    if metadata["task"] == LANGUAGE:
        raise UserError(f"{reference}: a language model predicts no rows; {GENERATE}")


def open_predictor(reference: str, trusted: Sequence[str] | None = (), threads: int = 1) -> Predictor:
    """Open a run or an exported file to predict with it; raise a UserError if it is missing or damaged.

    Args:
        reference: A run folder, a checkpoint, `last`, or an `.onnx` file.
        trusted: Modules whose classes a run may name, in addition to the known ones; None keeps those trusted so far.
        threads: Threads of ONNX Runtime.
    """
    if is_artifact(reference):
        artifact = load_artifact(local_path(reference), threads)
        return Predictor(artifact.metadata, artifact.outputs, artifact.predict)
    path = find_checkpoint(reference)
    checkpoint = read_checkpoint(path)
    model = load_model(checkpoint, trusted)
    metadata = describe(path, checkpoint, model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = export_module(model, metadata).to(device)
    return Predictor(metadata, module.names, predict_fn(module, module.names, device))
