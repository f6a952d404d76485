"""What an exported model says of itself, read from its file without loading the model."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

from project.runtime.errors import UserError

KEY = "hello_lightning"
FORMAT = 1
# Fields of ONNX's ModelProto and StringStringEntryProto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
GRAPH, METADATA_PROPS = 7, 14
ENTRY_KEY, ENTRY_VALUE = 1, 2


class Metadata(TypedDict):
    """What an artifact says of itself.

    `feature_names` has one name per number of a row, in row-major order, or one per channel where `window`, the time
    steps of a row, is not 0. `feature_means` belongs to them.
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
    missing: str
    precision: str
    run: str
    config: str
    metrics: Mapping[str, float | None]


KINDS: dict[str, type | tuple[type, ...]] = {
    "version": str,
    "task": str,
    "net": str,
    "in_shape": list,
    "out_features": int,
    "dynamic_length": bool,
    "feature_names": list,
    "target_names": list,
    "class_names": (list, type(None)),
    "window": int,
    "feature_means": list,
    "missing": str,
    "precision": str,
    "run": str,
    "config": str,
    "metrics": dict,
}


def read_metadata(path: str | Path) -> Metadata:
    """What an artifact says of itself, without loading the model.

    Raises:
        UserError: If the file is missing, not ONNX, or not one of this project's.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such file: give an .onnx file that scripts/export.py wrote")
    if path.is_dir():
        raise UserError(f"{path}: is a folder: give an .onnx file that scripts/export.py wrote from it")
    try:
        with path.open("rb") as file:
            text = _metadata_text(file, path.stat().st_size)
    except (EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not an ONNX file, or damaged: give one that scripts/export.py wrote") from error
    if text is None:
        raise UserError(f"{path}: an ONNX file of another project: give one that scripts/export.py wrote")
    try:
        metadata = json.loads(text, parse_constant=lambda _: None)  # a metric may be NaN, which is no JSON
        known = metadata["format"] == FORMAT
        if known:
            _check(metadata)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: its metadata are damaged ({error}): export the run again") from error
    if not known:
        raise UserError(f"{path}: written by another version of this project: export the run again")
    return metadata


def _check(metadata: dict[str, Any]) -> None:
    for name, kind in KINDS.items():
        if not isinstance(metadata[name], kind):
            raise TypeError(f"{name} is {type(metadata[name]).__name__}")
    for name in ("feature_names", "target_names", "class_names"):
        if not all(isinstance(value, str) for value in metadata[name] or []):
            raise TypeError(f"{name} are not all text")
    if not all(isinstance(mean, int | float) and math.isfinite(mean) for mean in metadata["feature_means"]):
        raise ValueError("feature_means are not all finite")
    shape, window = metadata["in_shape"], metadata["window"]
    numbers = shape[-1] if window else math.prod(shape)
    for name, wanted in [
        ("feature_names", numbers),
        ("feature_means", numbers),
        ("class_names" if metadata["task"] == "classification" else "target_names", metadata["out_features"]),
    ]:
        if len(metadata[name]) != wanted:
            raise ValueError(f"{len(metadata[name])} {name} for {wanted}")


def _metadata_text(file: BinaryIO, size: int) -> str | None:
    """The project's entry in a file's metadata, None where there is none; the graph is skipped unread.

    Source: the wire format of Protocol Buffers, https://protobuf.dev/programming-guides/encoding.
    """
    found, has_graph = None, False
    while file.tell() < size:
        number, length = _field(file)
        if file.tell() + length > size:
            raise EOFError("ends early")
        if number == METADATA_PROPS:
            end, entry = file.tell() + length, {}
            while file.tell() < end:
                part, part_length = _field(file)
                entry[part] = file.read(min(part_length, end - file.tell())).decode()
            if entry.get(ENTRY_KEY) == KEY:
                found = entry.get(ENTRY_VALUE)
        else:
            has_graph |= number == GRAPH
            file.seek(length, 1)
    if not has_graph:
        raise EOFError("no graph")
    return found


def _field(file: BinaryIO) -> tuple[int, int]:
    """Number of the next field, and the bytes of what follows."""
    tag = _varint(file)
    match tag & 7:
        case 0:
            _varint(file)
            return tag >> 3, 0
        case 1:
            return tag >> 3, 8
        case 2:
            return tag >> 3, _varint(file)
        case 5:
            return tag >> 3, 4
    raise EOFError("no field")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("ends early")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise EOFError("no number")
