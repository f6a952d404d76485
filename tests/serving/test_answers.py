import csv
import io
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from project.inference.predict import predict
from project.serving.metadata import read_metadata
from project.serving.model import CSV, PARQUET


def in_parquet(table):
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


def test_one_row_and_thousands_are_answered_in_order(house_server):
    rows = np.random.default_rng(0).normal(size=(10_000, 2))
    for count in (1, 3, 10_000):
        for given in (rows[:count].tolist(), [{"age": age, "rooms": rooms} for rooms, age in rows[:count]]):
            found = [prediction["price"] for prediction in house_server.predict(given)]
            np.testing.assert_allclose(found, rows[:count] @ [50, -1] + 10, rtol=1e-5, atol=1e-4)


def test_numbers_are_exact_to_the_last_bit_of_float32(house_server):
    rows = np.random.default_rng(1).normal(size=(200, 2)) * 1e3
    found = [prediction["price"] for prediction in house_server.predict(rows.tolist())]
    assert np.float32(found).tolist() == pytest.approx((rows @ [50, -1] + 10).tolist(), rel=1e-5)
    assert [float(f"{np.float32(number):.9g}") for number in found] == found


def test_no_rows_get_no_predictions(house_server):
    assert house_server.predict([]) == []


def test_classes_come_with_probabilities_and_spread(servers):
    _, server = servers["pets"]
    answer = server.post(json.dumps({"rows": [[3, 1], {"height": 0, "weight": 2}]})).json()
    first, second = answer["predictions"]
    high = math.exp(2) / (1 + math.exp(2))
    assert first["species"] == "cat"
    assert second["species"] == 'dog "%s"'
    assert first["probabilities"] == pytest.approx({"cat": high, 'dog "%s"': 1 - high}, rel=1e-5)
    assert answer["spread"][0] == first["probabilities"]  # this artifact says so


def test_rows_that_lack_a_value_get_what_training_did(servers):
    _, pets = servers["pets"]
    answer = pets.post(b'{"rows": [[1, null], {"height": 1}, [1, 0]]}').json()
    assert [row and row["species"] for row in answer["predictions"]] == [None, None, "cat"]
    assert answer["spread"][:2] == [None, None]
    _, images = servers["images"]  # its means are 1 to 6
    assert images.predict([[None] * 6, {"pixel_1_2": 100}]) == [{"weighted": 70}, {"weighted": 40 + 500}]
    _, houses = servers["houses"]
    answer = houses.post(b'{"rows": [[1, 2], [3, null]]}')
    assert answer.status_code == 422
    assert (answer.json()["row"], answer.json()["field"]) == (2, "age")


def test_an_image_is_an_object_or_an_array_flat_or_nested(servers):
    metadata, server = read_metadata(servers["images"][0]), servers["images"][1]
    pixels = [2, 3, 5, 7, 11, 13]
    named = dict(zip(metadata["feature_names"], pixels, strict=True))
    found = server.predict([pixels, [[pixels[:3], pixels[3:]]], named])
    assert found == [{"weighted": sum(place * pixel for place, pixel in enumerate(pixels))}] * 3


def test_a_series_is_forecast_from_a_window(servers):
    _, server = servers["series"]
    window = [[1, 2], [3, 4], [5, 6]]
    named = [{"b": b, "a": a} for a, b in window]
    assert server.predict([window, named]) == [{"a": 654321, "a+2": 21}] * 2
    assert server.predict([[[1, 2], [3, None], [5, 6]]]) == [None]


def test_a_prediction_beyond_float32_is_null(house_server):
    assert house_server.predict([[3e38, 0], [1, 0]]) == [None, {"price": 60}]


