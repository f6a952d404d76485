"""Continue a text with a trained language model."""

import installed  # noqa: F401

from project.inference.flags import MODEL, add_writing_flags, writing_of
from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("model", help=MODEL)
    parser.add_argument("prompt", nargs="?", default="", help="beginning of the text; empty by default")
    add_writing_flags(parser)
    parser.add_argument("--count", type=int, default=1, metavar="N", help="number of texts (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print texts, tokens and their log-probabilities as JSON")
    options = parser.parse_args()
    with exit_on_user_error():
        from project.inference.write_text import write_text

        write_text(options.model, options.prompt, writing_of(options), options.trust, options.json)
