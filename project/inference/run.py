"""A trained run in Python: its model, its data, its metrics, and predictions."""

import html
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from lightning.pytorch import LightningDataModule, LightningModule
from numpy.typing import NDArray

from project.data.image_files import with_contents
from project.data.numbers import plus
from project.inference.metadata import describe, run_folder
from project.inference.open_run import open_run
from project.inference.predictor import export_module, predict_fn, require_rows
from project.models.regression import Equation, Regression
from project.runs.checkpoint import load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.decision import decide
from project.runtime.errors import UserError
from project.schema.spelling import is_text
from project.serving.artifact import Array
from project.serving.inputs import fill
from project.serving.metadata import image_of, schema_of
from project.serving.predictions import with_offsets
from project.serving.request_error import RequestError
from project.serving.table_rows import numbers as table_numbers

MAX_TERMS = 5  # longer equations are not shown


class Run:
    """A trained run, as `load` returns it.

    Attributes:
        checkpoint: The checkpoint that was loaded.
        path: Folder of the run.
        model: The LightningModule, in evaluation mode.
        metadata: Names, shapes and the task, as in an exported file.
    """

    def __init__(self, checkpoint: Path, trusted: Sequence[str] = ()) -> None:
        self.checkpoint, self.path, self._trusted = checkpoint, run_folder(checkpoint), tuple(trusted)
        content = read_checkpoint(checkpoint)
        self.model: LightningModule = load_model(content, trusted)
        self.metadata = describe(checkpoint, content, self.model)
        require_rows(checkpoint, self.metadata)
        module = export_module(self.model, self.metadata)
        self._compute = predict_fn(module, module.names)

    @cached_property
    def data(self) -> LightningDataModule:
        """The data module of the run; its rows are read when they are used."""
        return open_run(str(self.checkpoint), [f"--trust={module}" for module in self._trusted]).datamodule

    @property
    def metrics(self) -> dict[str, float]:
        """The content of metrics.json; empty if the run has not been tested."""
        path = self.path / "metrics.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    @property
    def equation(self) -> Equation | None:
        """The learned weights and bias in original units; None unless the model is linear."""
        equation = self.model.equation if isinstance(self.model, Regression) else None
        if equation is None or (schema := schema_of(self.metadata)) is None:
            return equation
        bias = equation.bias - equation.bias.new_tensor(schema.one_hot_offsets) @ equation.weights
        return Equation(equation.weights, plus(bias, self.metadata.get("target_offsets")))

    def predict(self, rows: Any) -> NDArray[Any]:
        """Return what the model predicts.

        Args:
            rows: Numbers of shape (n, *in_shape), in the order of the run's features; or columns by name, in any order:
                a dict of lists or arrays, or a data frame. Images are paths, or the bytes of files.

        Returns:
            Numbers (n, targets) in target units, or the names of classes (n,): the most likely ones, or those that the
            threshold of the run decides for.

        Raises:
            UserError: If a column is missing, the shape is wrong, or a value is not a finite number.
        """
        computed = self._compute(self._numbers(rows))
        if (names := self.metadata["class_names"]) is None:
            return with_offsets(computed, self.metadata)
        return np.array(names)[decide(computed["probabilities"], self.metadata.get("threshold"))]

    def probabilities(self, rows: Any) -> Array:
        """Return the probability of each class, (n, classes), for rows as `predict` takes them.

        Raises:
            UserError: As `predict`, or if the model predicts numbers.
        """
        if self.metadata["class_names"] is None:
            raise UserError(f"{self.path}: predicts numbers, which have no probabilities; use predict")
        return self._compute(self._numbers(rows))["probabilities"]

    def _numbers(self, rows: Any) -> Array:
        names, shape = self.metadata["feature_names"], tuple(self.metadata["in_shape"])
        if isinstance(rows, Mapping) or hasattr(rows, "columns"):
            missing = [name for name in names if name not in rows]
            if missing:
                raise UserError(f"rows: no column {missing[0]!r}; the model's features are {', '.join(names)}")
            if self.metadata.get("fields") is not None:
                return self._encoded({name: rows[name] for name in names})
            rows = np.stack([np.asarray(rows[name]) for name in names], axis=1)
        schema = schema_of(self.metadata)
        offsets = [] if schema is None else schema.offsets
        try:
            x: NDArray[Any] = np.asarray(rows, dtype=np.float64 if any(offsets) else np.float32)
        except (ValueError, TypeError) as error:
            raise UserError(f"rows: not numbers of one shape ({error})") from error
        problem = "a value is missing or not finite; fill it or drop the row" if not np.isfinite(x).all() else None
        if x.shape[1:] != shape and not self.metadata["dynamic_length"]:
            problem = f"must have shape (n, {', '.join(map(str, shape))}), got {x.shape}"
        if problem is not None:
            raise UserError(f"rows: {problem}")
        return (x - np.array(offsets)).astype(np.float32) if any(offsets) else x

    def _encoded(self, columns: Mapping[str, Any]) -> Array:
        """Return the numbers of a table's fields, from columns of any types."""
        arrays = [column if isinstance(column, list) else np.asarray(column) for column in columns.values()]
        try:
            table = pa.table([pa.array(array, from_pandas=True) for array in arrays], list(columns))
            image = image_of(self.metadata)
            if image is not None and is_text(table.column(image.name).type):
                table = with_contents(".", table, image.name)
            x, complete = fill(self.metadata, table_numbers(table, self.metadata))
            x = x.reshape(len(x), *self.metadata["in_shape"])
        except RequestError as error:
            row = "" if error.row is None else f", row {error.row}:"
            raise UserError(f"rows: column {error.field!r}{row} {error.problem}") from None
        except pa.ArrowException as error:
            raise UserError(f"rows: not a table ({error})") from None
        if complete is not None:
            raise UserError(f"rows: row {1 + int(complete.argmin())} has a missing value; fill it or drop the row")
        return x

    def __repr__(self) -> str:
        return "\n".join([f"Run {self.path}", *(f"  {name} {value}" for name, value in self._facts())])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self._facts()
        )
        return f"<table><caption>Run {html.escape(str(self.path))}</caption>{cells}</table>"

    def _facts(self) -> list[tuple[str, str]]:
        """Return what a notebook shows: the model, the equation of a small linear one, and the test metrics."""
        facts = [("model", type(self.model).__name__), ("net", self.metadata["net"])]
        names, equation = self.metadata["feature_names"], self.equation
        if equation is not None and len(names) <= MAX_TERMS and equation.bias.numel() == 1:
            terms = " + ".join(
                f"{w:.4g} {name}" for w, name in zip(equation.weights[:, 0].tolist(), names, strict=True)
            )
            facts.append((self.metadata["target_names"][0], f"{terms} + {equation.bias.item():.4g}"))
        return facts + [(name, f"{value:#.6g}") for name, value in self.metrics.items() if name.startswith("test/")]


def load(reference: str = "last", trust: Sequence[str] = ()) -> Run:
    """Load a trained run.

    Args:
        reference: A run folder, a checkpoint, or `last`: the newest run in `lightning_logs`.
        trust: Modules whose classes the run may name, in addition to those of the project, torch and Lightning.

    Raises:
        UserError: If there is no such run, or its checkpoint is damaged.
    """
    return Run(find_checkpoint(reference), trust)
