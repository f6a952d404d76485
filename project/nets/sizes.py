"""The size of a network: numbers of parameters and bytes."""

import gzip

from torch import nn


def sizes(net: nn.Module) -> dict[str, float]:
    """Return the number of parameters, the number of nonzero ones, and the bytes of the weights and of their gzip."""
    from safetensors.torch import save

    stored = save({name: value.detach().cpu().clone().contiguous() for name, value in net.state_dict().items()})
    return {
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "nonzero": sum(int(parameter.count_nonzero()) for parameter in net.parameters()),
        "bytes": len(stored),
        "gzip_bytes": len(gzip.compress(stored)),
    }
