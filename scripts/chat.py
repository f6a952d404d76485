"""Chat with a language model: type a question, or Ctrl-D to end; of a pipe, each line is a question."""

import installed  # noqa: F401

from project.inference.flags import MODEL, add_writing_flags, writing_of
from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("model", help=MODEL)
    parser.add_argument("--system", default="", metavar="TEXT", help="system message at the start of the conversation")
    add_writing_flags(parser)
    options = parser.parse_args()
    with exit_on_user_error():
        from project.inference.chat import chat

        chat(options.model, writing_of(options), options.system, options.trust)
