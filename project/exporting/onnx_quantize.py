"""Quantize an ONNX file to 8-bit integers, or store its weights in half precision."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from project.runtime.logging import quiet_exporters
from project.serving.artifact import INPUT, Array

CALIBRATION_BATCH = 16
# Operators that static quantization converts.
STATIC_OPERATORS = ["Conv", "Relu", "MaxPool", "Reshape", "Flatten", "Gemm", "MatMul"]
INTEGER_OPERATORS = {"MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM", "QuantizeLinear", "MatMulNBits"}
BLOCK = 32  # weights of a language model that share a scale
MIN_WEIGHTS = 64  # for fewer, the added operator takes more bytes than it saves
MIN_INPUTS = 64  # numbers summed in each output of a convolution; with fewer, integers are slower than float32


def write_integers(source: Path, target: Path, method: str, rows: Array) -> int:
    """Write a file whose large operators compute with 8-bit integers.

    Weights use 7 bits: on x86 processors without VNNI, sums of two products of 8-bit numbers overflow. The `method`
    `dynamic` computes the range of each layer's inputs at run time; `static` calibrates it on rows (n, *in_shape).
    Return the number of operators that compute with integers.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, quiet_exporters():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared)  # without it, an LSTM silently stays in float32
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
                # Outputs are not rounded; between layers, the next layer rounds its inputs.
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
            )
    return sum(operators(onnx.load(target))[name] for name in INTEGER_OPERATORS)


def write_blocks(source: Path, target: Path) -> int:
    """Write a language model whose weights are 8-bit integers, with one scale for each block of them.

    Inputs are scaled token by token, so that texts in a batch do not affect each other's rounding. Return the number of
    operators that compute with integers.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    model = onnx.load(source)
    _fold_transposed(model)
    with quiet_exporters():
        # Accuracy level 4 also rounds the inputs to 8 bits, which is what makes it fast.
        quantizer = MatMulNBitsQuantizer(model, 8, BLOCK, True, accuracy_level=4)
        quantizer.process()
    onnx.save(quantizer.model.model, target)
    return sum(operators(quantizer.model.model)[name] for name in INTEGER_OPERATORS)


def _fold_transposed(model: Any) -> None:
    """Store transposed weights, such as those of a tied head, in place of an operator that transposes them."""
    from onnx import numpy_helper

    weights = {weight.name: weight for weight in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "Transpose" and node.input[0] in weights]:
        values = numpy_helper.to_array(weights[node.input[0]])
        turned = np.ascontiguousarray(values.transpose(node.attribute[0].ints))
        model.graph.initializer.append(numpy_helper.from_array(turned, node.output[0]))
        model.graph.node.remove(node)


def keep_in_float(model: Any) -> list[str]:
    """Return the names of convolutions that are faster in float32, and of the activation and pooling that follow.

    Activation and pooling are swapped in the model, which does not change the outputs: ONNX Runtime would otherwise
    round between them, and it is slow at pooling integers.
    """
    from onnx.shape_inference import infer_shapes

    kept = []
    shapes = {weight.name: weight.dims for weight in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    for node in model.graph.node:
        shape = shapes.get(node.input[1]) if node.op_type == "Conv" else None
        # ONNX Runtime has special integer code for depthwise convolutions.
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
    """Return the node that reads a node's output, if it is the only one and the output is not the model's."""
    users = [other for other in graph.node if node.output[0] in other.input]
    is_output = any(output.name == node.output[0] for output in graph.output)
    return users[0] if len(users) == 1 and not is_output else None


def write_halves(source: Path, target: Path, precision: str) -> int:
    """Write a file with weight matrices in 16 bits, which are converted to float32 when it is loaded.

    Computing in half precision is slower on CPUs, and some operators lack it. Weights outside its range, means and
    biases stay in float32. Return the number of weight matrices that were rounded.
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
    """Count the operators of a model by type."""
    return Counter(node.op_type for node in model.graph.node)


class _Calibration:
    """Batches of rows, in the form that ONNX Runtime's calibration reads."""

    def __init__(self, rows: Array) -> None:
        self._batches = iter(np.array_split(rows, -(-len(rows) // CALIBRATION_BATCH)))

    def get_next(self) -> dict[str, Array] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
