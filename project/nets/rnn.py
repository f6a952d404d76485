"""A recurrent network: simple RNN, LSTM or GRU."""

from typing import Literal

import torch
from torch import Tensor, nn

from project.nets.net import SequenceNet


class RNN(SequenceNet):
    """Recurrent layers over a sequence of any length, and a linear layer over the last hidden state.

    Args:
        cell: Type of recurrent layer.
        hidden: Width of the hidden state.
        layers: Number of recurrent layers.
        bidirectional: Whether to also read the sequence backwards.
        dropout: Dropout probability between layers.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        cell: Literal["rnn", "lstm", "gru"] = "lstm",
        hidden: int = 32,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_shape, out_features)
        self.require(min(hidden, layers) > 0, f"hidden {hidden} and layers {layers} must be 1 or more")
        self.require(0 <= dropout < 1, f"dropout must be in [0, 1), got {dropout}")
        self.cell, self.directions = cell, 2 if bidirectional else 1
        self.recurrence = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](
            in_shape[1], hidden, layers, batch_first=True, bidirectional=bidirectional, dropout=dropout
        )
        self.head = nn.Linear(self.directions * hidden, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, time, channels) -> (B, out_features)."""
        if x.is_cuda and self.training and self.recurrence.dropout:
            # The dropout of cuDNN has its own random state, which cannot be seeded or saved.
            with torch.backends.cudnn.flags(enabled=False):
                _, state = self.recurrence(x)
        else:
            _, state = self.recurrence(x)
        last = state[0] if self.cell == "lstm" else state  # (layers * directions, B, hidden)
        return self.head(torch.cat(list(last[-self.directions :]), dim=1))  # (B, directions * hidden) -> (B, out)
