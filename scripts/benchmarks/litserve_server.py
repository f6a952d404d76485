"""A LitServe server, as in LitServe's documentation: `python -m benchmarks.litserve_server PORT`.

It is a separate module because LitServe's worker processes import it again.
"""

import sys
from typing import Any

import litserve  # type: ignore[import-not-found, import-untyped, unused-ignore]
import torch
from torch import Tensor

from benchmarks.servers import FEATURES


class LinearAPI(litserve.LitAPI):  # type: ignore[misc, unused-ignore]
    """Predicts the rows of a request."""

    def setup(self, device: str) -> None:
        """Create the module."""
        self.net = torch.nn.Linear(FEATURES, 1)

    def decode_request(self, request: dict[str, Any]) -> Tensor:
        """Convert rows to a tensor."""
        return torch.tensor(request["rows"])

    def predict(self, x: Tensor) -> Tensor:
        """Run the module."""
        with torch.inference_mode():
            return self.net(x)

    def encode_response(self, output: Tensor) -> dict[str, Any]:
        """Convert predictions to lists."""
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(LinearAPI(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error", access_log=False)
