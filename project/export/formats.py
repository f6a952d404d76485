"""Files that a network is computed from without its classes: ONNX, torch.export's and TorchScript's."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from project.export.onnx_rnn import with_onnx_recurrences
from project.inference.module import ExportModule, predict_fn
from project.inference.parity import Answer
from project.runtime.errors import UserError
from project.runtime.logging import quiet_exporters
from project.serving.artifact import INPUT, KEY, Artifact, Metadata
from project.serving.seal import seal

OPSET = 20

Written = tuple[Metadata, Answer]


def write(format: str, path: Path, network: ExportModule, metadata: Metadata, sample: Tensor) -> Written:
    """Write a network to a file, and read it again.

    Args:
        format: A key of `WRITERS`.
        path: Ends in the format's name.
        network: In evaluation mode.
        metadata: What the file says of itself.
        sample: Rows (2, *in_shape); of one row alone, torch.export would make a constant.

    Returns:
        What the file says of itself, and how it answers.
    """
    with quiet_exporters():
        return WRITERS[format](path, copy.deepcopy(network), metadata, sample)


def require_onnx() -> None:
    """Raise a UserError unless ONNX files can be written."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f'ONNX files need {error.name}: pip install -e ".[export]"') from error


def _write_onnx(path: Path, network: ExportModule, metadata: Metadata, sample: Tensor) -> Written:
    import onnx

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
    model = program.model_proto
    for part in (model.graph, *model.graph.node):  # where the exporter notes the lines of code that it came by
        del part.metadata_props[:]
    del model.graph.value_info[:]
    onnx.helper.set_model_props(model, {KEY: json.dumps(metadata)})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    seal(path)
    return metadata, Artifact(path).predict


def _write_pt2(path: Path, network: ExportModule, metadata: Metadata, sample: Tensor) -> Written:
    if any(isinstance(module, nn.RNNBase) for module in network.modules()):  # which torch.export unrolls
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
    """Which dimensions of x may have any size."""
    sizes = {0: torch.export.Dim("batch")}
    if metadata["dynamic_length"]:
        sizes[1] = torch.export.Dim("time")
    return (sizes,)
