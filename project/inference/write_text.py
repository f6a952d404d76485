"""Print generated text. For an exported file, torch is not imported."""

import json
import sys
from collections.abc import Sequence

from project.serving.text_artifact import TextArtifact
from project.text import Tokenizer
from project.text.writing import NextLogits, Writing, generate_texts


def write_text(model: str, prompt: str, writing: Writing, trust: Sequence[str] = (), as_json: bool = False) -> None:
    """Continue a text on standard output: piece by piece, or as JSON with each token and its log-probability.

    Args:
        model: A run folder, a checkpoint, `last`, or an `.onnx` file.
        prompt: Beginning of the text.
        writing: Settings of the generation.
        trust: Modules whose classes the run may name.
        as_json: Whether to print one JSON array, with an object for each text.

    Raises:
        UserError: If the model is not a language model, or a setting is out of its range.
    """
    writing.check_flags()
    next_logits, tokenizer = open_writer(model, trust)
    if as_json:
        texts = generate_texts(prompt, next_logits, tokenizer, writing)
        print(json.dumps([text._asdict() for text in texts], indent=2))
        return
    written = False

    def show(piece: str) -> None:
        nonlocal written
        sys.stdout.write(piece if written else prompt + piece)  # the prompt is shown with the first piece
        sys.stdout.flush()
        written = True

    texts = generate_texts(prompt, next_logits, tokenizer, writing, show)
    for other in texts[1:]:
        sys.stdout.write(f"\n---\n{prompt}{other.text}")
    print()


def open_writer(model: str, trust: Sequence[str]) -> tuple[NextLogits, Tokenizer]:
    """Return an object that computes the logits of a language model, and its tokenizer.

    torch is imported only for runs.
    """
    if model.lower().endswith(".onnx"):
        artifact = TextArtifact(model)
        return artifact.next_logits(), artifact.tokenizer
    from project.inference.generate import open_language_model  # imports torch

    return open_language_model(model, trust)
