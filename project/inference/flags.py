"""Flags of the commands that generate text; nothing heavy is imported before they are parsed."""

from argparse import Namespace
from typing import TYPE_CHECKING

from project.runtime.arguments import ArgumentParser

if TYPE_CHECKING:
    from project.text.writing import Writing

MODEL = "a run folder, a checkpoint, `last`, an .onnx or .gguf file, or a Hugging Face folder"
FLAGS: tuple[tuple[str, float, str, str], ...] = (
    ("temperature", 0.8, "T", "0 always takes the most likely token"),
    ("top_k", 50, "N", "choose among the N most likely tokens; 0 for all"),
    ("top_p", 0.9, "P", "choose among the fewest tokens whose probabilities add up to P; 1 for all"),
    ("seed", 0, "N", "seed of the random choices"),
    ("max_tokens", 200, "N", "largest number of tokens to generate"),
)


def add_writing_flags(parser: ArgumentParser) -> None:
    """Add the flags that say how tokens are chosen and when a text ends."""
    for name, default, metavar, text in FLAGS:
        kind, text = type(default), f"{text} (default: {default})"
        parser.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=text)
    ends = "end before this text; may be repeated"
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help=ends)
    trust = "let the run use the classes of a module"
    parser.add_argument("--trust", action="append", default=[], metavar="MODULE", help=trust)


def writing_of(options: Namespace) -> "Writing":
    """Return the settings of the generation that the parsed flags stand for."""
    from project.text.sampling import Sampling
    from project.text.writing import Writing

    sampling = Sampling(options.temperature, options.top_k, options.top_p)
    return Writing(sampling, options.max_tokens, options.stop, options.seed, getattr(options, "count", 1))
