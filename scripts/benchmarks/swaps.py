"""Latency of requests while the model is replaced: `python -m benchmarks.swaps ARTIFACT`, from the folder scripts."""

import http.client
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.serving import MAX_SECONDS, rows_in_json, started

SECONDS, SWAPS, PERCENTILE = 20.0, 20, 0.99


def latencies(port: int, seconds: float) -> list[float]:
    """Return the seconds that each request of one client took, from the shortest to the longest."""
    body, found = rows_in_json(1), list[float]()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=MAX_SECONDS)
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        connection.request("POST", "/predict", body, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}")
        found.append(time.perf_counter() - start)
    connection.close()
    return sorted(found)


def percentile(values: list[float], share: float = PERCENTILE) -> float:
    """Return the value that is not exceeded by this share of sorted values."""
    return values[min(int(share * len(values)), len(values) - 1)]


def swap(path: Path, times: int, seconds: float) -> None:
    """Replace a file by a copy of it, evenly over a time."""
    for number in range(times):
        new = path.with_name(f"{number}")
        shutil.copy(path, new)
        new.replace(path)
        time.sleep(seconds / times)


def main(source: Path) -> None:
    """Print the percentile without and with swaps, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        shutil.copy(source, path)
        with started(path) as server:
            latencies(server.port, 1)
            quiet = percentile(latencies(server.port, SECONDS))
            swaps = threading.Thread(target=swap, args=(path, SWAPS, SECONDS))
            swaps.start()
            busy = percentile(latencies(server.port, SECONDS))
            swaps.join()
    print(f"p99 without swaps {1e3 * quiet:.2f} ms, with {SWAPS} {1e3 * busy:.2f} ms: {busy / quiet:.1f} times")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
