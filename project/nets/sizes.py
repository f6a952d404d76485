"""How large a network is: numbers of weights, and bytes."""

import gzip

from torch import nn


def sizes(net: nn.Module) -> dict[str, float]:
    """Return the number of parameters, how many are not zero, and the bytes of the weights, also compressed."""
    from safetensors.torch import save

    stored = save({name: value.detach().cpu().clone().contiguous() for name, value in net.state_dict().items()})
    return {
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "nonzero": sum(int(parameter.count_nonzero()) for parameter in net.parameters()),
        "bytes": len(stored),
        "gzip_bytes": len(gzip.compress(stored)),
    }
