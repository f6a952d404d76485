"""Choice of the columns of a table, and messages about columns that cannot be used."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from project.data.table import require_columns
from project.runtime.arrow import CellError
from project.runtime.errors import UserError
from project.schema import Schema
from project.schema.field import Missing
from project.schema.inference import UnknownKindError, infer_kind, infer_schema
from project.schema.schema import FieldError

Kind = Literal["number", "boolean", "category", "date", "ignore"]
# Names of an index that pandas writes among the columns.
NAMELESS, INDEX = re.compile(r"|Unnamed: \d+"), re.compile(r"__index_level_\d+__|index|rownames")


def require_values(path: str, missing: Tensor, names: Sequence[str], first_row: int) -> None:
    """Raise a UserError with the number of missing values per column if there are any; `missing` is (rows, columns)."""
    if missing.any():
        counts = zip(names, missing.sum(0).tolist(), strict=True)
        listed = ", ".join(f"{name} {count}" for name, count in counts if count)
        place = f"the first in row {first_row + int(missing.any(1).nonzero()[0])}"
        raise UserError(f"{path}: missing values ({listed}), {place}; set --data.missing fill, drop or mean")


def index_columns(first: pa.Table) -> list[str]:
    """Return the columns that only identify rows, from the first rows of a table.

    They have no name and distinct values, or the name of an index and consecutive integers.
    """
    return [name for name in first.column_names if _is_index(name, first.column(name))]


def _is_index(name: str, values: pa.ChunkedArray) -> bool:
    if values.null_count or len(values) < 2:
        return False
    if NAMELESS.fullmatch(name):
        return pc.count_distinct(values).as_py() == len(values) and not pa.types.is_floating(values.type)
    if not INDEX.fullmatch(name) or not pa.types.is_integer(values.type):
        return False
    numbers = values.to_numpy()
    return np.array_equal(numbers, np.arange(numbers[0], numbers[0] + len(numbers)))


def check_kinds(path: str, kinds: Mapping[str, Kind], present: list[str]) -> None:
    """Raise a UserError unless all columns in `--data.kinds` are present."""
    if kinds:
        require_columns(path, list(kinds), present, "--data.kinds")


def choose_features(
    path: str, present: list[str], targets: list[str], features: list[str] | None, excluded: Sequence[str]
) -> list[str]:
    """Return the names of the feature columns: those in `features`, by default all except targets and excluded ones.

    Raises:
        UserError: If a column is not present, repeated, or both a feature and a target.
    """
    if excluded:
        require_columns(path, list(dict.fromkeys(excluded)), present, "--data.exclude")
    others = [name for name in present if name not in targets and name not in excluded]
    chosen = others if features is None else [name for name in features if name not in excluded]
    require_columns(path, chosen, present, "--data.features")
    require_columns(path, chosen + targets, present, "--data.features, --data.target, --data.weights")
    return chosen


def task_of(first: pa.Table, targets: list[str], kinds: Mapping[str, str]) -> str:
    """Infer the task from the first rows of the target: classification for text and booleans."""
    if len(targets) > 1:
        return "regression"
    try:
        kind = kinds.get(targets[0]) or infer_kind(first.column(targets[0]))
    except CellError:  # no values, or free text, which is reported when all rows are read
        return "regression"
    return "classification" if kind in ("boolean", "category") else "regression"


class Parsed(NamedTuple):
    """Parsed rows of a table.

    Attributes:
        fields: Values of each field of the schema.
        y: Targets or class indices, (rows, targets), float64; NaN for missing ones.
        weights: Row weights, (rows, 1), float64; None without a column of weights.
        kept: Indices of the rows to keep.
    """

    fields: list[Any]
    y: Tensor
    weights: Tensor | None
    kept: Tensor


def parse_fields(schema: Schema, path: str, table: pa.Table, first_row: int = 1) -> list[Any]:
    """Parse the fields of a table.

    Raises:
        UserError: If a value is wrong. The error names the column and the row, counted from `first_row`.
    """
    try:
        return schema.parse(table)
    except FieldError as error:
        row = "" if error.row is None else f", row {first_row + error.row}:"
        hint = (
            f'correct it, set --data.kinds "{{{_in_yaml(error.field)}: category}}", leave the column out with '
            "--data.exclude, or add the value to --data.missing_values if it means a missing one"
        )
        raise UserError(f"{path}: column {error.field!r}{row} {error.problem}; {hint}") from None


def warn_of_levels(path: str | Path, unknown: Mapping[str, int], rows: int) -> None:
    """Print a warning about rows with unknown levels; `unknown` has their number by column."""
    if unknown:
        listed = ", ".join(f"{name} in {count:,} of {rows:,} rows" for name, count in unknown.items())
        rank_zero_warn(f"{path}: levels that did not occur in training, treated as an average row: {listed}")


def inferred(
    path: str,
    table: pa.Table,
    names: list[str],
    kinds: Mapping[str, str],
    missing: Missing,
    missing_values: Sequence[str] | None,
) -> Schema:
    """Infer the schema of the columns `names`, and print a warning about marks of missing values in them.

    Raises:
        UserError: If no kind can be inferred for columns. The error names all of them.
    """
    try:
        schema = infer_schema(table, names, kinds, missing, missing_values)
    except UnknownKindError as error:
        raise _unknown_kinds(path, error) from None
    marks = [f"{field.missing_values[0]} in {field.name}" for field in schema.fields if field.missing_values]
    if missing_values is None and marks:
        rank_zero_warn(f"{path}: treated as missing values: {', '.join(marks)}")
    return schema


def _unknown_kinds(path: str, error: UnknownKindError) -> UserError:
    """Return a UserError with all columns without a kind, and the flag that excludes them."""
    names = list(error.problems)
    listed = "; ".join(f"column {name!r} {problem}" for name, problem in error.problems.items())
    flag = '--data.exclude "[' + ", ".join(map(_in_yaml, names)) + ']"'
    other = f'--data.kinds "{{{_in_yaml(names[0])}: category}}"'
    return UserError(f"{path}: {listed}; leave {'it' if len(names) == 1 else 'them'} out with {flag}, or set {other}")


def _in_yaml(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][\w ]*", name) else "'" + name.replace("'", "''") + "'"
