"""Whatever is sent, a server's memory stays under a limit, and the next good request is answered."""

import random
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from project.serving.memory import MemoryBudget
from project.serving.model import CSV, JSON, PARQUET
from project.serving.request_error import RequestError
from tests.serving.hostile import CODECS, KINDS, MOST, in_parquet, long_values, send
from tests.serving.running import Running, running

MAX_MEMORY = 300 * 10**6  # bytes, of which 140 million are the libraries


@pytest.fixture(scope="module")
def server(houses: Path) -> Iterator[Running]:
    with running(houses, "--max_seconds", 5) as server:
        yield server


@pytest.fixture(scope="module")
def patient(houses: Path) -> Iterator[Running]:
    """A server that gives large bodies more time."""
    with running(houses) as server:
        yield server


@pytest.fixture(autouse=True)
def memory_is_limited(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in {"server", "patient"} & {*request.fixturenames}:
        server = request.getfixturevalue(name)
        assert server.predict([[1, 1]]) == [{"price": 59}]
        assert most_memory(server.pid) <= MAX_MEMORY


def most_memory(pid: int) -> int:
    """The most bytes of memory that a process ever had."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1_024


def attack(server: Running, kind: str, number: int) -> None:
    send(server.port, KINDS[kind](random.Random(f"{kind} {number}")), seconds=60)
    assert server.process.poll() is None, "the server has ended"


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_requests_take_no_memory(server, kind):
    for number in range(3):
        attack(server, kind, number)


@pytest.mark.slow
def test_two_hundred_hostile_requests_take_no_memory(server):
    kinds = list(KINDS)
    for number in range(200):
        attack(server, kinds[number % len(kinds)], 100 + number)
        assert most_memory(server.pid) <= MAX_MEMORY, f"after {kinds[number % len(kinds)]} {100 + number}"


@pytest.mark.parametrize("compression", CODECS)
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_string()], ids=str)
def test_few_bytes_that_stand_for_gigabytes_are_refused_unread(patient, compression, kind):
    ones = pa.array([1.0] * 400)
    values = pa.array(long_values(400, 100_000), pa.binary()).cast(kind)  # 40 MB
    body = in_parquet({"rooms": ones, "age": ones, "text": values}, compression=compression, use_dictionary=False)
    answer = patient.post(body, PARQUET)
    assert answer.status_code == 413, answer.text


def test_the_heads_of_pages_are_believed_and_not_the_footer(patient):
    """The uncompressed size in the footer, which is written as the varint 0xF0.., is replaced by a small one."""
    ones = pa.array([1.0] * 400)
    columns = {"rooms": ones, "age": ones, "text": pa.array(long_values(400, 100_000), pa.binary())}
    body = bytearray(in_parquet(columns, compression="zstd", use_dictionary=False, write_statistics=False))
    size = pa.parquet.read_metadata(pa.BufferReader(body)).row_group(0).column(2).total_uncompressed_size
    written = varint(2 * size)  # positive numbers are doubled
    start = body.rindex(written)
    body[start : start + len(written)] = b"\x80" * (len(written) - 1) + b"\0"
    assert pa.parquet.read_metadata(pa.BufferReader(body)).row_group(0).column(2).total_uncompressed_size == 0
    answer = patient.post(bytes(body), PARQUET)
    assert answer.status_code == 413, answer.text
    assert "MiB when read" in answer.json()["detail"]


def varint(value: int) -> bytes:
    parts = []
    while value:
        parts.append(value & 127 | (128 if value > 127 else 0))
        value >>= 7
    return bytes(parts)


def test_an_encoding_that_repeats_long_prefixes_is_refused(patient):
    ones = pa.array([1.0] * 50_000)
    columns = {"rooms": ones, "age": ones, "text": pa.array(["x" * 1_000] * 50_000)}
    body = in_parquet(columns, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})
    answer = patient.post(body, PARQUET)
    assert answer.status_code == 422, answer.text
    assert "DELTA_BYTE_ARRAY" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b'{"rows": [' + b"[]," * 5_000_000 + b"[1, 1]]}", JSON, "MiB when read"),
        (b'{"rows": [' + b'{"a":1},' * 2_000_000 + b"[1, 1]]}", JSON, "MiB when read"),
        (b'{"rows": [[' + b"0.5," * 4_000_000 + b"1]]}", JSON, "MiB when read"),
        (b"\n" + b"a," * 500_000 + b"\n1,2\n", CSV, "columns; send the features"),
        (b'"\n",' + b"a," * 500_000 + b"\n1,2\n", CSV, "columns; send the features"),
        (b"a" * MOST, CSV, "a first line of more than"),
        (b"rooms,age\n" + b",\n" * 5_000_000, CSV, "MiB when read"),
    ],
    ids=["arrays", "objects", "numbers", "columns", "quoted", "line", "rows"],
)
def test_text_that_would_grow_is_refused_unread(patient, body, kind, told):
    answer = patient.post(body, kind)
    assert answer.status_code == 413, answer.text
    assert told in answer.json()["detail"]


def test_a_budget_is_shared_and_given_back():
    budget = MemoryBudget(100, seconds=0.01)
    with budget.reserve(60), budget.reserve(40):
        with pytest.raises(RequestError, match="busy"), budget.reserve(1):
            pass
        with pytest.raises(RequestError, match="MiB when read"), budget.reserve(101):
            pass
    with budget.reserve(100):
        pass
