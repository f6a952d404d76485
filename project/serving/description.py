"""OpenAPI schemas of requests and answers."""

import json
import re
from typing import TYPE_CHECKING, Any

from project.serving.artifact import max_steps
from project.serving.inputs import FLOAT32_MAX
from project.serving.limits import Limits
from project.serving.metadata import Metadata, image_of, schema_of
from project.serving.model import CSV, IMAGE_TYPES, JSON, PARQUET

if TYPE_CHECKING:
    from project.schema import Field

Schema = dict[str, Any]
MAX_LEVELS = 50  # levels of a category that a description lists
COLUMNS = "Features by name, in any order; other columns are returned unchanged."
ERRORS = {
    400: "The body is empty, or not JSON, CSV or Parquet; or the request is for another host.",
    401: "The request lacks the server's token.",
    408: "The body did not arrive in time.",
    413: "The body is too large, or reading it would take too much memory.",
    415: "The content type or encoding of the body is not supported.",
    422: "The rows do not fit the model; the detail names the row and the feature.",
    431: "The headers are too large.",
    503: "The server is busy; try again.",
}


def request_body(metadata: Metadata, limits: Limits) -> Schema:
    """Describe the body of a request to `/predict`."""
    rows = example_rows(metadata)
    body = _object({"rows": {"type": "array", "maxItems": limits.rows, "items": row_schema(metadata)}})
    table = ",".join(map(_csv_field, metadata["feature_names"])) + "\n"
    for step in rows[0] if metadata["window"] else rows:
        table += ",".join(map(str, step.values() if isinstance(step, dict) else step)) + "\n"
    binary: Schema = {"schema": {"type": "string", "format": "binary"}}
    if image_of(metadata) is not None:
        content: Schema = {JSON: {"schema": body, "example": {"rows": rows}}, **dict.fromkeys(IMAGE_TYPES, binary)}
        return {"required": True, "content": content}
    content = {
        JSON: {"schema": body, "example": {"rows": rows}},
        CSV: {"schema": csv_schema(metadata), "example": table},
        PARQUET: {"schema": {"type": "string", "format": "binary", "description": "Columns as in CSV."}},
    }
    return {"required": True, "content": content}


def csv_schema(metadata: Metadata) -> Schema:
    """Describe tables of plain numbers; the server also accepts other spellings of numbers, and further columns."""
    names, number = metadata["feature_names"], r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
    if (schema := schema_of(metadata)) is not None and not schema.is_plain:
        return {"type": "string", "description": COLUMNS}
    header = re.escape(",".join(map(_csv_field, names)))
    return {
        "type": "string",
        "pattern": rf"^{header}\n({number}(,{number}){{{len(names) - 1}}}\n)*$",
        "description": COLUMNS,
    }


def responses(metadata: Metadata) -> dict[int | str, Schema]:
    """Describe the answers of `/predict`, by status."""
    table = {"type": "string", "description": "The rows with a column for each prediction."}
    content = {JSON: {"schema": answer_schema(metadata)}}
    if image_of(metadata) is None:
        content |= {CSV: {"schema": table}, PARQUET: {"schema": table | {"format": "binary"}}}
    properties = {
        "detail": {"type": "string"},
        "row": {"type": "integer", "minimum": 1, "description": "The invalid row, from 1."},
        "field": {"type": "string", "description": "The invalid feature."},
    }
    error = {JSON: {"schema": _object(properties, required=["detail"])}}
    errors: dict[int | str, Schema] = {
        status: {"description": text, "content": error} for status, text in ERRORS.items()
    }
    return {200: {"description": "Predictions, in the order of the rows.", "content": content}} | errors


def row_schema(metadata: Metadata) -> Schema:
    """Describe a row: an object by feature name, or an array, flat or nested; for a series, an array of those."""
    names, shape, window = metadata["feature_names"], metadata["in_shape"], metadata["window"]
    required = metadata["missing"] == "error"
    number = {"type": "number" if required else ["number", "null"], "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
    if (schema := schema_of(metadata)) is not None and not schema.is_plain:
        properties = {field.name: _value_schema(field, number) for field in schema.fields}
        values = {"type": "array", "minItems": len(names), "maxItems": len(names), "items": {}}
        return {"anyOf": [_object(properties, names if required else []), values]}
    kinds = [_object(dict.fromkeys(names, number), names if required else []), _array(number, len(names))]
    if not window and len(shape) > 1:
        nested = number
        for size in reversed(shape):
            nested = _array(nested, size)
        kinds.append(nested)
    row: Schema = {"anyOf": kinds}
    if window:
        row = _array(row, max_steps(metadata)) | ({"minItems": 1} if metadata["dynamic_length"] else {})
        row["description"] = "A window: time steps in order; all rows have the same number."
    return row


def answer_schema(metadata: Metadata) -> Schema:
    """Describe an answer in JSON."""
    number, classes = {"type": "number"}, metadata["class_names"]
    values = _object(dict.fromkeys(classes or metadata["target_names"], number))
    prediction = values
    if classes is not None:
        label = {"type": "string", "enum": classes}
        prediction = _object({metadata["target_names"][0]: label, "probabilities": values})
    properties = {
        "predictions": {
            "type": "array",
            "items": {"anyOf": [prediction, {"type": "null"}]},
            "description": "null for a row with a missing value that the model does not fill, or with a prediction "
            "that is not a finite float32 number.",
        },
        "spread": {
            "type": "array",
            "items": {"anyOf": [values, {"type": "null"}]},
            "description": "Standard deviation over the members of an ensemble.",
        },
    }
    return _object(properties, required=["predictions"])


def example_rows(metadata: Metadata) -> list[Any]:
    """Return one row of training means: by name if there are few features, and as a window for a series."""
    if (schema := schema_of(metadata)) is not None and not schema.is_plain:
        return [schema.examples]
    means = [float(f"{mean:.4g}") for mean in metadata["feature_means"]]
    names = metadata["feature_names"]
    row: Any = dict(zip(names, means, strict=True)) if len(names) <= 20 else means
    return [[row] * metadata["window"]] if metadata["window"] else [row]


def _value_schema(field: "Field", number: Schema) -> Schema:
    """Describe a value of a field; `number` describes numbers."""
    if field.kind == "number":
        return number
    more = [] if field.missing == "error" else ["null"]
    if field.kind == "image":
        return {"type": ["string", *more], "contentEncoding": "base64", "description": "An image file, in base64."}
    if field.kind == "boolean":
        return {"type": ["boolean", *more]}
    if field.kind == "date":
        return {"type": ["string", *more], "description": "A date or time in ISO 8601."}
    levels = field.settings()["levels"]
    described = ", ".join(levels[:MAX_LEVELS]) + (", …" if len(levels) > MAX_LEVELS else "")
    return {"type": ["string", "number", "boolean", *more], "description": f"One of: {described}"}


def _array(items: Schema, size: int) -> Schema:
    return {"type": "array", "items": items, "minItems": size, "maxItems": size}


def _object(properties: Schema, required: list[str] | None = None) -> Schema:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _csv_field(name: str) -> str:
    return json.dumps(name).replace('\\"', '""') if set(name) & set(',"\n') else name
