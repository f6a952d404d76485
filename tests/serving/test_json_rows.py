import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project.serving.inputs import FLOAT32_MAX
from project.serving.json_rows import JSONRows
from project.serving.request_error import RequestError
from tests.serving.artifacts import metadata

TABLE = metadata(["a", "b"], ["y"])
IMAGES = metadata([f"p{number}" for number in range(4)], ["y"], in_shape=[1, 2, 2])
COLUMN = metadata(["p0", "p1"], ["y"], in_shape=[2, 1, 1])
SERIES = metadata(["a", "b"], ["y"], in_shape=[2, 2], window=2)
FREE = SERIES | {"dynamic_length": True}
ONE = metadata(["a"], ["y"])


def read(described, rows):
    body = rows if isinstance(rows, bytes) else json.dumps({"rows": rows}).encode()
    return JSONRows(described, max_rows=100).read(body)[0].tolist()


@pytest.mark.parametrize(
    ("described", "rows", "x"),
    [
        (TABLE, [], []),
        (TABLE, [{"b": 2, "a": 1.5}, {"a": 3, "b": -4e2}], [[1.5, 2], [3, -400]]),
        (TABLE, [[1, 2], {"b": 4, "a": 3}], [[1, 2], [3, 4]]),
        (ONE, [{"a": 1}, {"a": 2}], [[1], [2]]),
        (ONE, [[1], [2]], [[1], [2]]),
        (IMAGES, [[1, 2, 3, 4]], [[[[1, 2], [3, 4]]]]),
        (IMAGES, [[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]]]], [[[[1, 2], [3, 4]]], [[[5, 6], [7, 8]]]]),
        (IMAGES, [{"p3": 4, "p0": 1, "p1": 2, "p2": 3}], [[[[1, 2], [3, 4]]]]),
        (COLUMN, [[1, 2]], [[[[1]], [[2]]]]),
        (COLUMN, [[[[1]], [[2]]]], [[[[1]], [[2]]]]),
        (COLUMN, [[[[1]], [[2]]], [3, 4]], [[[[1]], [[2]]], [[[3]], [[4]]]]),
        (SERIES, [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        (SERIES, [[{"b": 2, "a": 1}, {"a": 3, "b": 4}]], [[[1, 2], [3, 4]]]),
        (SERIES, [[{"b": 2, "a": 1}, [3, 4]]], [[[1, 2], [3, 4]]]),
        (FREE, [[[1, 2]], [[3, 4]]], [[[1, 2]], [[3, 4]]]),
        (FREE, [[[1, 2], [3, 4], {"a": 5, "b": 6}]], [[[1, 2], [3, 4], [5, 6]]]),
    ],
)
def test_every_way_to_write_a_row_is_taken(described, rows, x):
    assert read(described, rows) == x


@pytest.mark.parametrize("missing", ["mean", "drop", "error"])
@pytest.mark.parametrize(
    ("described", "rows", "x", "whole", "row", "field"),
    [
        (
            TABLE,
            [[7, 8], {"a": 1}, {"b": 2, "a": None}, [3, None]],
            [[7, 8], [1, 2], [1, 2], [3, 2]],
            [1, 0, 0, 0],
            2,
            "b",
        ),
        (SERIES, [[[7, 8], [9, 0]], [{"a": 5}, [None, 6]]], [[[7, 8], [9, 0]], [[5, 2], [1, 6]]], [1, 0], 2, "b"),
    ],
)
def test_what_is_missing_is_treated_as_in_training(described, rows, x, whole, row, field, missing):
    reader = JSONRows(described | {"missing": missing}, max_rows=100)  # the means are 1 and 2
    body = json.dumps({"rows": rows}).encode()
    if missing == "error":
        with pytest.raises(RequestError, match="missing value") as caught:
            reader.read(body)
        assert (caught.value.row, caught.value.field) == (row, field)
    elif missing == "drop":
        assert reader.read(body)[1].tolist() == whole
    else:
        assert reader.read(body)[0].tolist() == x
        assert reader.read(body)[1] is None


HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    ("described", "rows", "row", "field", "told"),
    [
        (TABLE, b'{"rows": [[1, 2], [3, NaN]]}', 2, "b", "NaN is not a finite float32"),
        (TABLE, b'{"rows": [[1, 2], {"a": -Infinity, "b": 1}]}', 2, "a", "-Infinity is not a finite float32"),
        (TABLE, b'{"rows": [[1, 1e999]]}', 1, "b", "Infinity is not a finite float32"),
        (TABLE, b'{"rows": [[1, "NaN"]]}', 1, "b", '"NaN" is not a number'),
        (TABLE, b'{"rows": [["Infinity", 1]]}', 1, "a", "is not a number"),
        (TABLE, b'{"rows": [[1, 2], [1e39, 1]]}', 2, "a", "is not a finite float32"),
        (TABLE, f'{{"rows": [[{HUGE}, 1]]}}'.encode(), 1, "a", "is not a finite float32"),
        (TABLE, [[1, True]], 1, "b", "true is not a number"),
        (TABLE, [[1, "2"]], 1, "b", '"2" is not a number'),
        (TABLE, [[1, [2]]], 1, "b", "an array of 1 is not a number"),
        (TABLE, [[1, 2], [1, 2, 3]], 2, None, "expected an object or an array of 2 numbers, got an array of 3"),
        (TABLE, [[]], 1, None, "got an array of 0"),
        (TABLE, [1, 2], 1, None, "expected an object or an array of 2 numbers, got 1"),
        (TABLE, [None], 1, None, "got null"),
        (TABLE, [[1, 2], {"a": 1, "b": 2, "c": 3}], 2, "c", "unknown feature"),
        (TABLE, [{"a": 1, "b": 2, "": 3}], 1, "", "unknown feature"),
        (TABLE, b'{"rows": [[1, 2], {"a": 1, "b": 2, "a": 3}]}', 2, "a", "repeated"),
        (TABLE, b'{"rows": [{"a": 1, "b": 2, "\\u0061": ":"}]}', 1, "a", '":" is not a number'),
        (TABLE, b'{"rows": [{"a": ":", "b": 2, "\\u0061": 1}]}', 1, "a", "repeated"),
        (TABLE, b'{"rows": [], "rows": [[1, 2]]}', None, None, "repeated"),
        (TABLE, b'{"rows": [[1, 2]], "more": 1}', None, None, 'expected {"rows"'),
        (TABLE, b"[[1, 2]]", None, None, 'expected {"rows"'),
        (TABLE, b'{"rows": {"a": 1}}', None, None, 'expected {"rows"'),
        (TABLE, [[1, 2]] * 101, None, None, "101 rows; send at most 100 per request"),
        (IMAGES, [[1, 2, 3]], 1, None, "expected an object or an array of 1 x 2 x 2 or 4 numbers, got an array of 3"),
        (IMAGES, [[[[1, 2], [3]]]], 1, None, "an array of 1 x 2 x 2 or 4 numbers, got an array of 1"),
        (IMAGES, [[[[1, 2], [3, None]]], [[[1, 2], [3, "x"]]]], 2, "p3", '"x" is not a number'),
        (COLUMN, [[[[1]], [2]]], 1, None, "an array of 2 x 1 x 1 or 2 numbers, got 2"),
        (SERIES, [[[1, 2], [3, 4]], [[1, 2]]], 2, None, "expected an array of 2 time steps, got an array of 1"),
        (SERIES, [[1, 2]], 1, None, "time step 1: expected an object or an array of 2 numbers, got 1"),
        (SERIES, [{"a": 1, "b": 2}], 1, None, "expected an array of 2 time steps, got an object"),
        (SERIES, [[[1, 2], {"a": 1, "c": 2}]], 1, "c", "time step 2: unknown feature; remove it"),
        (SERIES, b'{"rows": [[[1, 2], {"a": 1, "b": 2, "b": 2}]]}', 1, "b", "repeated"),
        (FREE, [[[1, 2]], [[1, 2], [3, 4]]], 2, None, "expected 1 time steps, as in the first row, got 2"),
        (FREE, [[]], 1, None, "expected an array of 1 to 1024 time steps, got an array of 0"),
    ],
)
def test_what_is_wrong_is_told_with_row_and_feature(described, rows, row, field, told):
    with pytest.raises(RequestError) as caught:
        read(described, rows)
    assert (caught.value.row, caught.value.field) == (row, field)
    assert told in caught.value.detail
    shown = json.loads(caught.value.body)
    assert shown.get("row") == row
    assert shown.get("field") == field


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e39", "-1e39"])
def test_one_number_among_many_is_found(number):
    rows = ["[1, 2]"] * 99 + [f"[3, {number}]"]
    with pytest.raises(RequestError) as caught:
        read(TABLE, f'{{"rows": [{", ".join(rows)}]}}'.encode())
    assert (caught.value.row, caught.value.field) == (100, "b")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"rows": [[1, 2],]}',
        b'{"rows": [[1, nan]]}',
        b'{"rows": [[1, +Infinity]]}',
        b'{"rows": [["\xff", 2]]}',
        b'{"rows": [["\\ud800", 2]]}',
        b'\xef\xbb\xbf{"rows": []}',
        '{"rows": []}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"rows": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"rows": [[1' + b"0" * 10_000 + b", 2]]}",
    ],
)
def test_what_is_not_json_is_told(body):
    with pytest.raises(RequestError, match="not JSON") as caught:
        read(TABLE, body)
    assert caught.value.status == 400


