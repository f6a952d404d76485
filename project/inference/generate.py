"""Text from a language model, token by token."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from project.models.language_model import LanguageModel
from project.nets.gpt import GPT, Cache
from project.runs.checkpoint import DATA_KEY, load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.text import Tokenizer, tokenizer_from_dict
from project.text.sampling import Sampling, TextStream, log_probability


class Generated(NamedTuple):
    """A text that a model has written.

    Attributes:
        text: The text after the prompt.
        tokens: Its tokens; with a stop text, or the end of text, also those that the text leaves out.
        log_probabilities: The log-probability of each token under the model itself, whatever the temperature.
    """

    text: str
    tokens: list[int]
    log_probabilities: list[float]


class NextLogits:
    """The logits of the next token of sequences that grow together; computed with a cache if the network is a `GPT`.

    When the context is full, the earlier half of it is forgotten.

    Args:
        net: From tokens (B, T) to logits (B, T, vocabulary).
        context: The largest number of tokens.
    """

    def __init__(self, net: nn.Module, context: int) -> None:
        self.net, self.context = net, context
        self._window = torch.empty(0, 0, dtype=torch.int64)
        self._cache: Cache | None = None

    @torch.inference_mode()
    def __call__(self, new: Tensor) -> Tensor:
        """Append tokens (B, T) to the sequences, and return the logits (B, vocabulary) of what follows."""
        starts = not len(self._window)
        self._window = new if starts else torch.cat([self._window, new], dim=1)
        overflows = self._window.shape[1] > self.context
        if overflows:
            new = self._window = self._window[:, -(self.context if starts else max(1, self.context // 2)) :]
        if not isinstance(self.net, GPT):
            return self.net(self._window)[:, -1]
        if starts or overflows:
            self._cache = Cache(self.net, len(new))
        return self.net(new, self._cache)[:, -1]


class Writer:
    """One of the texts that are written together.

    Attributes:
        text: What is certain of it so far.
        tokens: Its tokens so far.
        log_probabilities: That of each token under the model itself.
        done: Whether a stop text or the end of text has come.
    """

    def __init__(self, tokenizer: Tokenizer, sampling: Sampling, stops: Sequence[str], seed: Sequence[int]) -> None:
        self.tokenizer, self.sampling = tokenizer, sampling
        self._stream, self._generator = TextStream(stops), np.random.default_rng(seed)
        self.text, self.done = "", False
        self.tokens: list[int] = []
        self.log_probabilities: list[float] = []

    def add(self, logits: np.ndarray[Any, Any]) -> tuple[int, str]:
        """Choose the next token from logits (vocabulary,); return it, and the text that is certain now."""
        if self.done:
            return self.tokenizer.end, ""
        token = self.sampling.choose(logits, self._generator)
        self.tokens.append(token)
        self.log_probabilities.append(log_probability(logits, token))
        text = self._stream.add(self.tokenizer.decode([token]), final=token in self.tokenizer.stops)
        self.text += text
        self.done = self._stream.stopped or token in self.tokenizer.stops
        return token, text

    def finish(self) -> str:
        """Return the rest of the text, which was held back."""
        rest = self._stream.add(b"", final=True)
        self.text += rest
        return rest


def generate(
    reference: str = "last",
    prompt: str = "",
    *,
    temperature: float = 0.8,
    top_k: int = 50,
    top_p: float = 0.9,
    seed: int = 0,
    max_tokens: int = 200,
    stop: Sequence[str] = (),
    count: int = 1,
    trust: Sequence[str] = (),
    show: Callable[[str], object] | None = None,
) -> list[Generated]:
    """Continue a text with a trained language model.

    Args:
        reference: A run folder, a checkpoint, or `last`: the newest run in `lightning_logs`.
        prompt: Beginning of the text; the model sees the last `context` tokens of it.
        temperature: Divides the logits; 0 always takes the most likely token.
        top_k: Number of most likely tokens to choose among; 0 for all.
        top_p: Choose among the fewest tokens that are together at least this likely; 1 for all.
        seed: Seed of the choices; each of the texts has its own numbers.
        max_tokens: The largest number of tokens of a text.
        stop: Texts that end a text; they are left out.
        count: Number of texts, which are computed together.
        trust: Modules whose classes the run may name, in addition to those of the project, torch and Lightning.
        show: Called with each piece of the first text, as soon as it is certain.

    Raises:
        UserError: If the run is no language model with a tokenizer, or an argument is out of its range.
    """
    sampling = Sampling(temperature, top_k, top_p)
    problem = sampling.problem() or next(
        (
            f"{name}: must be 1 or more"
            for name, value in {"max_tokens": max_tokens, "count": count}.items()
            if value < 1
        ),
        None,
    )
    if problem or seed < 0:
        raise UserError(f"--{problem or 'seed: must be 0 or more'}")
    net, context, tokenizer = open_language_model(reference, trust)
    device = next(net.parameters()).device
    writers = [Writer(tokenizer, sampling, stop, (seed, number)) for number in range(count)]
    first = tokenizer.prompt(prompt.encode("utf-8", "surrogateescape"))
    tokens, next_logits = [first] * count, NextLogits(net, context)
    for _ in range(max_tokens):
        logits = next_logits(torch.tensor(tokens, device=device)).float().cpu().numpy()
        added = [writer.add(row) for writer, row in zip(writers, logits, strict=True)]
        if show is not None:
            show(added[0][1])
        if all(writer.done for writer in writers):
            break
        tokens = [[token] for token, _ in added]
    rests = [writer.finish() for writer in writers]
    if show is not None:
        show(rests[0])
    return [Generated(writer.text, writer.tokens, writer.log_probabilities) for writer in writers]


def open_language_model(reference: str, trust: Sequence[str] | None = ()) -> tuple[nn.Module, int, Tokenizer]:
    """Return the network of a language model in evaluation mode, its context, and its tokenizer.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        trust: Modules whose classes the run may name; None keeps those trusted so far.

    Raises:
        UserError: If the run is no language model, or has no tokenizer.
    """
    path = find_checkpoint(reference)
    checkpoint = read_checkpoint(path)
    model = load_model(checkpoint, trust)
    if not isinstance(model, LanguageModel):
        name = type(model).__name__
        raise UserError(f"{path}: {name} writes no text; train a language model with --model LanguageModel")
    fields = checkpoint[DATA_KEY].get("fields") or [{}]
    if "tokenizer" not in fields[0]:
        raise UserError(f"{path}: its data has no tokenizer; train it with --data TextDataModule")
    net = model.net.net.to("cuda" if torch.cuda.is_available() else "cpu")
    return net, net.in_shape[0], tokenizer_from_dict(fields[0]["tokenizer"])