TABLES = {
    "houses": 'id,age,note,rooms\n007,1.50,"a, ""b""",2\n008,-1e1,,3\n',
    "pets": "height,weight,name\n1,2,x\nNA,1,y\n3,1,z\n",
    "images": "pixel_0_0,pixel_0_1,pixel_0_2,pixel_1_0,pixel_1_1,pixel_1_2\n1,2,3,4,5,6\n1,,3,4,,6\n",
    "series": "b,a,t\n2,1,x\n4,3,x\n6,5,x\n,7,x\n10,9,x\n12,11,x\n14,13,x\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_comes_back_as_predict_writes_it(servers, folder, name):
    artifact, server = servers[name]
    (folder / "in.csv").write_text(TABLES[name])
    predict(str(artifact), folder / "in.csv", folder / "out.csv")
    answer = server.post(TABLES[name], CSV)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == CSV
    assert answer.text == (folder / "out.csv").read_text()
    answered = list(csv.reader(io.StringIO(answer.text)))
    assert len(answered[0]) > len(TABLES[name].splitlines()[0].split(","))

    rows = pyarrow.csv.read_csv(folder / "in.csv")
    pyarrow.parquet.write_table(rows, folder / "in.parquet")
    predict(str(artifact), folder / "in.parquet", folder / "out.parquet")
    answer = server.post((folder / "in.parquet").read_bytes(), PARQUET)
    assert answer.status_code == 200, answer.text
    found = pyarrow.parquet.read_table(io.BytesIO(answer.content))
    assert found == pyarrow.parquet.read_table(folder / "out.parquet")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_without_rows_comes_back_with_its_columns(servers, name):
    _, server = servers[name]
    head = TABLES[name].splitlines()[0] + "\n"
    answer = server.post(head, CSV)
    assert answer.status_code == 200, answer.text
    assert answer.text.startswith(head.strip())
    assert len(answer.text.splitlines()) == 1


def test_fewer_time_steps_than_a_window_have_no_forecast(servers):
    answer = servers["series"][1].post("a,b\n1,2\n", CSV)
    assert answer.text == "a,b,a_predicted,a+2_predicted\n1,2,,\n"


@pytest.mark.parametrize(
    ("text", "status", "row", "field", "told"),
    [
        ("rooms,old\n1,2\n", 422, None, "age", "no such column; the columns are: rooms, old"),
        ("rooms,age\n1,2\n3,x\n", 422, 2, "age", "'x' is not a number"),
        ("rooms,age\n1,2\n,4\n", 422, 2, "rooms", "missing value"),
        ("rooms,age\n1,2\n3,nan\n", 422, 2, "age", "missing value"),
        ("rooms,age\n1,inf\n", 422, 1, "age", "inf is not a finite float32"),
        ("rooms,age\n1,2\n-Infinity,1\n", 422, 2, "rooms", "-inf is not a finite float32"),
        ("rooms,age\n1,2\n1e39,1\n", 422, 2, "rooms", "1e+39 is not a finite float32"),
        ("rooms,age\n1,2\n3,4,5\n", 400, 2, None, "Expected 2 columns, got 3"),
        ("rooms,age,age\n1,2,3\n", 422, None, "age", "repeated"),
        ("rooms,age,price_predicted\n1,2,3\n", 422, None, "price_predicted", "the column already exists"),
        ("rooms;age\n1;2\n", 422, None, "rooms", "no such column"),
        ("\n", 422, None, "rooms", "no such column"),
        ("", 400, None, None, "the body is empty"),
        (b"rooms,age\n1,2\n1,\xff\n", 400, 2, None, "invalid UTF8 data"),
        (b"rooms,age,\xff\n1,2,3\n", 400, None, None, "not CSV in UTF-8"),
        ("rooms,age\n" + "1,2\n" * 20_001, 422, None, None, "20001 rows; send at most 20000"),
        ("," * 5_000 + "\n", 413, None, None, "5001 columns"),
    ],
)
def test_what_is_wrong_with_csv_is_told(house_server, text, status, row, field, told):
    answer = house_server.post(text, CSV)
    assert answer.status_code == status, answer.text
    assert (answer.json().get("row"), answer.json().get("field")) == (row, field)
    assert told in answer.json()["detail"]
    assert house_server.predict([[1, 1]]) == [{"price": 59}]


AGES = {"rooms": pa.array([1.0, 2.0]), "age": pa.array([3.0, 4.0])}


def long_texts():
    """Columns of 400 MB, which only the test that needs them creates."""
    note = pa.array(["x" * 20_000] * 20_000)
    return {"rooms": pa.array([1.0] * 20_000), "age": pa.array([1.0] * 20_000), "note": note}


def many_columns():
    column = pa.array([1] * 20_000, pa.decimal128(30, 2))
    return dict.fromkeys(["rooms", "age", *map(str, range(999))], column)


@pytest.mark.parametrize(
    ("columns", "status", "row", "field", "told"),
    [
        ({"rooms": pa.array([1.0])}, 422, None, "age", "no such column"),
        (AGES | {"age": pa.array(["1", "old"])}, 422, 2, "age", "'old' is not a number"),
        (AGES | {"age": pa.array([b"1", b"\xff"])}, 422, 2, "age", "is not a number"),
        (AGES | {"age": pa.array([1, 2], pa.date32())}, 422, None, "age", "is date32[day], not a number"),
        (AGES | {"age": pa.array([1.0, math.inf])}, 422, 2, "age", "inf is not a finite float32"),
        (AGES | {"age": pa.array([1.0, math.nan])}, 422, 2, "age", "missing value"),
        (AGES | {"age": pa.array([1.0, 1e39])}, 422, 2, "age", "1e+39 is not a finite float32"),
        (AGES | {"tags": pa.array([[1], [2]])}, 422, None, "tags", "is list<element: int64>; send plain columns"),
        ({"rooms": pa.array([1.0] * 20_001), "age": pa.array([1.0] * 20_001)}, 422, None, None, "20001 rows"),
        (long_texts, 413, None, None, "381 MiB when read"),
        (many_columns, 413, None, None, "MiB when read"),
    ],
)
def test_what_is_wrong_with_parquet_is_told(house_server, columns, status, row, field, told):
    table = pa.table(columns() if callable(columns) else columns)
    answer = house_server.post(in_parquet(table), PARQUET)
    assert answer.status_code == status, answer.text
    assert (answer.json().get("row"), answer.json().get("field")) == (row, field)
    assert told in answer.json()["detail"]
    assert house_server.predict([[1, 1]]) == [{"price": 59}]


def test_a_damaged_parquet_body_is_told(house_server):
    whole = in_parquet(pa.table(AGES))
    for length in (1, 4, len(whole) // 2, len(whole) - 1):
        answer = house_server.post(whole[:length], PARQUET)
        assert answer.status_code == 400, answer.text
        assert answer.json()["detail"].startswith("not Parquet")


def test_text_and_categories_of_parquet_are_passed_through(house_server):
    table = pa.table(
        AGES
        | {
            "age": pa.array(["3", "4"], pa.large_string()),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "raw": pa.array([b"\xff", None]),
        }
    )
    found = pyarrow.parquet.read_table(io.BytesIO(house_server.post(in_parquet(table), PARQUET).content))
    assert found.select(table.column_names) == table
    assert found["price_predicted"].to_pylist() == [57, 106]
