"""Continue a text with a trained language model."""

import sys

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import UserError, exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a run folder, a checkpoint, `last`, or an .onnx file")
    parser.add_argument("prompt", nargs="?", default="", help="beginning of the text")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 always takes the most likely token")
    parser.add_argument("--top_k", type=int, default=50, help="choose among this many likely tokens; 0 for all")
    parser.add_argument("--top_p", type=float, default=0.9, help="choose among tokens that are this likely together")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choices")
    parser.add_argument("--max_tokens", type=int, default=200, help="the largest number of tokens")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text")
    parser.add_argument("--count", type=int, default=1, help="number of texts")
    parser.add_argument("--trust", metavar="MODULE", action="append", default=[], help="let the run use its classes")
    options = parser.parse_args()
    with exit_on_user_error():
        from project.text.sampling import Sampling
        from project.text.writing import Writing, generate_texts

        written = False

        def show(text: str) -> None:
            """Print a piece of the first text; the prompt comes before the first piece."""
            global written
            sys.stdout.write(text if written else options.prompt + text)
            sys.stdout.flush()
            written = True

        sampling = Sampling(options.temperature, options.top_k, options.top_p)
        writing = Writing(sampling, options.max_tokens, options.stop, options.seed, options.count)
        if problem := writing.problem():
            raise UserError(f"--{problem}")
        if not options.model.lower().endswith(".onnx"):
            from project.inference.generate import open_language_model

            next_logits, tokenizer = open_language_model(options.model, options.trust)
        else:  # without torch
            from project.serving.text_artifact import TextArtifact

            artifact = TextArtifact(options.model)
            next_logits, tokenizer = artifact.next_logits(), artifact.tokenizer
        texts = generate_texts(options.prompt, next_logits, tokenizer, writing, show)
        for other in texts[1:]:
            sys.stdout.write(f"\n---\n{options.prompt}{other.text}")
        print()
