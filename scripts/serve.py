"""Serve an exported model over HTTP."""

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import exit_on_user_error
from project.runtime.ranges import Port, PositiveFloat, PositiveInt
from project.serving.limits import LIMITS, Limits

LIMIT_HELP = {
    "bytes": "largest body of a request, in bytes",
    "rows": "largest number of rows of a request",
    "tokens": "largest number of tokens of a text, for a language model",
    "seconds": "time limit for receiving a request, and for answering it",
    "requests": "requests that a process answers at the same time",
    "memory": "bytes of memory that a process may take for its answers",
    "connections": "open connections of a process",
}

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=path, help="an .onnx file; a file that replaces it is served at once")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=Port, default=8000, help="port to listen on; 0 picks a free one (default: %(default)s)"
    )
    for name, default, text in (
        ("workers", 1, "number of processes"),
        ("threads", 1, "threads of a process within one operation"),
        *((f"max_{name}", getattr(LIMITS, name), text) for name, text in LIMIT_HELP.items()),
    ):
        kind = PositiveFloat if isinstance(default, float) else PositiveInt
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{text} (default: %(default)s)")
    parser.add_argument(
        "--allowed_hosts", nargs="+", default=[], metavar="NAME", help="further names of this server; * for any"
    )
    parser.add_argument("--token_file", type=path, metavar="FILE", help="a file with a token that requests must send")
    parser.add_argument("--ssl_certfile", type=path, metavar="FILE", help="a certificate, to serve HTTPS")
    parser.add_argument(
        "--ssl_keyfile", type=path, metavar="FILE", help="its private key, if it is not in the certificate's file"
    )
    options = parser.parse_args()
    with exit_on_user_error():
        from project.serving.access import Security
        from project.serving.server import serve

        limits = Limits(**{name: getattr(options, f"max_{name}") for name in Limits._fields})
        security = Security(tuple(options.allowed_hosts), options.token_file, options.ssl_certfile, options.ssl_keyfile)
        serve(options.artifact, options.host, options.port, options.workers, options.threads, limits, security)
