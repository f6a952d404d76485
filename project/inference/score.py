"""Scores of a language model on given texts: log-probabilities, bits per byte, and multiple choice."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from project.config.trust import with_trust
from project.inference.generate import open_language_model
from project.models.next_logits import TorchLogits
from project.runtime.errors import UserError
from project.text import Tokenizer

Z = 1.959964  # of the normal distribution, 95 %
Floats = np.ndarray[Any, np.dtype[np.float64]]


class Choices(NamedTuple):
    """Results of multiple choice.

    Attributes:
        questions: Their number.
        accuracy: Share of the questions whose most likely choice is right.
        interval: 95 % interval of the accuracy, after Wilson (1927).
        normalized: The accuracy where the log-probability of a choice is divided by its number of bytes.
        normalized_interval: Its interval.
        chance: The accuracy of guessing.
    """

    questions: int
    accuracy: float
    interval: tuple[float, float]
    normalized: float
    normalized_interval: tuple[float, float]
    chance: float


class Scorer:
    """Log-probabilities under a language model; one text at a time, so that no other text changes them.

    Args:
        reference: A run folder, a checkpoint, `last`, or public weights.

    Raises:
        UserError: If it is not a language model.
    """

    def __init__(self, reference: str) -> None:
        logits, self.tokenizer = open_language_model(reference, trust=None)
        if not isinstance(logits, TorchLogits):
            raise UserError(f"{reference}: an exported file computes only the logits of the last token; pass its run")
        self.net: nn.Module = logits.net
        self.context, self.device = logits.context, logits.device

    @torch.inference_mode()
    def log_probabilities(self, ids: list[int]) -> Floats:
        """Return the log-probability of each token after the first, (tokens - 1,), given those before it in its window.

        The windows follow each other without overlap, except the last one, which ends at the last token. Each token is
        predicted once.
        """
        found = np.zeros(len(ids) - 1)
        for start in range(0, len(found), self.context):
            first = max(0, min(start, len(found) - self.context))
            window = torch.tensor([ids[first : first + self.context + 1]], device=self.device)
            logits = self.net(window[:, :-1])[0].double().log_softmax(1)
            each = logits.gather(1, window[0, 1:, None])[:, 0].cpu().numpy()
            found[start : first + len(each)] = each[start - first :]
        return found

    def text(self, data: bytes) -> tuple[float, int]:
        """Return bits per byte of a text, and its number of tokens."""
        ids = [self.tokenizer.end, *self.tokenizer.encode(data).tolist()]
        return -float(self.log_probabilities(ids).sum()) / math.log(2) / max(1, len(data)), len(ids) - 1

    def continuation(self, question: str, choice: str) -> float:
        """Return the log-probability of a choice after a question.

        Raises:
            UserError: If they have more tokens than the context.
        """
        before, whole = _common(self.tokenizer, question, question + choice)
        if len(whole) > self.context + 1:
            raise UserError(f"{len(whole) - 1:,} tokens are more than the context of {self.context:,}; shorten it")
        return float(self.log_probabilities(whole)[before - 1 :].sum())

    def choices(self, path: Path) -> Choices:
        """Answer questions in JSON lines with `question`, `choices` and `answer`, the index of the right choice.

        Raises:
            UserError: If a line has another form; the message names the line.
        """
        right, normalized, chances = list[bool](), list[bool](), list[float]()
        for place, (question, choices, answer) in read_questions(path):
            try:
                scores = np.array([self.continuation(question, choice) for choice in choices])
            except UserError as error:
                raise UserError(f"{place}: {error}") from error
            lengths = np.array([len(choice.encode()) for choice in choices])
            right.append(bool(scores.argmax() == answer))
            normalized.append(bool((scores / lengths).argmax() == answer))
            chances.append(1 / len(choices))
        count = len(right)
        accuracies = sum(right) / count, sum(normalized) / count
        first, second = (wilson(accuracy, count) for accuracy in accuracies)
        return Choices(count, accuracies[0], first, accuracies[1], second, sum(chances) / count)


def _common(tokenizer: Tokenizer, question: str, whole: str) -> tuple[int, list[int]]:
    """Return the number of first tokens that question and whole text share (at least 1), and all of the text."""
    ids = [tokenizer.prompt(text.encode()) for text in (question, whole)]
    if not tokenizer.begins and not question:
        ids = [[tokenizer.end], [tokenizer.end, *ids[1]]]
    same = next((place for place, (a, b) in enumerate(zip(*ids, strict=False)) if a != b), min(map(len, ids)))
    return max(1, same), ids[1]


def read_questions(path: Path) -> list[tuple[str, tuple[str, list[str], int]]]:
    """Return file and line, and question, choices and answer, of each line of a file."""
    found = list[tuple[str, tuple[str, list[str], int]]]()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            question, choices, answer = row["question"], row["choices"], row["answer"]
            fits = isinstance(question, str) and all(isinstance(choice, str) and choice for choice in choices)
            fits = fits and len(choices) > 1 and isinstance(answer, int) and 0 <= answer < len(choices)
        except (ValueError, LookupError, TypeError):
            fits = False
        if not fits:
            form = '{"question": "2 + 2 =", "choices": [" 4", " 5"], "answer": 0}'
            raise UserError(f"{path}: line {number}: not of the form {form}; correct it")
        found.append((f"{path}: line {number}", (question, choices, answer)))
    if not found:
        raise UserError(f"{path}: no questions; write one in each line")
    return found


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `count` trials. Source: Wilson (1927)."""
    scale, middle = 1 + Z**2 / count, share + Z**2 / (2 * count)
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return (middle - half) / scale, (middle + half) / scale


def score_and_report(
    references: Sequence[str], args: Sequence[str], text: Path | None, choices: Path | None, as_json: bool
) -> None:
    """Print bits per byte of a text, and the results of multiple choice, of each model.

    Raises:
        UserError: If there are other flags, which have no effect here.
    """
    if others := with_trust(args):
        raise UserError(f"{others[0]}: has no effect on --text and --choices; remove it")
    for reference in references:
        scorer, found = Scorer(reference), dict[str, Any]()
        if text is not None:
            found["bits_per_byte"], found["tokens"] = scorer.text(text.read_bytes())
        if choices is not None:
            found |= scorer.choices(choices)._asdict()
        if as_json:
            print(json.dumps({"model": reference, **found}))
        else:
            print(f"{reference}: " + ", ".join(f"{name} {_shown(value)}" for name, value in found.items()))


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"{value[0]:.4g} to {value[1]:.4g}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
