"""Talk to a language model: type a question, Ctrl-D ends; a pipe has a question on each line."""

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("model", help="run, checkpoint, `last`, .onnx or .gguf file, or folder of Hugging Face")
    parser.add_argument("--system", default="", metavar="TEXT", help="what the model is told before the conversation")
    parser.add_argument("--temperature", type=float, default=0.8, help="0 always takes the most likely token")
    parser.add_argument("--top_k", type=int, default=50, help="choose among this many likely tokens; 0 for all")
    parser.add_argument("--top_p", type=float, default=0.9, help="choose among tokens that are this likely together")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choices")
    parser.add_argument("--max_tokens", type=int, default=200, help="the largest number of tokens of an answer")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end an answer before this text")
    parser.add_argument("--trust", metavar="MODULE", action="append", default=[], help="let the run use its classes")
    options = parser.parse_args()
    with exit_on_user_error():
        from project.inference.chat import chat
        from project.text.sampling import Sampling
        from project.text.writing import Writing

        sampling = Sampling(options.temperature, options.top_k, options.top_p)
        writing = Writing(sampling, options.max_tokens, options.stop, options.seed)
        chat(options.model, writing, options.system, options.trust)
