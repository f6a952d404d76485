"""Serve an exported model over HTTP."""

import argparse

import installed  # noqa: F401

from project.runtime.arguments import ArgumentParser, path
from project.runtime.errors import exit_on_user_error
from project.runtime.ranges import Port, PositiveFloat, PositiveInt
from project.serving.limits import LIMITS, Limits

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("artifact", type=path, help="an .onnx file; if replaced, the new one is served")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=Port, default=8000, help="port to listen on; 0 picks a free one")
    parser.add_argument("--workers", type=PositiveInt, default=1, help="number of processes")
    parser.add_argument("--threads", type=PositiveInt, default=1, help="threads per process for one operation")
    parser.add_argument("--allowed_hosts", nargs="+", default=[], help="further names of this server; * for any")
    parser.add_argument("--token_file", type=path, help="a file with a token that requests must bring")
    parser.add_argument("--ssl_certfile", type=path, help="a certificate, to serve over TLS")
    parser.add_argument("--ssl_keyfile", type=path, help="its private key, if it is not in the certificate's file")
    parser.add_argument("--max_bytes", type=PositiveInt, default=LIMITS.bytes, help="size of a request's body")
    parser.add_argument("--max_rows", type=PositiveInt, default=LIMITS.rows, help="rows per request")
    parser.add_argument("--max_tokens", type=PositiveInt, default=LIMITS.tokens, help="of a language model, per text")
    parser.add_argument(
        "--max_seconds", type=PositiveFloat, default=LIMITS.seconds, help="to receive or answer a request"
    )
    parser.add_argument(
        "--max_requests", type=PositiveInt, default=LIMITS.requests, help="requests at once per process"
    )
    parser.add_argument("--max_memory", type=PositiveInt, default=LIMITS.memory, help="bytes for answers, per process")
    parser.add_argument("--max_connections", type=PositiveInt, default=LIMITS.connections, help="clients per process")
    options = parser.parse_args()
    with exit_on_user_error():
        from project.serving.access import Security
        from project.serving.server import serve

        limits = Limits(**{name: getattr(options, f"max_{name}") for name in Limits._fields})
        security = Security(tuple(options.allowed_hosts), options.token_file, options.ssl_certfile, options.ssl_keyfile)
        serve(options.artifact, options.host, options.port, options.workers, options.threads, limits, security)
