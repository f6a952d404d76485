"""The byte tokenizer: each byte is a token, so it needs no training."""

from typing import Any

import numpy as np

from project.text.tokenizer import Ids, Tokenizer


class ByteTokenizer(Tokenizer):
    """Ids 0 to 255 are the bytes, and 256 is the end of text."""

    kind = "bytes"

    def __init__(self) -> None:
        super().__init__([bytes([byte]) for byte in range(256)] + [b""], end=256)

    def encode(self, data: bytes) -> Ids:
        """Return the values of the bytes, (bytes,) int32."""
        return np.frombuffer(data, np.uint8).astype(np.int32)

    def arguments(self) -> dict[str, Any]:
        """Return no arguments."""
        return {}
