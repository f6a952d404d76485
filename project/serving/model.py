"""An artifact with all that answers need of it."""

import time
from typing import Any

import numpy as np

from project.runtime.errors import UserError
from project.serving.artifact import Artifact
from project.serving.json_answer import JSONAnswer
from project.serving.json_rows import JSONRows
from project.serving.limits import Limits
from project.serving.predictions import predict
from project.serving.request_error import RequestError

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
# The event loop itself answers what takes no longer than this: a thread would take about as long to wake.
INLINE_SECONDS = 0.002
INLINE_BYTES = 16_384


class Model:
    """Answers bodies of requests.

    Args:
        artifact: The model.
        limits: What a request may ask for.

    Attributes:
        inline_bytes: The longest JSON body whose rows take no time worth a thread.
    """

    def __init__(self, artifact: Artifact, limits: Limits) -> None:
        self.artifact, self.limits = artifact, limits
        self._rows = JSONRows(artifact.metadata, limits.rows)
        self._json = JSONAnswer(artifact.metadata)
        shape = artifact.metadata["in_shape"]
        row, taken = np.zeros((1, *shape), np.float32), []
        try:
            for _ in range(5):
                start = time.perf_counter()
                artifact.predict(row)
                taken.append(time.perf_counter() - start)
        except Exception as error:
            raise UserError(f"{artifact.path}: cannot predict a row of zeros: {error}") from error
        shortest = 2 * row.size + 2  # of a row in JSON
        self.inline_bytes = min(INLINE_BYTES, int(shortest * INLINE_SECONDS / min(taken)))

    def answer(self, kind: str, body: bytes, options: Any = None) -> tuple[int, bytes]:
        """Number of rows, and the answer in the kind of the body.

        Args:
            kind: `JSON`, `CSV` or `PARQUET`.
            body: Of the request.
            options: Of the prediction.

        Raises:
            RequestError: If the body is at fault.
        """
        if kind != JSON:
            try:
                from project.serving.table_rows import answer_table
            except ModuleNotFoundError as error:
                raise RequestError(415, f"the server lacks {error.name}: give {JSON}") from None
            return answer_table(self.artifact, kind == PARQUET, body, self.limits.rows, options)
        x, whole = self._rows.read(body)
        return len(x), self._json.write(predict(self.artifact, x, whole, options))
