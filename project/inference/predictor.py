"""What answers, whatever it lies in: a run's network, or an exported file."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from project.inference.metadata import describe
from project.inference.module import ExportModule, predict_fn
from project.inference.parity import Answer
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.serving.artifact import Artifact, Metadata


class Predictor(NamedTuple):
    """A model that is ready to answer.

    Attributes:
        metadata: What it is.
        names: Of the outputs that it gives: `outputs`, and `probabilities` or `spread` where there are any.
        answer: Turns raw rows (n, *in_shape), float32, into every output by name.
    """

    metadata: Metadata
    names: list[str]
    answer: Answer


def is_artifact(reference: str) -> bool:
    """Whether a user's args mean an exported file that can be read here: no code of torch's formats is run."""
    return reference.lower().endswith(".onnx")


def open_predictor(reference: str, trusted: Sequence[str] | None = (), threads: int = 1) -> Predictor:
    """A model by a user's args.

    Args:
        reference: A run folder, a checkpoint, `last`, or an `.onnx` file.
        trusted: Modules whose classes a run may name, beside the known ones; None leaves them as they were granted.
        threads: Of ONNX Runtime.

    Raises:
        UserError: If there is none, or it is damaged.
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
