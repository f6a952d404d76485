"""Export a run as one file that does not need this project, after checking it against the network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule

from project.config.trust import with_trust
from project.exporting.adapter import write_adapter
from project.exporting.formats import WRITERS, require_onnx, write
from project.exporting.peft import write_peft
from project.exporting.public import FOLDER, GGUF_FORMATS, write_folder, write_gguf
from project.exporting.text_export import check_text_onnx, test_rows, write_text_onnx
from project.inference.metadata import describe, run_folder
from project.inference.open_run import open_rows
from project.inference.parity import BATCHES, require_parity
from project.inference.predictor import export_module, predict_fn
from project.models.network import network
from project.models.supervised import Supervised
from project.runs.checkpoint import CONFIG_KEY, DATA_KEY, load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.runtime.files import atomic_write, check_output
from project.serving.metadata import LANGUAGE, Metadata

WEIGHTS, ADAPTER, PEFT = "safetensors", "adapter", "peft"
FORMATS = [*WRITERS, WEIGHTS, ADAPTER, PEFT, FOLDER, *GGUF_FORMATS]


class Exported(NamedTuple):
    """A file that was written, and how much it differs from the network.

    Attributes:
        path: The file, or the folder.
        difference: The largest difference of its outputs, relative to the largest output; of public weights, that of
            its weights, relative to the largest weight of a tensor.
    """

    path: Path
    difference: float


def export(reference: str, destination: Path | None = None, format: str = "onnx", args: Sequence[str] = ()) -> Exported:
    """Write a run's network to a file, after checking that its outputs for test rows are the network's.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        destination: The file; by default `model.onnx` or similar in the run's folder.
        format: One of `FORMATS`.
        args: Flags of scripts/train.py that override the run's own, such as `--data.path moved.csv`.

    Raises:
        UserError: If the reference is not a run, its test rows cannot be read, or the file's outputs would differ.
    """
    if format not in FORMATS:
        raise UserError(f"--format: must be one of {', '.join(FORMATS)}, got {format!r}")
    if format == "onnx":
        require_onnx()
    found = find_checkpoint(reference)
    names = {ADAPTER: "adapter.safetensors", FOLDER: FOLDER, PEFT: PEFT} | dict.fromkeys(GGUF_FORMATS, "model.gguf")
    path = destination or run_folder(found) / names.get(format, f"model.{format}")
    if format not in WRITERS and (others := with_trust(args)):
        raise UserError(f"{others[0]}: --format {format} needs no data; remove it")
    checkpoint = read_checkpoint(found)
    if format == PEFT:
        return Exported(path, write_peft(path, checkpoint))
    if format == FOLDER:
        return Exported(path, write_folder(path, checkpoint))
    check_output(path, [Path(names.get(format, f"model.{format}")).suffix])
    with atomic_write(path) as temporary:
        if format in GGUF_FORMATS:
            return Exported(path, write_gguf(temporary, checkpoint, GGUF_FORMATS[format]))
        if format in (WEIGHTS, ADAPTER):
            if format == ADAPTER:
                write_adapter(temporary, checkpoint)
            else:
                _write_weights(temporary, load_model(checkpoint, trusted=None), checkpoint)
            return Exported(path, 0.0)
        run = open_rows(reference, args, "to compare outputs on")
        model = load_model(checkpoint, trusted=None)
        metadata = describe(found, checkpoint, model)
        if metadata["task"] == LANGUAGE:
            return Exported(path, _export_text(temporary, format, model, metadata, run.datamodule))
        rows = run.datamodule.splits.test.first(max(BATCHES)).contiguous()
        module = export_module(model, metadata)
        metadata, predict = write(format, temporary, module, metadata, rows[torch.arange(2) % len(rows)])
        expected, any_length = predict_fn(module, module.names), metadata["dynamic_length"]
        return Exported(path, require_parity(predict, expected, rows.numpy(), metadata["precision"], any_length))


def _export_text(path: Path, format: str, model: LightningModule, metadata: Metadata, data: Any) -> float:
    """Write a language model, and return how much its logits differ from the network's."""
    if format != "onnx":
        raise UserError(f"--format {format}: a language model is exported as onnx, or as {WEIGHTS} without its code")
    net = network(model, tuple(metadata["in_shape"]), metadata["out_features"]).net
    write_text_onnx(path, net, metadata)
    return check_text_onnx(path, net, test_rows(data))


def _write_weights(path: Path, model: LightningModule, checkpoint: Mapping[str, Any]) -> None:
    """Write a model's `state_dict`, with its configuration and the description of its data."""
    from safetensors.torch import load_file, save

    state = {name: value.clone().contiguous() for name, value in model.state_dict().items()}  # a tied head, too
    facts = {"config": checkpoint[CONFIG_KEY], "data": json.dumps(checkpoint[DATA_KEY])}
    path.write_bytes(
        save(state, {**facts, "net": type(model.net.net if isinstance(model, Supervised) else model).__name__})
    )
    written = load_file(path)
    if written.keys() != state.keys() or not all(torch.equal(written[name], value) for name, value in state.items()):
        raise UserError(f"{path}: its weights differ from the network's; no file was written")
