"""LitServe around a linear torch module, as its documentation has it; takes a port.

A module of its own, since LitServe's worker processes import it again.
"""

import sys
from typing import Any

import litserve  # type: ignore[import-not-found, import-untyped, unused-ignore]
import torch
from torch import Tensor

from benchmarks.servers import FEATURES


class LinearAPI(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """Predictions for the rows of a request."""

    def setup(self, device: str) -> None:
        """Make the module."""
        self.net = torch.nn.Linear(FEATURES, 1)

    def decode_request(self, request: dict[str, Any]) -> Tensor:
        """Rows as a tensor."""
        return torch.tensor(request["rows"])

    def predict(self, x: Tensor) -> Tensor:
        """What the module says."""
        with torch.inference_mode():
            return self.net(x)

    def encode_response(self, output: Tensor) -> dict[str, Any]:
        """Predictions as lists."""
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(LinearAPI(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error", access_log=False)
