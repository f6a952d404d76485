"""Logits of the next token from a torch network."""

from functools import cached_property

import torch
from torch import nn

from project.nets.cache import Cache
from project.nets.decoding import Decoder
from project.nets.gpt import GPT
from project.nets.lora import LoRA
from project.text.sampling import Numbers
from project.text.writing import NextLogits, Tokens

DECODED = 2**25  # weights, at most, of which there is a second copy for single tokens


class TorchLogits(NextLogits):
    """Logits of a torch network, computed with a cache if it is a `GPT`, or one with adapters.

    Args:
        net: From tokens (B, T) to logits (B, T, vocabulary); its weights must not change afterwards.
        context: The largest number of tokens.
    """

    def __init__(self, net: nn.Module, context: int) -> None:
        super().__init__(context)
        self.net = net
        self.gpt = net.net if isinstance(net, LoRA) and not net.merged else net  # adapters are added by hooks
        self.device = next((weight.device for weight in net.parameters()), torch.device("cpu"))
        self._cache: Cache | None = None

    @torch.inference_mode()
    def compute(self, new: Tokens, afresh: bool) -> Numbers:
        """Return the logits (B, vocabulary) after new tokens (B, T), which are the whole window if `afresh`."""
        if not isinstance(self.gpt, GPT):
            logits = self.net(torch.tensor(self.window, device=self.device))
        else:
            if afresh or self._cache is None:
                self._cache = Cache(self.gpt, len(new))
            next_token = self.gpt if new.shape[1] > 1 or self._decoder is None else self._decoder
            logits = next_token(torch.tensor(new, device=self.device), self._cache)
        return (logits[:, -1].float() if logits.dtype.itemsize < 4 else logits[:, -1]).cpu().numpy()

    @cached_property
    def _decoder(self) -> Decoder | None:
        """What computes single tokens faster than the network; None for large ones, where it gains little."""
        small = sum(weight.numel() for weight in self.net.parameters()) <= DECODED
        return Decoder(self.net) if isinstance(self.net, GPT) and small else None
