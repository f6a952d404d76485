"""Checks of a table that are the same for every format."""

from collections import Counter

from project.serving.metadata import Metadata
from project.serving.request_error import RequestError, require

# Columns in addition to the features; each takes memory even in a table without rows.
MAX_OTHERS = 1_000


def max_columns(metadata: Metadata) -> int:
    """Return the largest number of columns of a table."""
    return len(metadata["feature_names"]) + MAX_OTHERS


def check_columns(names: list[str], metadata: Metadata) -> None:
    """Raise a RequestError unless a table has each feature once, and not too many other columns."""
    problem = f"{len(names)} columns; send the features and at most {MAX_OTHERS} others"
    require(len(names) <= max_columns(metadata), 413, problem)
    counts, predicted = Counter(names), [f"{target}_predicted" for target in metadata["target_names"]]
    problems = {name: "the name is repeated; rename one of the columns" for name in names if counts[name] > 1}
    absent = f"no such column; the columns are: {', '.join(names[:20])}"
    problems |= {name: absent for name in metadata["feature_names"] if name not in counts}
    problems |= {name: "the column already exists; rename it" for name in predicted if name in counts}
    if problems:
        name, problem = next(iter(problems.items()))
        raise RequestError(422, problem, field=name)


def check_rows(rows: int, max_rows: int) -> None:
    """Raise a RequestError for too many rows."""
    require(rows <= max_rows, 422, f"{rows} rows; send at most {max_rows} per request")
