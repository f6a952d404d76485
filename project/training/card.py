"""The model card of a run, `card.md`: its task, data and metrics, how to use it, and its limits.

Source: Mitchell et al., "Model Cards for Model Reporting" (2019).
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from lightning.pytorch import LightningDataModule, LightningModule

from project.data.datamodule import RowsDataModule
from project.data.tabular import TabularDataModule
from project.models.classification import Classification
from project.models.language_model import LanguageModel
from project.models.supervised import Supervised
from project.runtime.address import without_credentials
from project.runtime.files import atomic_write
from project.training.residuals import Intervals
from project.training.schema_report import MAX_FIELDS, field_cells, left_out

CARD = "card.md"
MAX_NAMES = 10
MISSING = {
    "fill": "A missing value is replaced by the mean of the training rows and marked; a missing category is a level.",
    "mean": "A missing value is replaced by the mean of the training rows.",
    "median": "A missing value is replaced by the median of the training rows.",
    "drop": "Rows with a missing value have no prediction.",
    "error": "Rows must be complete.",
}


def write_card(
    run: Path,
    model: LightningModule,
    data: LightningDataModule,
    metrics: Mapping[str, float],
    others: Mapping[str, Mapping[str, float]],
    intervals: Intervals | None,
) -> None:
    """Write the card of a run that predicts numbers or classes; other runs get none.

    Args:
        run: Folder of the run.
        model: The model, with its best weights.
        data: Its data.
        metrics: Metrics of the test rows.
        others: Metrics of other predictions of the same rows, by name.
        intervals: Prediction intervals, if the run has some.
    """
    if not isinstance(model, Supervised) or isinstance(model, LanguageModel) or not isinstance(data, RowsDataModule):
        return
    sections = {
        f"# Model card: {run.name}": _summary(model, data),
        "## Data": _data(data),
        "## Test rows": _scores(metrics, others, intervals),
        "## Use": _use(run),
        "## Limits": _limits(data, intervals),
    }
    text = "\n".join(f"{title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items())
    with atomic_write(run / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _summary(model: Supervised, data: RowsDataModule) -> Iterator[str]:
    targets, weights = _listed(data.target_names), sum(p.numel() for p in model.parameters())
    what = "a number" if len(data.target_names) == 1 else "numbers"
    if data.class_names is not None:
        what = f"one of {len(data.class_names)} classes: {_listed(data.class_names)}"
    yield f"Predicts {targets}, {what}, from {_listed(data.feature_names)}."
    if isinstance(model, Classification) and model.decided_at is not None and data.class_names is not None:
        yield f"It predicts {data.class_names[1]} from a probability of that class of {model.decided_at:.4g} on."
    net, own = type(model.net.net).__name__, version("hello-lightning")
    yield f"It is a `{type(model).__name__}` with a `{net}` of {weights:,} weights, made by hello-lightning {own}."


def _data(data: RowsDataModule) -> Iterator[str]:
    train, val, test = (f"{count:,}" for count in data.row_counts)
    source = type(data).__name__ if data.source == RowsDataModule.source else without_credentials(data.source)
    yield f"{source}: {train} training rows, {val} validation rows and {test} test rows."
    yield f"{_split(data)} SHA-256 of a sample of the rows: `{data.fingerprint}`."
    if not isinstance(data, TabularDataModule) or data.schema is None:
        return
    if data.weights is not None:
        yield f"In the loss, each row has the weight in `{data.weights}`; in other metrics all rows count alike."
    yield ""
    yield from _table(
        ["column", "kind", "levels", "missing", "values"], map(field_cells, data.schema.fields[:MAX_FIELDS])
    )
    if (more := len(data.schema.fields) - MAX_FIELDS) > 0:
        yield f"\n… and {more} more columns"
    if lines := left_out(data):
        yield f"\nLeft out: {'; '.join(lines)}."


def _split(data: RowsDataModule) -> str:
    if not isinstance(data, TabularDataModule):
        return f"Seed {data.seed}."
    if data.test_path:
        return f"The test rows are those of `{without_credentials(data.test_path)}`."
    if data.split.group:
        return f"Split at random, with seed {data.seed}; rows with the same `{data.split.group}` stay together."
    if data.split.time:
        return f"Split by `{data.split.time}`: the test rows are the latest."
    return f"Split at random, with seed {data.seed}{', each class in proportion' * (data.class_names is not None)}."


def _scores(
    metrics: Mapping[str, float], others: Mapping[str, Mapping[str, float]], intervals: Intervals | None
) -> Iterator[str]:
    yield from _table(*metric_table(metrics, others))
    if intervals is not None:
        yield f"\n{intervals.summary(MAX_NAMES)}"


def metric_table(
    metrics: Mapping[str, float], others: Mapping[str, Mapping[str, float]]
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a table of metrics, with a column for each of the other predictions that has some."""
    columns = {name: values for name, values in others.items() if values}
    rows = [
        [name, f"{value:#.6g}", *(f"{values[name]:#.6g}" if name in values else "" for values in columns.values())]
        for name, value in metrics.items()
    ]
    return ["metric", "value", *columns], rows


def _use(run: Path) -> Iterator[str]:
    path = os.path.relpath(run)
    commands = f"python scripts/predict.py {path} new_rows.csv predicted.csv\npython scripts/evaluate.py {path}"
    yield f"```bash\n{commands}\n```\n"
    yield f'```python\nfrom project import load\n\nrun = load("{path}")\nrun.predict(rows)  # columns by name\n```'


def _limits(data: RowsDataModule, intervals: Intervals | None) -> Iterator[str]:
    yield "- The metrics hold for rows like these, not for other times, places or groups of people."
    yield "- The checkpoint is the one with the lowest validation loss, so its validation metrics are optimistic."
    if isinstance(data, TabularDataModule) and data.schema is not None:
        yield f"- {MISSING[data.missing]}"
        if any(data.schema.sizes):
            yield "- A level that did not occur in training counts as an average row; `predict.py` counts them."
    if intervals is not None:
        yield "- The intervals have the same width for all rows, and hold for rows drawn like the validation rows."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
