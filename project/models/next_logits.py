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

MAX_DECODER_WEIGHTS = 2**25  # larger networks get no `Decoder`, which has a second copy of the weights


class TorchLogits(NextLogits):
    """Computes logits with a torch network, and with a cache if it is a `GPT`, possibly with adapters.

    Args:
        net: A network from tokens (B, T) to logits (B, T, vocabulary). Its weights must not change afterwards.
        context: The largest number of tokens that the network sees.
    """

    def __init__(self, net: nn.Module, context: int) -> None:
        super().__init__(context)
        self.net = net
        self.gpt = net.net if isinstance(net, LoRA) and not net.merged else net  # adapters are added by hooks
        self.device = next((weight.device for weight in net.parameters()), torch.device("cpu"))
        self._cache: Cache | None = None

    @torch.inference_mode()
    def compute(self, new: Tokens, afresh: bool) -> Numbers:
        """Return the logits (B, vocabulary) after new tokens (B, T). If `afresh`, these are the whole window."""
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
        """A decoder that computes single tokens faster; None for large networks, where it gains little."""
        small = sum(weight.numel() for weight in self.net.parameters()) <= MAX_DECODER_WEIGHTS
        return Decoder(self.net) if isinstance(self.net, GPT) and small else None
