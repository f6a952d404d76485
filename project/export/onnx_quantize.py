"""An ONNX file in fewer bits: integers that ONNX Runtime computes with, or weights kept in half precision."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from project.runtime.logging import quiet_exporters
from project.serving.artifact import INPUT, Array

CALIBRATION_BATCH = 16
# What a network of integers may consist of, from images to outputs.
STATIC_OPERATORS = ["Conv", "Relu", "MaxPool", "Reshape", "Flatten", "Gemm", "MatMul"]
INTEGER_OPERATORS = {"MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "QuantizeLinear"}
MIN_WEIGHTS = 64  # below it, what halves them takes more than it saves
MIN_INPUTS = 64  # numbers that each output of a convolution sums up: to gather fewer takes longer than float32 in all


def write_integers(source: Path, target: Path, method: str, rows: Array | None) -> int:
    """Write a file whose large operators take and give 8-bit integers.

    Weights take 7 bits: without special instructions, x86 adds products of 8 bits in pairs that overflow.

    Args:
        source: In float32.
        target: Where to.
        method: `dynamic` finds the range of each layer's inputs as they come, `static` has them measured beforehand.
        rows: Real rows (n, *in_shape) to measure them on.

    Returns:
        Number of operators that compute with integers.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, quiet_exporters():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared)  # without it an LSTM stays as it is, and nobody is told
        if method == "dynamic":
            quantize_dynamic(prepared, target, weight_type=QuantType.QInt8, reduce_range=True)
        else:
            model = onnx.load(prepared)
            kept = keep_in_float(model)
            onnx.save(model, prepared)
            quantize_static(
                prepared,
                target,
                _Calibration(rows),
                op_types_to_quantize=STATIC_OPERATORS,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=kept,
                # Outputs keep their digits; between layers they are rounded where the next one takes them.
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
            )
    return sum(operators(onnx.load(target))[name] for name in INTEGER_OPERATORS)


def keep_in_float(model: Any) -> list[str]:
    """Names of convolutions that are faster as they are, and of the activation and the pooling that follow.

    These two change places, which changes no value: ONNX Runtime would round in between, and pools integers slowly.
    """
    from onnx.shape_inference import infer_shapes

    kept = []
    shapes = {weight.name: weight.dims for weight in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    for node in model.graph.node:
        shape = shapes.get(node.input[1]) if node.op_type == "Conv" else None
        # Those of one channel each have integer code of their own.
        by_channel = any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)
        if shape is None or by_channel or np.prod(shape[1:]) >= MIN_INPUTS:
            continue
        relu = _only_user(model.graph, node)
        pool = relu and _only_user(model.graph, relu)
        kept.append(node.name)
        if pool and (relu.op_type, pool.op_type, len(pool.output)) == ("Relu", "MaxPool", 1):
            relu.op_type, pool.op_type = "MaxPool", "Relu"
            relu.attribute.extend(pool.attribute)
            del pool.attribute[:]
            kept += [relu.name, pool.name]
    del model.graph.value_info[:]
    model.CopyFrom(infer_shapes(model))
    return kept


def _only_user(graph: Any, node: Any) -> Any:
    """The node that takes what a node gives, if nothing else does."""
    users = [other for other in graph.node if node.output[0] in other.input]
    given = any(output.name == node.output[0] for output in graph.output)
    return users[0] if len(users) == 1 and not given else None


def write_halves(source: Path, target: Path, precision: str) -> int:
    """Write a file whose weight matrices take 16 bits; they are float32 again once it is loaded.

    Computing in half precision is slower on CPUs, and not there for every operator. Weights that do not fit into its
    range, means and biases stay as they are.

    Args:
        source: In float32.
        target: Where to.
        precision: `float16` or `bfloat16`.

    Returns:
        Number of weight matrices that were rounded.
    """
    import ml_dtypes
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model, casts = onnx.load(source), []
    half: Any = np.float16 if precision == "float16" else ml_dtypes.bfloat16
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2 or np.prod(weight.dims) < MIN_WEIGHTS:
            continue
        name = weight.name
        with np.errstate(over="ignore"):
            values = numpy_helper.to_array(weight).astype(half)
        if np.isfinite(values.astype(np.float32)).all():
            weight.CopyFrom(numpy_helper.from_array(values, f"{name}_{precision}"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, target)
    return len(casts)


def operators(model: Any) -> Counter[str]:
    """How many of each operator a model has."""
    return Counter(node.op_type for node in model.graph.node)


class _Calibration:
    """Rows in batches, as ONNX Runtime takes them."""

    def __init__(self, rows: Array | None) -> None:
        assert rows is not None
        self._batches = iter(np.array_split(rows, -(-len(rows) // CALIBRATION_BATCH)))

    def get_next(self) -> dict[str, Array] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
