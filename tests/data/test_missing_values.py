"""A value that means a missing one is an empty cell, whatever it is and wherever the table is read."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from project.data import TabularDataModule
from project.exporting.export import export
from project.inference.predict import predict
from project.runtime.errors import UserError
from project.schema import Schema
from project.serving.artifact import Artifact
from project.serving.json_rows import JSONRows
from project.training.train import train


def write(path, number="", word="", target="", rows=120):
    """A table in which every seventh value is missing, written as asked."""
    draw = random.Random(0)
    lines = [["size", "species", "y"]]
    for row in range(rows):
        size, species = round(draw.gauss(40, 5), 2), draw.choice(["cat", "dog"])
        y = round(size + draw.gauss(0, 1), 2)
        gaps = [row % 7 == place for place in range(3)]
        cells = zip(gaps, (number, word, target), (size, species, y), strict=True)
        lines.append([mark if gap else value for gap, mark, value in cells])
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return path


def rows(path, **options):
    data = TabularDataModule(str(path), "y", **options)
    return [part for split in data.splits for part in (split.x, split.y)], data


@pytest.mark.parametrize("stream", [False, True])
def test_named_values_are_missing_in_features_and_targets(folder, stream):
    expected, blank = rows(write(folder / "blank.csv"), stream=stream)
    marked = write(folder / "marked.csv", number="-999", word="unknown", target="-999.0")
    found, data = rows(marked, stream=stream, missing_values=[-999, "unknown"])
    assert all(map(torch.equal, found, expected))
    assert data.rows_left_out == blank.rows_left_out
    assert rows(marked, stream=stream)[1].schema.fields[0].mean != blank.schema.fields[0].mean


@pytest.mark.parametrize("mark", ["?", "-", "--", "*", "."])
def test_a_mark_in_a_column_of_numbers_is_missing_and_said(folder, mark):
    expected, _ = rows(write(folder / "blank.csv"))
    with pytest.warns(UserWarning, match=r"treated as missing values: .* in size"):
        found, data = rows(write(folder / "marked.csv", number=mark))
    assert all(map(torch.equal, found, expected))
    assert Schema.from_list(data.schema.to_list()).to_list() == data.schema.to_list()


def test_other_text_among_numbers_is_an_error_that_names_the_flag(folder):
    with pytest.raises(UserError, match=r"row 1: 'none at all' is not a number; .*--data.missing_values"):
        rows(write(folder / "t.csv", number="none at all"))


def test_a_missing_class_is_no_class(folder):
    path = write(folder / "t.csv", word="unknown")
    data = TabularDataModule(str(path), "species", missing_values=["unknown"])
    assert data.class_names == ["cat", "dog"]
    assert sum(data.row_counts) == sum(row % 7 != 1 for row in range(120))


def test_run_file_and_server_know_the_values(folder):
    write(folder / "t.csv", number="-999")
    flags = ["--data", "TabularDataModule", "--data.path", "t.csv", "--data.target", "y"]
    train([*flags, "--data.missing_values", "[-999]", "--trainer.max_epochs", "1"])
    file = export("last")[0]
    write(folder / "blank.csv")
    texts = []
    for reference, table in [("last", "t.csv"), ("last", "blank.csv"), (file, "t.csv")]:
        predict(str(reference), Path(table), Path("out.csv"))
        texts.append([line.rsplit(",", 1)[1] for line in Path("out.csv").read_text().splitlines()])
    assert texts[0] == texts[1]
    np.testing.assert_allclose(*(np.array(text[1:], float) for text in (texts[0], texts[2])), rtol=1e-6)
    rows = [{"size": -999, "species": "cat"}, {"size": None, "species": "cat"}]
    x, _ = JSONRows(Artifact(file).metadata, 10).read(bytearray(json.dumps({"rows": rows}).encode()))
    np.testing.assert_array_equal(x[0], x[1])
