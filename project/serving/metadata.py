"""Metadata of an exported model, read from its file without loading the model.

The ONNX file is parsed here because a server checks it before it imports ONNX Runtime, and serves without `onnx`.
"""

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict, get_args, get_origin, get_type_hints

from project.runtime.errors import UserError
from project.serving.artifact_file import HINT, open_artifact

if TYPE_CHECKING:
    from project.schema import Schema
    from project.schema.image import Image

KEY = "hello_lightning"
FORMAT = 1
ADDED = ("fields", "intervals", "target_offsets", "threshold")  # which files of earlier versions lack
LANGUAGE = "language modelling"  # the task of a model that writes text
GENERATE = "continue texts with scripts/generate.py"
# Fields of ONNX's ModelProto and StringStringEntryProto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
GRAPH, METADATA_PROPS = 7, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2
# Wire types of Protocol Buffers, https://protobuf.dev/programming-guides/encoding, and the bytes of fixed-size ones.
VARINT, LENGTH_DELIMITED = 0, 2
FIXED_BYTES = {1: 8, 5: 4}


class Metadata(TypedDict):
    """Metadata of an exported model.

    `feature_names` has one name per number of a row, in row-major order, or one per channel if `window`, the number of
    time steps of a row, is not 0. `feature_means` has one mean per name. `fields` is the schema of the rows of a table,
    as `project.schema.Schema` describes it, and then the names are those of the fields; of a language model, whose rows
    are tokens (context,), it is the text with its tokenizer. `target_offsets` has one number per target, which training
    subtracted because float32 would lose digits of the targets, and which is added to the outputs. `intervals` has half
    the width of a prediction interval for each target and each level of 0.01, 0.02, …, as far as they are known.
    `threshold` is the lowest probability of the second of two classes at which it is predicted; None if the most likely
    class is predicted.
    """

    format: int
    version: str
    task: str
    net: str
    in_shape: list[int]
    out_features: int
    dynamic_length: bool
    feature_names: list[str]
    target_names: list[str]
    class_names: list[str] | None
    window: int
    feature_means: list[float]
    fields: list[dict[str, Any]] | None
    target_offsets: list[float] | None
    intervals: list[list[float]] | None
    threshold: float | None
    missing: str
    precision: str
    run: str
    config: str
    metrics: Mapping[str, float | None]


def read_metadata(path: str | Path) -> Metadata:
    """Read the metadata of an exported model, without loading the model.

    Raises:
        UserError: If the file is missing, not ONNX, or not one of this project's.
    """
    with open_artifact(Path(path)) as file:
        return parse_metadata(file, path)


def parse_metadata(file: BinaryIO, path: str | Path) -> Metadata:
    """Same as `read_metadata`, for an open file; `path` is for messages."""
    text, size = None, file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        text, problem = _find_entry(file, size), "an ONNX file of another project"
    except (ValueError, KeyError):
        problem = "not an ONNX file, or damaged"
    if text is None:
        raise UserError(f"{path}: {problem}; {HINT}")
    try:
        metadata = json.loads(text, parse_constant=lambda _: None)  # a metric may be NaN, which is not JSON
        problem = "written by another version of this project"
        if metadata["format"] == FORMAT:
            if (found := next(_problems(metadata), None)) is None:
                return metadata
            problem = f"its metadata are damaged ({found})"
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        problem = f"its metadata are damaged ({error})"
    raise UserError(f"{path}: {problem}; export the run again")


def schema_of(metadata: Mapping[str, Any]) -> "Schema | None":
    """Return the schema of a table's rows; None for other rows."""
    if metadata.get("fields") is None or metadata["task"] == LANGUAGE:
        return None
    from project.schema import Schema  # imports pyarrow, which a server of other rows does not need

    return Schema.from_list(metadata["fields"])


def image_of(metadata: Mapping[str, Any]) -> "Image | None":
    """Return the image field of rows that are images; None for other rows."""
    schema = schema_of(metadata)
    images: list[Any] = [] if schema is None else [field for field in schema.fields if field.kind == "image"]
    return images[0] if images else None


def _problems(metadata: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the types of the fields, and then with their lengths."""
    for name, kind in get_type_hints(Metadata).items():
        if name in ADDED and name not in metadata:
            continue
        if not _is_instance(metadata[name], kind):
            yield f"invalid {name}: {metadata[name]!r:.80}"
    if metadata["task"] == LANGUAGE:
        if len(metadata["in_shape"]) != 1 or not metadata["fields"] or "tokenizer" not in metadata["fields"][0]:
            yield "a language model needs a context and a tokenizer"
        return
    shape = metadata["in_shape"]
    numbers = shape[-1] if metadata["window"] else math.prod(shape)
    if (schema := schema_of(metadata)) is not None:
        if schema.width != numbers or schema.field_names != metadata["feature_names"] or metadata["window"]:
            yield "the fields do not fit the features"
        numbers = len(schema.fields)
    outputs = "class_names" if metadata["task"] == "classification" else "target_names"
    lengths = {"feature_names": numbers, "feature_means": numbers, outputs: metadata["out_features"]}
    if metadata.get("threshold") is not None:
        lengths["class_names"] = 2
    if metadata.get("target_offsets") is not None:
        lengths["target_offsets"] = metadata["out_features"]
    for name, length in lengths.items():
        if len(metadata[name]) != length:
            yield f"expected {length} {name}, got {len(metadata[name])}"


def _is_instance(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a type hint of `Metadata`; of a mapping, keys and values are not checked."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return any(_is_instance(value, each) for each in arguments)
    if origin is list:
        return isinstance(value, list) and all(_is_instance(item, *arguments) for item in value)
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return isinstance(value, origin or kind)


def _find_entry(file: BinaryIO, size: int) -> str | None:
    """Return the project's entry in a file's metadata, None if there is none; skip the graph without reading it."""
    found, has_graph = None, False
    while file.tell() < size:
        number, length = _field(file)
        if number == METADATA_PROPS:
            end, entry = file.tell() + length, {}
            while file.tell() < end:
                part, part_length = _field(file)
                entry[part] = file.read(min(part_length, end - file.tell())).decode()
            if entry.get(ENTRY_KEY) == KEY:
                found = entry.get(ENTRY_VALUE)
        else:
            has_graph |= number == GRAPH
            file.seek(min(length, size), 1)
    if not has_graph or file.tell() > size:
        raise ValueError("no graph, or not all of it")
    return found


def _field(file: BinaryIO) -> tuple[int, int]:
    """Read the number of the next field, and the length in bytes of the content that follows."""
    number, wire_type = divmod(_varint(file), 8)
    if wire_type == VARINT:
        _varint(file)
        return number, 0
    return number, _varint(file) if wire_type == LENGTH_DELIMITED else FIXED_BYTES[wire_type]


def _varint(file: BinaryIO) -> int:
    value = 0
    for place in range(10):  # bytes of the longest varint
        [byte] = file.read(1)  # a ValueError at the end of the file
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value
    raise ValueError("not a varint")
