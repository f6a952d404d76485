"""A model that predicts, from a run's network or an exported file."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from project.inference.metadata import describe
from project.inference.module import ExportModule, predict_fn
from project.inference.parity import PredictFn
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.serving.artifact import Artifact
from project.serving.metadata import Metadata


class Predictor(NamedTuple):
    """A model that is ready to predict.

    Attributes:
        metadata: Its metadata, as of an exported file.
        names: Names of its outputs: `outputs`, and `probabilities` or `spread` if the model has them.
        predict: Computes every output by name from raw rows (n, *in_shape), float32.
    """

    metadata: Metadata
    names: list[str]
    predict: PredictFn


def is_artifact(reference: str) -> bool:
    """Whether a reference is an exported file that can be read here; torch's own formats are not, as they run code."""
    return reference.lower().endswith(".onnx")


def open_predictor(reference: str, trusted: Sequence[str] | None = (), threads: int = 1) -> Predictor:
    """Open a run or an exported file to predict with it.

    Args:
        reference: A run folder, a checkpoint, `last`, or an `.onnx` file.
        trusted: Modules whose classes a run may name, in addition to the known ones; None keeps those trusted so far.
        threads: Threads of ONNX Runtime.

    Raises:
        UserError: If there is no such run or file, or it is damaged.
    """
    if is_artifact(reference):
        artifact = Artifact(reference, threads)
        return Predictor(artifact.metadata, artifact.outputs, artifact.predict)
    path = find_checkpoint(reference)
    checkpoint = read_checkpoint(path)
    model = load_model(checkpoint, trusted)
    metadata = describe(path, checkpoint, model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = ExportModule(model, metadata["task"] == "classification").to(device).eval()
    return Predictor(metadata, network.names, predict_fn(network, network.names, device))
