import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from project.data import TabularDataModule
from project.runtime.errors import UserError
from project.stages.base import parse


def load(path, target="y", **arguments):
    data = TabularDataModule(str(path), target, **arguments)
    return data, data.splits


def test_values_stay_in_original_units_and_columns_are_found_by_name(table):
    data, splits = load(table(), features=["b", "a"])
    assert data.feature_names == ["b", "a"]
    for rows in splits:
        b, a = rows.x.T
        torch.testing.assert_close(rows.y[:, 0], 3 * a - 2 * b + 1)


def test_splits_are_disjoint_complete_and_seeded(table):
    path = table()
    _, splits = load(path)
    assert [len(split) for split in splits] == [28, 4, 8]
    assert sorted(a for split in splits for a in split.x[:, 0].tolist()) == list(range(40))
    assert load(path)[1].train.x.equal(splits.train.x)
    assert not load(path, seed=1)[1].test.x.equal(splits.test.x)


def test_separate_files_are_used_whole(table):
    train, other = table(), table(rows=7, name="other.csv")
    _, splits = load(train, val_path=str(other), test_path=str(other))
    assert [len(split) for split in splits] == [40, 7, 7]


def test_parquet_file_and_folder_hold_the_same_rows_as_csv(table, folder):
    path = table()
    rows = pyarrow.csv.read_csv(path)
    (folder / "parts").mkdir()
    pyarrow.parquet.write_table(rows, folder / "all.parquet")
    for part in range(2):
        pyarrow.parquet.write_table(rows.slice(20 * part, 20), folder / "parts" / f"{part}.parquet")
    expected = load(path)[1].train.x
    assert load(folder / "all.parquet")[1].train.x.equal(expected)
    assert load(folder / "parts")[1].train.x.equal(expected)


def test_several_targets(table):
    data, splits = load(table(), target=["b", "y"])
    assert (data.feature_names, data.out_features) == (["a"], 2)
    assert splits.train.y.shape == (28, 2)


def test_statistics_see_what_float32_cannot_hold(folder):
    values = [1e7 + i * 3.3 for i in range(100)]  # float32 is spaced by 1 there
    (folder / "t.csv").write_text("a,y\n" + "".join(f"{v!r},{i}\n" for i, v in enumerate(values)))
    data, splits = load("t.csv")
    kept = torch.tensor([values[int(i)] for i in splits.train.y[:, 0]], dtype=torch.float64)
    [offset] = data.input_offsets
    assert data.feature_statistics.mean.item() + offset == pytest.approx(kept.mean().item(), rel=1e-15)
    assert data.feature_statistics.std.item() == pytest.approx(kept.std(correction=0).item(), rel=1e-9)


def test_missing_values_are_dropped_or_filled_from_training_rows_alone(table):
    path = table(**{"5_2_": "5,,"})
    assert sum(map(len, load(path, missing="drop")[1])) == 39
    _, splits = load(path, missing="mean")
    [where] = [(split, row) for split in splits for row in (split.x[:, 0] == 5).nonzero().flatten()]
    others = splits.train.x[splits.train.x[:, 0] != 5, 1]
    assert where[0].x[where[1], 1].item() == pytest.approx(others.mean().item(), rel=1e-6)


def test_constant_feature_is_kept_with_one_warning(table, folder):
    (folder / "t.csv").write_text("a,c,y\n" + "".join(f"{i},7,{i}\n" for i in range(20)))
    with pytest.warns(UserWarning, match="constant in the training rows.*: c") as caught:
        data, _ = load("t.csv")
    assert len(caught) == 1
    assert data.in_shape == (2,)
    assert data.feature_statistics.std[1] == 1