def test_names_with_colons_are_found_twice_too():
    described = metadata(["a:b", "c"], ["y"])
    assert read(described, [{"a:b": 1, "c": 2}]) == [[1, 2]]
    assert read(described, b'{"rows": [{"a\\u003ab": 1, "c": 2}]}') == [[1, 2]]
    with pytest.raises(RequestError, match="repeated"):
        read(described, b'{"rows": [{"a\\u003ab": 1, "c": 2, "a\\u003ab": 3}]}')


def test_a_name_many_times_takes_no_time_to_tell():
    pairs = ", ".join(f'"a": {number}' for number in range(100_000))
    with pytest.raises(RequestError, match="repeated"):
        read(TABLE, f'{{"rows": [{{"b": 1, {pairs}}}]}}'.encode())


numbers = st.one_of(
    st.floats(-FLOAT32_MAX, FLOAT32_MAX), st.integers(-(10**40), 10**40), st.none(), st.booleans(), st.just("x")
)
items = st.recursive(numbers, lambda inner: st.lists(inner, max_size=4), max_leaves=8)
objects = st.dictionaries(st.sampled_from(["a", "b", "p0", "p1", "p2", "p3", "c"]), numbers, max_size=4)
steps = st.one_of(
    objects, st.lists(numbers, min_size=2, max_size=2), st.lists(st.floats(-9, 9), min_size=2, max_size=2)
)
row_lists = st.one_of(
    st.lists(st.one_of(items, objects), max_size=3),
    st.lists(steps, max_size=3),
    st.lists(st.lists(steps, min_size=1, max_size=3), max_size=3),
)


@settings(max_examples=400, deadline=None)
@given(rows=row_lists, described=st.sampled_from([TABLE, IMAGES, COLUMN, SERIES, FREE, ONE]))
def test_the_quick_way_agrees_with_the_slow_one(rows, described):
    reader = JSONRows(described, max_rows=100)
    quick = reader._fast_path(rows)
    if quick is not None:
        slow = reader._slow_path(rows)
        assert quick.shape == slow.shape
        np.testing.assert_array_equal(quick, slow.astype(np.float32))


@pytest.mark.parametrize("described", [TABLE, IMAGES, SERIES, FREE])
def test_rows_that_are_alike_take_the_quick_way(described):
    shape = described["in_shape"]
    rows = np.arange(3.0 * math.prod(shape)).reshape(3, *shape).tolist()
    assert JSONRows(described, max_rows=100)._fast_path(rows) is not None
