"""Export recurrent layers as ONNX operators. torch's exporter unrolls them, which fixes the sequence length."""

from typing import Any

import torch
from torch import Tensor, nn

# Order of a torch layer's gates in ONNX. Source: the operators RNN, LSTM and GRU of https://onnx.ai/onnx/operators
GATES = {nn.RNN: [0], nn.LSTM: [0, 3, 1, 2], nn.GRU: [1, 0, 2]}


class OnnxRecurrence(nn.Module):
    """Replaces a recurrent layer without projections during export; outside of it, the outputs have only shapes."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.kind, self.hidden, self.batch_first = type(layer), layer.hidden_size, layer.batch_first
        self.layers, self.directions = layer.num_layers, 2 if layer.bidirectional else 1
        self.attributes: dict[str, Any] = {"hidden_size": self.hidden}
        self.attributes["direction"] = "bidirectional" if layer.bidirectional else "forward"
        if isinstance(layer, nn.GRU):
            self.attributes["linear_before_reset"] = 1
        if isinstance(layer, nn.RNN):
            self.attributes["activations"] = [layer.nonlinearity.capitalize()] * self.directions
        weights = {name: self._reordered(weight) for name, weight in layer.named_parameters()}
        for depth in range(self.layers):
            ends = [f"l{depth}{end}" for end in ["", "_reverse"][: self.directions]]
            for part in ("ih", "hh"):
                self.register_buffer(f"{part}{depth}", torch.stack([weights[f"weight_{part}_{end}"] for end in ends]))
            if layer.bias:
                biases = [torch.cat([weights[f"bias_{part}_{end}"] for part in ("ih", "hh")]) for end in ends]
                self.register_buffer(f"bias{depth}", torch.stack(biases))

    def _reordered(self, weight: Tensor) -> Tensor:
        gates = weight.detach().unflatten(0, (-1, self.hidden))
        return gates[GATES[self.kind]].flatten(0, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        """(B, time, channels), or (time, B, channels) -> outputs at each time step, and the last states."""
        x = x.transpose(0, 1) if self.batch_first else x
        time, batch, _ = x.shape
        state = (self.directions, batch, self.hidden)
        states = []
        for depth in range(self.layers):
            y, *last = torch.onnx.ops.symbolic_multi_out(
                self.kind.__name__,
                [x, *(getattr(self, f"{part}{depth}", None) for part in ("ih", "hh", "bias"))],
                self.attributes,
                dtypes=[x.dtype] * (3 if self.kind is nn.LSTM else 2),
                shapes=[(time, self.directions, batch, self.hidden), state, state][: 3 if self.kind is nn.LSTM else 2],
                version=14,
            )
            x = y.transpose(1, 2).flatten(2)  # (time, B, directions * hidden)
            states.append(last)
        hidden = [torch.cat(parts) for parts in zip(*states, strict=True)]  # (layers * directions, B, hidden)
        return x.transpose(0, 1) if self.batch_first else x, hidden[0] if len(hidden) == 1 else tuple(hidden)


def with_onnx_recurrences(net: nn.Module) -> nn.Module:
    """Replace a net's recurrent layers, in place, by modules that export as ONNX operators."""
    for name, layer in list(net.named_modules()):
        if type(layer) in GATES and isinstance(layer, nn.RNNBase) and not layer.proj_size:
            net.set_submodule(name, OnnxRecurrence(layer))
    return net
