"""Counters of a server, summed over all of its processes, in Prometheus' text format."""

import mmap
from bisect import bisect_left
from itertools import accumulate, product

TEXT_PATHS = ("/generate", "/v1/completions", "/v1/chat/completions")
PATHS = ("/", "/predict", *TEXT_PATHS, "/v1/models", "/health", "/metadata", "/metrics", "/openapi.json", "other")
STATUSES = (200, 307, 400, 401, 404, 405, 408, 413, 415, 422, 500, 503, 0)
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds, upper ends
# Each process has one slot per path and status, followed by these.
ROWS = len(PATHS) * len(STATUSES)
TOKENS = ROWS + 1
SECONDS = ROWS + 2
FIRST_BUCKET = ROWS + 3
SLOTS = FIRST_BUCKET + len(BUCKETS) + 1

RESPONSE_SLOTS = {response: slot for slot, response in enumerate(product(PATHS, STATUSES))}


class Counters:
    """Counters in memory shared by processes that are forked later; each process adds to its own slots."""

    def __init__(self, processes: int) -> None:
        self._all = memoryview(mmap.mmap(-1, processes * SLOTS * 8)).cast("d")
        self.bind_worker(0)

    def bind_worker(self, number: int) -> None:
        """Add to the slots of one process from now on."""
        self._own = self._all[number * SLOTS : (number + 1) * SLOTS]

    def count_response(self, path: str, status: int) -> None:
        """Count a response."""
        slot = RESPONSE_SLOTS.get((path, status))
        if slot is None:
            slot = RESPONSE_SLOTS[path if path in PATHS else "other", status if status in STATUSES else 0]
        self._own[slot] += 1

    def count_prediction(self, status: int, rows: int, seconds: float, path: str = "/predict") -> None:
        """Count a response with predicted rows, or of a language model with its tokens."""
        self.count_response(path, status)
        self._own[ROWS if path == "/predict" else TOKENS] += rows
        self._own[SECONDS] += seconds
        self._own[FIRST_BUCKET + bisect_left(BUCKETS, seconds)] += 1

    def text(self) -> str:
        """Format the sums over all processes as in https://prometheus.io/docs/instrumenting/exposition_formats."""
        totals = [sum(self._all[slot::SLOTS]) for slot in range(SLOTS)]
        requests = {
            f'{{path="{path}",status="{status or "other"}"}}': totals[slot]
            for (path, status), slot in RESPONSE_SLOTS.items()
            if totals[slot]
        }
        errors = sum(totals[slot] for (_, status), slot in RESPONSE_SLOTS.items() if status >= 400)
        counts = list(accumulate(totals[FIRST_BUCKET:]))
        ends = [*map(str, BUCKETS), "+Inf"]
        seconds = {f'_bucket{{le="{end}"}}': count for end, count in zip(ends, counts, strict=True)}
        seconds |= {"_sum": totals[SECONDS], "_count": counts[-1]}
        return "".join(
            [
                _family("serving_requests_total", "counter", "Requests answered, by path and status.", requests),
                _family("serving_errors_total", "counter", "Requests answered with status 400 or more.", {"": errors}),
                _family("serving_rows_total", "counter", "Rows predicted.", {"": totals[ROWS]}),
                _family("serving_tokens_total", "counter", "Tokens written.", {"": totals[TOKENS]}),
                _family("serving_predict_seconds", "histogram", "Seconds from headers to answer.", seconds),
            ]
        )


def _family(name: str, kind: str, description: str, samples: dict[str, float]) -> str:
    lines = [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]
    return "\n".join([*lines, *(f"{name}{labels} {value:.15g}" for labels, value in samples.items())]) + "\n"
