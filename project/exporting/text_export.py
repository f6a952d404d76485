"""Write a language model to an ONNX file, and check that the file writes what the network writes."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from project.exporting.cached_step import CachedStep
from project.exporting.formats import OPSET, finish_onnx
from project.inference.parity import PredictFn, check_difference, difference
from project.inference.predictor import predict_fn
from project.models.next_logits import TorchLogits
from project.nets.gpt import GPT
from project.runtime.errors import UserError
from project.runtime.logging import quiet_exporters
from project.serving.artifact import Array
from project.serving.metadata import Metadata
from project.serving.text_artifact import LENGTHS, LOGITS, TOKENS, TextArtifact
from project.text.writing import NextLogits, Tokens

ROWS = (1, 2, 5)  # of batches that are compared
GREEDY_TOKENS = 100


def write_text_onnx(path: Path, net: nn.Module, metadata: Metadata) -> None:
    """Write the network of a language model, with its cache as inputs and outputs; raise a UserError if it has none.

    Inputs are `tokens` (batch, new) int64, `lengths` (batch,) int64, the number of tokens before them, and, of each
    layer L, `past_key_L` and `past_value_L` (batch, heads, past, width), of which the first `lengths` count. Outputs
    are `logits` (batch, new, vocabulary), and `key_L` and `value_L` as the inputs, with room for all tokens.
    """
    if not isinstance(net, GPT):
        raise UserError(f"--model.net {type(net).__name__}: has no cache of keys and values; only GPT can be exported")
    attention: Any = net.blocks[0].get_submodule("attention")
    # Each size differs from the others, and none is 1, which torch.export takes for a constant.
    past = [torch.zeros(2, attention.kv_heads, 5, attention.head_width) for _ in range(2 * len(net.blocks))]
    names = [f"{kind}_{layer}" for layer in range(len(net.blocks)) for kind in ("key", "value")]
    batch, length, new = map(torch.export.Dim, ("batch", "past", "new"))
    with quiet_exporters():
        program: Any = torch.onnx.export(
            CachedStep(net),
            (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), past),
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: batch, 1: new}, {0: batch}, [{0: batch, 2: length}] * len(past)),
            input_names=[TOKENS, LENGTHS, *(f"past_{name}" for name in names)],
            output_names=[LOGITS, *names],
            opset_version=OPSET,
            verbose=False,
        )
    model = program.model_proto
    for output in model.graph.output[1:]:
        output.type.tensor_type.shape.dim[2].dim_param = "room"
    finish_onnx(path, model, metadata)


def check_text_onnx(path: Path, net: nn.Module | TextArtifact, rows: Tokens, precision: str = "float32") -> float:
    """Return the largest difference of a file's logits from the network's, or from those of another file.

    Compared are the logits of rows (n, context), and those of texts that grow token by token, each the likeliest one.

    Raises:
        UserError: If logits differ by more than the precision of the weights allows.
    """
    artifact, context = TextArtifact(path), rows.shape[1]
    reference: PredictFn = net.predict if isinstance(net, TextArtifact) else predict_fn(net)
    next_logits = net.next_logits() if isinstance(net, TextArtifact) else TorchLogits(net, context)
    batches = [np.resize(rows, (size, context)) for size in ROWS]
    found = [_row_difference(artifact, reference(batch), batch) for batch in batches]
    beginnings = np.resize(rows, (2, context))[:, : max(1, context // 3)]
    found.append(_greedy_difference(artifact.next_logits(), next_logits, beginnings))
    check_difference(max(found), precision, "logits of the file")
    return max(found)


def _row_difference(artifact: TextArtifact, expected: dict[str, Array], rows: Tokens) -> float:
    """Compare the logits of rows, computed at once and in two parts with the cache between them."""
    middle, cache = rows.shape[1] // 2, artifact.cache(*rows.shape)
    parts = [cache.step(part) for part in (rows[:, :middle], rows[:, middle:]) if part.size]
    outputs = artifact.predict(rows), {"outputs": np.concatenate(parts, axis=1)}
    return max(difference(each, expected) for each in outputs)


def _greedy_difference(found: NextLogits, expected: NextLogits, beginnings: Tokens) -> float:
    """Return the largest difference of logits while two models continue texts (B, T) by their likeliest tokens.

    The texts are those of `expected`. A token of the other model that is less likely by more than the difference of the
    logits counts as that difference.
    """
    new, largest = beginnings, 0.0
    for _ in range(GREEDY_TOKENS):
        logits, others = expected(new), found(new)
        largest = max(largest, difference({"outputs": others}, {"outputs": logits}))
        new = logits.argmax(1)[:, None]
        chosen = np.take_along_axis(logits, others.argmax(1)[:, None], axis=1)
        behind = np.take_along_axis(logits, new, axis=1) - chosen
        largest = max(largest, float(behind.max() / max(np.abs(logits).max(), np.finfo(np.float32).tiny)) / 2)
    return largest


def test_rows(data: Any) -> Tokens:
    """Return a few windows (n, context) of the test split of a data module of text."""
    test = data.splits.test
    rows: Tokens = test.gather(slice(0, min(len(test), max(ROWS))))[0].numpy()
    return rows if rows.ndim == 2 else rows[:, 0]  # of dialogues without the numbers of the dialogues
