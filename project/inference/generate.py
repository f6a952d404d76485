"""Generate text with a language model, token by token."""

from collections.abc import Callable, Sequence

import torch

from project.inference.metadata import saved_tokenizer
from project.inference.predictor import is_artifact
from project.models.language_model import LanguageModel
from project.models.next_logits import TorchLogits
from project.runs.checkpoint import DATA_KEY, load_model, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.address import local_path
from project.runtime.errors import UserError
from project.serving.text_artifact import TextArtifact
from project.text import Tokenizer, tokenizer_from_dict
from project.text.sampling import Sampling
from project.text.writing import Generated, NextLogits, Writing, generate_texts


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
        reference: A run folder, a checkpoint, `last`: the newest run in `lightning_logs`, or an `.onnx` file.
        prompt: Beginning of the text; the model sees the last `context` tokens of it.
        temperature: Divides the logits; 0 always takes the most likely token.
        top_k: Number of most likely tokens to choose among; 0 for all.
        top_p: Choose among the fewest tokens that are together at least this likely; 1 for all.
        seed: Seed of the choices; each of the texts has its own numbers.
        max_tokens: The largest number of tokens of a text.
        stop: Texts that end a text; they are left out.
        count: Number of texts, which are computed together.
        trust: Modules whose classes the run may name, in addition to those of the project, torch and Lightning.
        show: Called with each piece of the first text as it is generated.

    Raises:
        UserError: If the run is not a language model with a tokenizer, or an argument is out of its range.
    """
    writing = Writing(Sampling(temperature, top_k, top_p), max_tokens, stop, seed, count)
    writing.check_flags()
    return generate_texts(prompt, *open_language_model(reference, trust), writing, show)


def open_language_model(reference: str, trust: Sequence[str] | None = ()) -> tuple[NextLogits, Tokenizer]:
    """Return an object that computes the logits of a language model, for one batch of texts, and its tokenizer.

    Args:
        reference: A run folder, a checkpoint, `last`, or an `.onnx` file.
        trust: Modules whose classes the run may name; None keeps those trusted so far.

    Raises:
        UserError: If the model is not a language model, or has no tokenizer.
    """
    if is_artifact(reference):
        artifact = TextArtifact(local_path(reference), torch.get_num_threads())
        return artifact.next_logits(), artifact.tokenizer
    path = find_checkpoint(reference)
    checkpoint = read_checkpoint(path)
    model = load_model(checkpoint, trust)
    if not isinstance(model, LanguageModel):
        name = type(model).__name__
        raise UserError(f"{path}: {name} writes no text; train a language model with --model LanguageModel")
    tokenizer = tokenizer_from_dict(saved_tokenizer(path, checkpoint[DATA_KEY]))
    net = model.net.net.to("cuda" if torch.cuda.is_available() else "cpu")
    return TorchLogits(net, net.in_shape[0]), tokenizer
