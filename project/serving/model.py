"""A model that answers the bodies of requests."""

import time
from typing import Any

import numpy as np

from project.runtime.errors import UserError
from project.serving.artifact import Artifact
from project.serving.json_answer import JSONAnswer
from project.serving.json_rows import JSONRows
from project.serving.limits import Limits
from project.serving.predictions import Predictions
from project.serving.request_error import RequestError

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
# The event loop itself answers requests up to this time: waking a thread takes about as long.
INLINE_SECONDS = 0.002
INLINE_BYTES = 16_384


class Model:
    """Answers the bodies of requests; JSON bodies of up to `inline_bytes` are not worth a thread."""

    def __init__(self, artifact: Artifact, limits: Limits) -> None:
        self.artifact, self.limits = artifact, limits
        self._rows = JSONRows(artifact.metadata, limits.rows)
        self._json = JSONAnswer(artifact.metadata)
        shape = artifact.metadata["in_shape"]
        row, seconds = np.zeros((1, *shape), np.float32), []
        try:
            for _ in range(5):
                start = time.perf_counter()
                artifact.predict(row)
                seconds.append(time.perf_counter() - start)
        except Exception as error:
            raise UserError(f"{artifact.path}: cannot predict a row of zeros: {error}") from error
        shortest = 2 * row.size + 2  # bytes of a row in JSON
        self.inline_bytes = min(INLINE_BYTES, int(shortest * INLINE_SECONDS / min(seconds)))

    def answer(self, content_type: str, body: bytes, options: Any = None) -> tuple[int, bytes]:
        """Return the number of rows, and the answer in the format of the body; raise a RequestError if it is invalid.

        `content_type` is `JSON`, `CSV` or `PARQUET`; `options` go to `Artifact.predict`.
        """
        if content_type != JSON:
            try:
                from project.serving.table_rows import answer_table
            except ModuleNotFoundError as error:
                raise RequestError(415, f"the server lacks {error.name}; send {JSON}") from None
            return answer_table(self.artifact, content_type == PARQUET, body, self.limits.rows, options)
        x, complete = self._rows.read(body)
        return len(x), self._json.write(Predictions.from_outputs(self.artifact.predict(x, options), complete))
