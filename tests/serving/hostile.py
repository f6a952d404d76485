"""Requests that try to take a server's memory, each as the bytes that a client sends."""

import io
import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from project.serving.model import CSV, JSON, PARQUET

MOST = 2**24  # bytes of a body that the server takes
Parts = Iterator[bytes]
CODECS = ["snappy", "gzip", "brotli", "zstd", "lz4", "none"]


def post(body: bytes, kind: str) -> Parts:
    head = ["POST /predict HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    yield "\r\n".join([*head, "", ""]).encode() + body


def filled(unit: str, seed: random.Random, start: str = "", end: str = "") -> bytes:
    """A body of one text many times."""
    size = seed.choice([MOST, MOST // 4, MOST // 64]) - len(start) - len(end)
    return (start + unit * (size // len(unit)) + end).encode()[:MOST]


def json_body(seed: random.Random) -> Parts:
    number = seed.choice(["1", "0.5", "-1.25e-3", "null", '"a"', "1e300", "9" * 400, "true"])
    units = [
        f"[{number},{number}],",
        f'{{"rooms":{number},"age":{number}}},',
        f'{{"rooms":{number},"age":1,"age":2}},',
        *("[],", "{},", "[[]],", "[[[[]]]],", "[1],", '{"":1},', f"{number},", "null,", ",", " ", '"\\ud83d\\ude00",'),
    ]
    start = '{"rows": ['
    match seed.randrange(6):
        case 0:
            body = ("[" * seed.choice([100, 10_000, MOST])).encode()
        case 1:
            body = filled(seed.choice(["a", "\\u0800", "é", "\\\\"]), seed, start + '["', '", 1]]}')
        case 2:
            body = filled("9", seed, start + "[1, ", "]]}")
        case 3:
            names = "".join(f'"{index}":1,' for index in range(MOST // 12))
            body = (start + "{" + names[:-1] + "}]}").encode()
        case _:
            body = filled(seed.choice(units), seed, start, "[1, 1]]}")
    return post(body, JSON)


def csv_body(seed: random.Random) -> Parts:
    cell = seed.choice(["", "1", "a", '"', '""', '"a\nb"', "x" * 1_000, "\0"])
    head = seed.choice(["", "\n", "\r\n\r\n", "\ufeff", "\ufeff\n", '"\n",', "rooms,age\n", " \n"])
    others = ",".join(map(str, range(1_000)))
    match seed.randrange(5):
        case 0:
            body = filled(cell + ",", seed, head, "\n1,2\n")
        case 1:
            body = filled(cell + "," + cell + "\n", seed, head + "rooms,age\n")
        case 2:
            body = filled(",".join([cell] * 1_002) + "\n", seed, f"{head}rooms,age,{others}\n")
        case 3:
            body = filled(seed.choice(["\n", "\r", "\r\n", " \n", ",\n", '"', "é", "\n,"]), seed, head)
        case _:
            names = ",".join(str(index) for index in range(1_000_000))
            body = f"{head}rooms,age,{names}\n1,2\n".encode()[:MOST]
    return post(body, CSV)


def in_parquet(columns: dict[str, pa.Array], **options: object) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), file, **options)
    return file.getvalue()


def long_values(count: int, length: int) -> list[bytes]:
    """Distinct values that a codec makes small."""
    return [b"%08d" % index + b"x" * length for index in range(count)]


def parquet_body(seed: random.Random) -> Parts:
    rows = seed.choice([10, 300])
    kinds = [pa.binary(), pa.large_binary(), pa.string(), pa.large_string()]
    length = seed.choice([10, 1_000, 70_000, 700_000])
    value: pa.Array = pa.array(long_values(rows, length), pa.binary()).cast(seed.choice(kinds))
    if seed.random() < 0.5:  # the same values many times
        rows = min(100_000, 3 * 10**8 // length)
        indices = pa.array(np.arange(rows) % len(value), pa.int32())
        value = pa.DictionaryArray.from_arrays(indices, value)
    nested = seed.choice([None, None, "list", "struct", "map"])
    if nested == "list":
        value = pa.ListArray.from_arrays(pa.array(np.arange(len(value) + 1), pa.int32()), value)
    elif nested == "struct":
        value = pa.StructArray.from_arrays([value], ["a"])
    columns = {"rooms": pa.array(np.ones(rows)), "age": pa.array(np.ones(rows)), "value": value}
    if seed.random() < 0.3:
        columns |= dict.fromkeys(map(str, range(seed.choice([900, 998, 20_000]))), columns["rooms"][:rows])
    groups = seed.choice([1, 10, 1_000]) if len(columns) < 10 and rows > 1_000 else 1
    body = in_parquet(
        columns,
        compression=seed.choice(CODECS),
        use_dictionary=seed.random() < 0.5,
        row_group_size=max(rows // groups, 1),
        data_page_version=seed.choice(["1.0", "2.0"]),
        store_schema=seed.random() < 0.7,
    )
    return post(body[:MOST], PARQUET)


def damaged_parquet(seed: random.Random) -> Parts:
    """A body in which the footer, or a page's head, says something else than what is there."""
    columns = {"rooms": pa.array(np.ones(50_000)), "age": pa.array(np.ones(50_000))}
    columns["text"] = pa.array([b"x" * seed.choice([1, 1_000])] * 50_000)
    body = bytearray(in_parquet(columns, compression=seed.choice(CODECS), row_group_size=seed.choice([500, 50_000])))
    footer = struct.unpack("<I", body[-8:-4])[0]
    start, stop = seed.choice([(4, 200), (len(body) - 8 - footer, len(body) - 8), (len(body) - 8, len(body) - 4)])
    for _ in range(seed.choice([1, 2, 8])):
        body[seed.randrange(start, stop)] = seed.choice([0, 1, 0x7F, 0x80, 0xFF, seed.randrange(256)])
    return post(bytes(body), PARQUET)


def endless_head(seed: random.Random) -> Parts:
    yield b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
    unit = seed.choice([b"a: b\r\n", b"a" * 5_000 + b": b\r\n", b"x", b"a: b\r\n b\r\n", b"Content-Type: a\r\n"])
    for _ in range(1_200):
        yield unit * (2**17 // len(unit))


def endless_address(seed: random.Random) -> Parts:
    yield seed.choice([b"GET /", b"POST /predict?", b"GET http://"])
    for _ in range(1_200):
        yield b"%41a" * 2**15


def endless_chunks(seed: random.Random) -> Parts:
    yield b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n"
    unit = seed.choice([b"1\r\na\r\n", b"1;a=b\r\na\r\n", b"10000\r\n" + b"a" * 2**16 + b"\r\n", b"1;" + b"a" * 2**16])
    if seed.random() < 0.3:
        yield b"1\r\na\r\n0\r\n"
        unit = b"a: b\r\n"
    for _ in range(600):
        yield unit * max(2**17 // len(unit), 1)


def pipelined(seed: random.Random) -> Parts:
    unit = seed.choice([b"GET /metadata HTTP/1.1\r\nHost: localhost\r\n\r\n", next(post(b'{"rows": [[1, 1]]}', JSON))])
    for _ in range(100):
        yield unit * (2**17 // len(unit))


def garbage(seed: random.Random) -> Parts:
    yield seed.choice(
        [b"", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"\r\n"]
    )
    for _ in range(100):
        yield seed.randbytes(2**16)


KINDS: dict[str, Callable[[random.Random], Parts]] = {
    kind.__name__: kind
    for kind in (
        *(json_body, csv_body, parquet_body, damaged_parquet),
        *(endless_head, endless_address, endless_chunks, pipelined, garbage),
    )
}


def send(port: int, parts: Parts, seconds: float) -> bytes:
    """Send until the end, or until the server closes the connection; return the start of what it answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection, suppress(OSError):
        with suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        return connection.recv(4_096)
    return b""
