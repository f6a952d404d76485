"""File formats that do not need the network's classes: ONNX, torch.export and TorchScript."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from project.exporting.onnx_rnn import with_onnx_recurrences
from project.inference.parity import PredictFn
from project.inference.predictor import ExportModule, predict_fn
from project.runtime.errors import UserError
from project.runtime.logging import quiet_exporters
from project.serving.artifact import INPUT, Artifact
from project.serving.metadata import KEY, Metadata
from project.serving.seal import seal

OPSET = 20

Written = tuple[Metadata, PredictFn]


def write(format: str, path: Path, network: ExportModule, metadata: Metadata, sample: Tensor) -> Written:
    """Write a network to a file, load the file, and return its metadata and the function that it computes.

    The sample has two rows, as torch.export takes the number 1 for a constant.
    """
    with quiet_exporters():
        return WRITERS[format](path, copy.deepcopy(network), metadata, sample)


def require_onnx() -> None:
    """Raise a UserError if a package that writes ONNX files is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f'writing ONNX files needs {error.name}; pip install -e ".[export]"') from error


def _write_onnx(path: Path, network: ExportModule, metadata: Metadata, sample: Tensor) -> Written:
    program: Any = torch.onnx.export(
        with_onnx_recurrences(network),
        (sample,),
        dynamo=True,
        external_data=False,
        dynamic_shapes=_dynamic(metadata),
        input_names=[INPUT],
        output_names=network.names,
        opset_version=OPSET,
        verbose=False,
    )
    finish_onnx(path, program.model_proto, metadata)
    return metadata, Artifact(path).predict


def finish_onnx(path: Path, model: Any, metadata: Metadata) -> None:
    """Write an ONNX model of torch's exporter, without the stack traces that it holds, and check it."""
    import onnx

    for part in (model.graph, *model.graph.node):
        del part.metadata_props[:]
    save_onnx(path, model, metadata)
    onnx.checker.check_model(model, full_check=True)


def save_onnx(path: Path, model: Any, metadata: Metadata) -> None:
    """Write an ONNX model with its metadata and a checksum."""
    import onnx

    del model.graph.value_info[:]
    onnx.helper.set_model_props(model, {KEY: json.dumps(metadata)})
    onnx.save(model, path)
    seal(path)


def _write_pt2(path: Path, network: ExportModule, metadata: Metadata, sample: Tensor) -> Written:
    if any(isinstance(module, nn.RNNBase) for module in network.modules()):  # torch.export unrolls these
        metadata = {**metadata, "dynamic_length": False}
    program = torch.export.export(network, (sample,), dynamic_shapes=_dynamic(metadata))
    torch.export.save(program, path, extra_files={KEY: json.dumps(metadata)})
    return metadata, predict_fn(torch.export.load(path).module(), network.names)


def _write_torchscript(path: Path, network: ExportModule, metadata: Metadata, sample: Tensor) -> Written:
    with torch.no_grad():
        traced: Any = torch.jit.trace(network, (sample,), check_trace=False)
    torch.jit.save(traced, path, _extra_files={KEY: json.dumps(metadata)})
    return metadata, predict_fn(torch.jit.load(path), network.names)


WRITERS: dict[str, Callable[[Path, ExportModule, Metadata, Tensor], Written]] = {
    "onnx": _write_onnx,
    "pt2": _write_pt2,
    "torchscript": _write_torchscript,
}


def _dynamic(metadata: Metadata) -> tuple[dict[int, Any]]:
    """Return the dimensions of x that may have any size."""
    sizes = {0: torch.export.Dim("batch")}
    if metadata["dynamic_length"]:
        sizes[1] = torch.export.Dim("time")
    return (sizes,)