@pytest.mark.parametrize(
    ("replaced", "arguments", "message"),
    [
        ({}, {"target": "z"}, r"table.csv: no column 'z' \(--data.target\); the columns are: a, b, y"),
        ({}, {"features": ["q"]}, r"no column 'q' \(--data.features\)"),
        ({}, {"features": ["y"]}, "column 'y' is named twice"),
        ({}, {"features": []}, r"no column is selected \(--data.features\)"),
        ({"5_2_": "5,abc,"}, {}, "table.csv: column 'b', row 6: 'abc' is not a number"),
        ({"5_2_": "5,,"}, {"missing": "error"}, r"missing values \(b 1\), the first in row 6; set --data.missing fill"),
        ({"5_2_": "5,inf,"}, {}, "column 'b', row 6: inf is not a finite float32"),
        ({"5_2_": "5,1e300,"}, {}, "table.csv: column 'b', row 6: 1e\\+300 is not a finite float32"),
        ({"5_2_": "5,2,3,"}, {}, "Row #7: Expected 3 columns, got 4"),
        ({"a_b_y\n": ""}, {}, "the first line contains numbers .*; add a line of column names"),
        ({"a_b_y": "a,a,y"}, {}, "two columns are named 'a'"),
        ({}, {"target": ["y", "y"]}, "column 'y' is named twice"),
        ({}, {"val_fraction": 0.6, "test_fraction": 0.6}, "leave no training rows"),
        ({}, {"test_path": "nowhere.csv"}, "nowhere.csv: no such file"),
    ],
)
def test_a_mistake_is_named_with_file_column_and_row(table, replaced, arguments, message):
    with pytest.raises(UserError, match=message):
        load(table(**replaced), **arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("a,y\n", "no rows below the header"),
        ("a,y\n1,2\n", "t.csv: no rows in the validation split, of 1 rows in all"),
    ],
)
def test_a_table_too_small_is_an_error(folder, text, message):
    (folder / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        load("t.csv")


@pytest.mark.parametrize("value", ["1", "1.5", "-0.1"])
def test_fractions_outside_0_to_1_are_named(value):
    with pytest.raises(UserError, match=f"--data.test_fraction: must be a number from 0 to below 1, got {value}"):
        parse(
            [
                "--data",
                "TabularDataModule",
                "--data.path",
                "t.csv",
                "--data.target",
                "y",
                f"--data.test_fraction={value}",
            ]
        )


def classes(path, **arguments):
    data = TabularDataModule(str(path), "c", task="classification", **arguments)
    return data.class_names, sum(map(len, data.splits))


def test_labels_are_trimmed_and_missing_ones_are_missing_in_every_format(folder):
    rows = [" yes", "yes", "no", "NA", ""] * 10
    (folder / "t.csv").write_text("a,c\n" + "".join(f"{i},{label}\n" for i, label in enumerate(rows)))
    pyarrow.parquet.write_table(pa.table({"a": range(50), "c": rows}), "text.parquet")
    pyarrow.parquet.write_table(pa.table({"a": range(50), "c": [1.0, 0.0, 1.0, float("nan"), None] * 10}), "n.parquet")
    for name, expected in [("t.csv", ["no", "yes"]), ("text.parquet", ["no", "yes"]), ("n.parquet", ["0", "1"])]:
        with pytest.raises(UserError, match=r"missing values \(c 20\), the first in row [34]; set --data.missing fill"):
            classes(name, missing="error")
        assert classes(name, missing="drop") == (expected, 30)


def test_labels_are_sorted_as_numbers_or_as_text(folder):
    for name, labels, expected in [("n.csv", "10 9 1.0 1", ["1", "9", "10"]), ("t.csv", "10 9 x", ["10", "9", "x"])]:
        (folder / name).write_text("a,c\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels.split() * 10)))
        assert classes(name)[0] == expected


@pytest.mark.parametrize(
    ("labels", "message"), [(["k"], "has fewer than two classes"), ([[1], [2]], "classes must be text or integers")]
)
def test_labels_that_cannot_be_classes_are_named(folder, labels, message):
    pyarrow.parquet.write_table(pa.table({"a": range(30), "c": (labels * 30)[:30]}), "t.parquet")
    with pytest.raises(UserError, match=message):
        classes("t.parquet")


def test_a_class_that_training_has_not_seen_is_named_with_its_row(folder):
    for name, label in [("t.csv", "no"), ("other.csv", "maybe")]:
        rows = "".join(f"{i},{'yes' if i else label}\n" for i in range(30))
        (folder / name).write_text("a,c\n" + (rows if name == "t.csv" else "1,yes\n" + rows))
    with pytest.raises(UserError, match="other.csv: column 'c', row 2: class 'maybe' is not in t.csv"):
        classes("t.csv", test_path="other.csv")


def test_a_column_of_a_type_without_a_kind_is_named(folder):
    rows = pa.table({"when": pa.array([0] * 20, pa.time32("s")), "y": list(range(20))})
    pyarrow.parquet.write_table(rows, folder / "t.parquet")
    with pytest.raises(UserError, match=r"column 'when' is time32\[ms\]; leave it out with --data.exclude"):
        load("t.parquet")
