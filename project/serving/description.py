"""What a server takes and gives, as OpenAPI says it."""

import json
import re
from typing import Any

from project.serving.json_rows import FLOAT32_MAX
from project.serving.limits import Limits
from project.serving.metadata import Metadata
from project.serving.model import CSV, JSON, PARQUET

Schema = dict[str, Any]
ERRORS = {
    400: "The body is empty, or not JSON, CSV or Parquet.",
    408: "The body did not come in time.",
    413: "The body is too long, or expands too far.",
    415: "The body is of another type.",
    422: "The rows are not those of this model: what is wrong, in which row and feature.",
    503: "Too much to do: try again.",
}
ERROR: Schema = {
    "type": "object",
    "required": ["detail"],
    "additionalProperties": False,
    "properties": {
        "detail": {"type": "string"},
        "row": {"type": "integer", "minimum": 1, "description": "The row at fault, from 1."},
        "field": {"type": "string", "description": "The feature at fault."},
    },
}


def request_body(metadata: Metadata, limits: Limits) -> Schema:
    """The rows that `/predict` takes."""
    row, rows = row_schema(metadata), example_rows(metadata)
    body = {
        "type": "object",
        "required": ["rows"],
        "additionalProperties": False,
        "properties": {"rows": {"type": "array", "maxItems": limits.rows, "items": row}},
    }
    table = ",".join(map(_in_csv, metadata["feature_names"])) + "\n"
    for step in rows[0] if metadata["window"] else rows:
        table += ",".join(map(str, step.values() if isinstance(step, dict) else step)) + "\n"
    content = {
        JSON: {"schema": body, "example": {"rows": rows}},
        CSV: {"schema": csv_schema(metadata), "example": table},
        PARQUET: {"schema": {"type": "string", "format": "binary", "description": "As CSV."}},
    }
    return {"required": True, "content": content}


def csv_schema(metadata: Metadata) -> Schema:
    """A table of numbers in the plainest form; the server takes more."""
    names, number = metadata["feature_names"], r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
    head = re.escape(",".join(map(_in_csv, names)))
    return {
        "type": "string",
        "pattern": rf"^{head}\n({number}(,{number}){{{len(names) - 1}}}\n)*$",
        "description": "Columns by name, in any order, and others, which come back as they are.",
    }


def responses(metadata: Metadata) -> dict[int | str, Schema]:
    """The answers of `/predict`, by status."""
    table = {"type": "string", "description": "The rows with a column for each prediction."}
    content = {
        JSON: {"schema": answer_schema(metadata)},
        CSV: {"schema": table},
        PARQUET: {"schema": table | {"format": "binary"}},
    }
    errors: dict[int | str, Schema] = {
        status: {"description": told, "content": {JSON: {"schema": ERROR}}} for status, told in ERRORS.items()
    }
    return {200: {"description": "Predictions, in the order of the rows.", "content": content}} | errors


def row_schema(metadata: Metadata) -> Schema:
    """A row: an object by feature name, or an array, flat or nested; of a series, an array of those."""
    names, shape, window = metadata["feature_names"], metadata["in_shape"], metadata["window"]
    needed = metadata["missing"] == "error"
    number = {"type": "number" if needed else ["number", "null"], "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
    kinds: list[Schema] = [
        {
            "type": "object",
            "properties": dict.fromkeys(names, number),
            "required": names if needed else [],
            "additionalProperties": False,
        },
        _array(number, len(names)),
    ]
    if not window and len(shape) > 1:
        nested = number
        for size in reversed(shape):
            nested = _array(nested, size)
        kinds.append(nested)
    row: Schema = {"anyOf": kinds}
    if window:
        row = {"type": "array", "items": row, "minItems": 1} if metadata["dynamic_length"] else _array(row, window)
        row["description"] = "A window: time steps in order, as many in each row."
    return row


def answer_schema(metadata: Metadata) -> Schema:
    """Predictions of rows in JSON."""
    number, classes = {"type": "number"}, metadata["class_names"]
    values = _object(dict.fromkeys(classes or metadata["target_names"], number))
    prediction = values
    if classes is not None:
        label = {"type": "string", "enum": classes}
        prediction = _object({metadata["target_names"][0]: label, "probabilities": values})
    null = {"type": "null"}
    answer = _object(
        {
            "predictions": {
                "type": "array",
                "items": {"anyOf": [prediction, null]},
                "description": "null of rows that lack a value where the model fills none, or whose prediction is "
                "beyond float32.",
            }
        }
    )
    answer["properties"]["spread"] = {
        "type": "array",
        "items": {"anyOf": [values, null]},
        "description": "Standard deviation over the members of an ensemble.",
    }
    return answer


def example_rows(metadata: Metadata) -> list[Any]:
    """A row of the training means: by name where there are few features, and of a series a window of them."""
    means = [float(f"{mean:.4g}") for mean in metadata["feature_means"]]
    names = metadata["feature_names"]
    row: Any = dict(zip(names, means, strict=True)) if len(names) <= 20 else means
    return [[row] * metadata["window"]] if metadata["window"] else [row]


def _array(items: Schema, size: int) -> Schema:
    return {"type": "array", "items": items, "minItems": size, "maxItems": size}


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _in_csv(name: str) -> str:
    return json.dumps(name).replace('\\"', '""') if set(name) & set(',"\n') else name
