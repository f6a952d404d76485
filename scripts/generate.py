"""Continue a text with a trained language model."""

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("model", help="run, checkpoint, `last`, .onnx or .gguf file, or folder of Hugging Face")
    parser.add_argument("prompt", nargs="?", default="", help="beginning of the text")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 always takes the most likely token")
    parser.add_argument("--top_k", type=int, default=50, help="choose among this many likely tokens; 0 for all")
    parser.add_argument("--top_p", type=float, default=0.9, help="choose among tokens that are this likely together")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choices")
    parser.add_argument("--max_tokens", type=int, default=200, help="the largest number of tokens")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text")
    parser.add_argument("--count", type=int, default=1, help="number of texts")
    parser.add_argument("--trust", metavar="MODULE", action="append", default=[], help="let the run use its classes")
    parser.add_argument("--json", action="store_true", help="print texts, tokens and their log-probabilities as JSON")
    options = parser.parse_args()
    with exit_on_user_error():
        from project.inference.write_text import write_text
        from project.text.sampling import Sampling
        from project.text.writing import Writing

        sampling = Sampling(options.temperature, options.top_k, options.top_p)
        writing = Writing(sampling, options.max_tokens, options.stop, options.seed, options.count)
        write_text(options.model, options.prompt, writing, options.trust, options.json)
