"""A model that predicts for the bodies of requests."""

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from project.runtime.errors import UserError
from project.serving.artifact import Array, Artifact
from project.serving.inputs import INPUT_MEMORY, Mask
from project.serving.json_answer import JSONAnswer
from project.serving.json_rows import JSONRows, json_memory
from project.serving.limits import Limits
from project.serving.memory import MemoryBudget
from project.serving.metadata import image_of
from project.serving.predictions import Predictions, output_memory
from project.serving.request_error import RequestError

if TYPE_CHECKING:
    from project.schema.image import Image

IMAGE_TYPES = tuple(f"image/{name}" for name in ("png", "jpeg", "webp", "gif", "bmp", "tiff"))
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
# The event loop answers requests that take up to this time itself, because waking a thread takes about as long.
INLINE_SECONDS = 0.002
INLINE_BYTES = 16_384
INLINE_MEMORY = 2**22  # the largest answer of such a request, in bytes
IMAGE_SHARE = 2  # decoding an image may take the memory of the budget divided by this
BASE64_MEMORY = 4  # bytes of memory for each byte of base64: as a text of Python and of Arrow, and decoded
SHORTEST_ROW = 3  # bytes of a row in JSON: an empty object and a comma


class Model:
    """Predicts the rows in the bodies of requests.

    JSON bodies of up to `inline_bytes` are answered without a thread and without reserving memory, because either would
    take longer than the prediction.

    Args:
        artifact: The exported model.
        limits: Limits on requests.
        budget: Memory that all requests share, those that a replaced model still answers included.
    """

    paths = ("/predict",)

    def __init__(self, artifact: Artifact, limits: Limits, budget: MemoryBudget) -> None:
        self.artifact, self.limits, self.budget = artifact, limits, budget
        self.image = image_of(artifact.metadata)
        self._image_memory = budget.size // IMAGE_SHARE if self.image is not None else 0
        self._rows = JSONRows(artifact.metadata, limits.rows, self._image_memory)
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
        if self.image is not None:  # a short body may hold a large image
            self.inline_bytes = 0
        self.inline_bytes = min(self.inline_bytes, SHORTEST_ROW * INLINE_MEMORY // output_memory(artifact))

    @property
    def content_types(self) -> tuple[str, ...]:
        """Content types of the bodies that it accepts."""
        return (JSON, *IMAGE_TYPES) if self.image is not None else (JSON, CSV, PARQUET)

    def answer_inline(self, body: bytearray) -> tuple[int, bytes]:
        """Same as `answer`, for a short JSON body."""
        x, complete = self._rows.read(body)
        return len(x), self._written(self.artifact.predict(x), complete)

    def answer(self, content_type: str, body: bytearray, options: Any = None) -> tuple[int, bytes]:
        """Return the number of rows, and the answer in the format of the body; raise a RequestError if it is invalid.

        `content_type` is one of `content_types`; an image is answered in JSON. `options` go to `Artifact.predict`.
        """
        try:
            if self.image is not None and content_type != JSON:
                return self._answer_image(self.image, bytes(body), options)
            if content_type != JSON:
                return self._answer_table(content_type == PARQUET, body, options)
            rows, memory = json_memory(body, self.artifact.metadata)
            memory += self._image_memory + BASE64_MEMORY * len(body) * (self.image is not None)
            with self.budget.reserve(memory + min(rows, self.limits.rows) * output_memory(self.artifact)):
                x, complete = self._rows.read(body)
                return len(x), self._written(self.artifact.predict(x, options), complete)
        except MemoryError:
            raise RequestError(413, "needs more memory than the server may use; send fewer rows") from None

    def _answer_image(self, image: "Image", body: bytes, options: Any) -> tuple[int, bytes]:
        from project.serving.images import checked_memory, read_image  # imports Pillow, which other models do not need

        memory = checked_memory(body, image, self._image_memory) + INPUT_MEMORY * image.width
        with self.budget.reserve(memory + output_memory(self.artifact)):
            outputs = self.artifact.predict(read_image(body, image), options)
            return 1, self._written(outputs, None)

    def _written(self, outputs: dict[str, Array], complete: Mask | None) -> bytes:
        return self._json.write(Predictions.from_outputs(outputs, complete, self.artifact.metadata))

    def _answer_table(self, is_parquet: bool, body: bytearray, options: Any) -> tuple[int, bytes]:
        try:
            from project.serving.table_rows import answer_table
        except ModuleNotFoundError as error:
            raise RequestError(415, f"the server lacks {error.name}; send {JSON}") from None
        return answer_table(self.artifact, is_parquet, body, self.limits.rows, self.budget, options)
