"""Small artifacts made by hand, so that what serves them is tested apart from what exports them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def metadata(features: list[str], targets: list[str], **others: Any) -> dict[str, Any]:
    classes = others.get("class_names")
    return {
        "format": 1,
        "version": "0.1.0",
        "task": "classification" if classes else "regression",
        "net": "Linear",
        "in_shape": [len(features)],
        "out_features": len(classes or targets),
        "dynamic_length": False,
        "feature_names": features,
        "target_names": targets,
        "class_names": None,
        "window": 0,
        "feature_means": [float(index + 1) for index in range(len(features))],
        "missing": "error",
        "precision": "float32",
        "run": "lightning_logs/version_0",
        "config": "seed_everything: 0\n",
        "metrics": {"test/loss": 0.25},
    } | others


def write_linear(path: Path, weights: Any, bias: Any, described: dict[str, Any], spread: bool = False) -> Path:
    """x W + b over a row's numbers, with probabilities of classes, and, where there is a spread, |x W + b| as that."""
    shape = described["in_shape"]
    axes = ["batch", *(["time", *shape[1:]] if described["dynamic_length"] else shape)]
    nodes = [
        helper.make_node("Flatten", ["x"], ["rows"]),
        helper.make_node("Gemm", ["rows", "weights", "bias"], ["outputs"]),
    ]
    if described["dynamic_length"]:  # of the mean over time
        nodes[0] = helper.make_node("ReduceMean", ["x", "time_axis"], ["rows"], keepdims=0)
    outputs = ["outputs"]
    if described["class_names"]:
        nodes.append(helper.make_node("Softmax", ["outputs"], ["probabilities"], axis=1))
        outputs.append("probabilities")
    if spread:
        nodes.append(helper.make_node("Abs", [outputs[-1]], ["spread"]))
        outputs.append("spread")
    constants = {"weights": np.asarray(weights, np.float32), "bias": np.asarray(bias, np.float32)}
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    initializers.append(numpy_helper.from_array(np.array([1]), "time_axis"))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", described["out_features"]])
            for name in outputs
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    helper.set_model_props(model, {"hello_lightning": json.dumps(described)})
    onnx.save(model, path)
    return path


def write_text(path: Path, text: bytes, tokenizer: dict[str, Any] | None = None) -> Path:
    """A language model over bytes that writes a text from the position where it is, counted in the cache."""
    described = metadata(["tokens"], ["next tokens"], in_shape=[len(text)], out_features=257, net="GPT")
    fields = [{"name": "text", "kind": "text", "tokenizer": tokenizer or {"kind": "bytes"}}]
    described |= {"task": "language modelling", "feature_means": [], "dynamic_length": True, "fields": fields}
    table = np.zeros((len(text) + 1, 257), np.float32)
    table[np.arange(len(text)), list(text)] = 9.0
    nodes = [
        helper.make_node("Shape", ["tokens"], ["count"], start=1, end=2),
        helper.make_node("Squeeze", ["count"], ["new"]),
        helper.make_node("Range", ["zero", "new", "one"], ["following"]),
        helper.make_node("Unsqueeze", ["lengths", "side"], ["first"]),
        helper.make_node("Add", ["first", "following"], ["places"]),
        helper.make_node("Gather", ["table", "places"], ["logits"]),
        helper.make_node("Identity", ["past_key_0"], ["key_0"]),
    ]
    constants = {"table": table, "side": np.array([1]), "zero": np.array(0), "one": np.array(1)}
    cache = ["batch", 1, "past", 1]
    graph = helper.make_graph(
        nodes,
        "text",
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", "new"]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("past_key_0", TensorProto.FLOAT, cache),
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "new", 257]),
            helper.make_tensor_value_info("key_0", TensorProto.FLOAT, ["batch", 1, "room", 1]),
        ],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    helper.set_model_props(model, {"hello_lightning": json.dumps(described)})
    onnx.save(model, path)
    return path


def write_waiting(path: Path) -> Path:
    """Counts to x one by one: y = x."""
    described = metadata(["x"], ["y"], feature_means=[1.0])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["count", "one"], ["next"]),
        ],
        "counting",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count", TensorProto.FLOAT, [1, 1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, 1]),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["times"], to=TensorProto.INT64),
        helper.make_node("Loop", ["times", "", "zero"], ["outputs"], body=body),
    ]
    constants = {"one": np.ones((1, 1), np.float32), "zero": np.zeros((1, 1), np.float32)}
    graph = helper.make_graph(
        nodes,
        "waiting",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    helper.set_model_props(model, {"hello_lightning": json.dumps(described)})
    onnx.save(model, path)
    return path
