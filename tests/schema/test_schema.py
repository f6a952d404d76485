import json
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project.schema import Schema
from project.schema.inference import UnknownKindError, infer_kind, infer_schema
from project.schema.schema import KINDS, FieldError

LEVELS = ["red", "green", "1", "2.5", "true", "Åland"]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "number": st.none() | st.floats(-1e6, 1e6),
            "boolean": st.none() | st.booleans(),
            "category": st.none() | st.sampled_from(LEVELS),
            "date": st.none() | st.dates(date(1950, 1, 1), date(2050, 1, 1)),
        }
    ),
    min_size=1,
    max_size=30,
)


def learned(table, missing="fill"):
    schema = Schema([KINDS[name](name, missing) for name in table.column_names])
    schema.partial_fit(schema.parse(table), np.arange(len(table)))
    schema.finish()
    return schema


def encoded(schema, table):
    return schema.encode(schema.parse(table))


def as_table(rows):
    types = {"number": pa.float64(), "boolean": pa.bool_(), "category": pa.string(), "date": pa.date32()}
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_a_row_has_the_same_numbers_from_csv_parquet_and_json_and_after_a_round_trip(rows, others):
    filler = {"number": 1.0, "boolean": True, "category": "red", "date": date(2000, 1, 1)}
    schema = learned(as_table([*rows, filler]))
    again = Schema.from_list(json.loads(json.dumps(schema.to_list())))
    table, sink = as_table(others), pa.BufferOutputStream()
    expected = encoded(schema, table)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(encoded(again, table), expected)
    pyarrow.csv.write_csv(table, sink)
    texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(table.column_names, pa.string()))
    for options in (pyarrow.csv.ConvertOptions(column_types={"category": pa.string()}), texts):
        read = pyarrow.csv.read_csv(pa.BufferReader(sink.getvalue()), convert_options=options)
        np.testing.assert_array_equal(encoded(again, read), expected)
    pyarrow.parquet.write_table(table, parquet := pa.BufferOutputStream())
    read = pyarrow.parquet.read_table(pa.BufferReader(parquet.getvalue()))
    np.testing.assert_array_equal(encoded(again, read), expected)


def test_gaps_and_unknown_levels_have_the_numbers_that_the_rule_says():
    table = pa.table({"number": [1.0, None, 4.0], "category": ["b", "a", None], "boolean": [True, None, True]})
    new = pa.table({"number": [None], "category": ["c"], "boolean": ["NO"]})
    expected = {
        "fill": [2.5, 1, 0, 0, 0],  # the mean, marked; no known level; false, not missing
        "mean": [2.5, 0, 0],
        "median": [2.5, 0, 0],
        "drop": [np.nan, 0, 0],
        "error": [np.nan, 0, 0],
    }
    for missing, numbers in expected.items():
        np.testing.assert_array_equal(encoded(learned(table, missing), new), [numbers])
    schema = learned(table)
    assert schema.names == ["number", "number[missing]", "category", "boolean", "boolean[missing]"]
    assert schema.one_hot_names[2:4] == ["category[b]", "category[missing]"]
    assert encoded(schema, table)[:, 2].tolist() == [2, 1, 3]
    assert schema.unknown(encoded(schema, new)) == {"category": 1}


def test_a_date_is_days_since_2000_and_its_parts():
    times = [datetime(2000, 1, 1), datetime(2024, 2, 29, 18), datetime(1999, 12, 31, 6)]
    schema = learned(pa.table({"date": times}))
    expected = [
        [(time - datetime(2000, 1, 1)) / timedelta(days=1), time.month, time.day, time.weekday(), time.hour]
        for time in times
    ]
    np.testing.assert_array_equal(encoded(schema, pa.table({"date": times})), expected)


@pytest.mark.parametrize(
    "form", ["%Y-%m-%d", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%b %d %Y", "%d %b %Y", "%B %d, %Y"]
)
def test_dates_are_recognised_however_they_are_written(form):
    days = [date(2019, 1, 1) + timedelta(days=37 * n) for n in range(50)]
    written = pa.table({"date": [day.strftime(form) for day in days]})
    assert infer_kind(written["date"]) == "date"
    np.testing.assert_array_equal(
        encoded(learned(written), written), encoded(learned(pa.table({"date": days})), pa.table({"date": days}))
    )


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, None], "number"),
        (["1", " 2.5", "x"], "number"),  # the mistyped one is named with its row
        ([True, None], "boolean"),
        (["Yes", "no", None], "boolean"),
        (["yes", "no", "maybe"], "category"),
        (["a", "b"] * 20, "category"),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "category"),
        ([date(2020, 1, 1)], "date"),
        (["2020-01-01 10:00", None], "date"),
    ],
)
def test_kinds_are_inferred_from_the_values(values, kind):
    assert infer_kind(pa.chunked_array([pa.array(values) if isinstance(values, list) else values])) == kind


def test_all_columns_without_a_kind_are_named_at_once():
    table = pa.table(
        {
            "a": range(30),
            "text": [f"note {n}" for n in range(30)],
            "nothing": pa.nulls(30),
            "list": [[1]] * 30,
            "day": ["01/02/2020"] * 30,
        }
    )
    with pytest.raises(UnknownKindError) as caught:
        infer_schema(table, table.column_names, {}, "fill")
    assert caught.value.problems == {
        "text": "is free text: 30 distinct values in 30 rows",
        "nothing": "has no values",
        "list": "is list<element: int64>" if "element" in str(table["list"].type) else f"is {table['list'].type}",
        "day": "has dates whose month may be the first or the second number; write them as 2024-12-31",
    }


@pytest.mark.parametrize(
    ("kind", "values", "row"),
    [("number", ["1", "x"], 1), ("boolean", ["yes", None, "perhaps"], 2), ("date", ["2020-01-01", "2020-13-01"], 1)],
)
def test_a_value_of_another_kind_is_named_with_its_row(kind, values, row):
    with pytest.raises(FieldError, match=str(values[row])) as caught:
        Schema([KINDS[kind]("field")]).parse(pa.table({"field": values}))
    assert (caught.value.field, caught.value.row) == ("field", row)


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": "secret"},
        {"levels": [1]},
        {"levels": ["a", "a"]},
        {"gap_level": "yes"},
        {"kind": "number", "mean": [float("nan")], "fill": None, "indicator": False},
        {"kind": "number", "mean": [1.0, 2.0], "fill": None, "indicator": False},
        {"kind": "date", "mean": [1.0] * 5, "fill": None, "indicator": False, "has_hours": True, "format": "%s"},
    ],
)
def test_a_damaged_description_is_refused(damage):
    category = {"name": "c", "kind": "category", "levels": ["a", "b"], "gap_level": False, "marks_gaps": False}
    assert Schema.from_list([category]).sizes == [2]
    with pytest.raises((ValueError, KeyError)):
        Schema.from_list([category | damage])


@settings(max_examples=40, deadline=None)
@given(ROWS)
def test_decoded_rows_have_the_numbers_that_they_were_decoded_from(rows):
    filler = {"number": 1.0, "boolean": True, "category": "red", "date": date(2000, 1, 1)}
    schema = learned(as_table([filler, dict.fromkeys(filler), *rows]))
    x = encoded(schema, as_table(rows))
    decoded = schema.decode(x)
    texts = [{name: None if value is None else str(value) for name, value in row.items()} for row in decoded]
    again = pa.table({name: pa.array([row[name] for row in texts], pa.string()) for name in schema.field_names})
    np.testing.assert_array_equal(encoded(schema, again), x)
