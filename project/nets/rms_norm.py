"""RMSNorm under autocast."""

from torch import Tensor, nn
from torch.nn.functional import rms_norm


class RMSNorm(nn.RMSNorm):
    """`torch.nn.RMSNorm` that converts its weight to the dtype of x, so that autocast uses the fused kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, width) -> (…, width)."""
        return rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
