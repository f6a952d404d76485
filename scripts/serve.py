"""Answer requests for predictions by an exported model, over HTTP."""

import argparse
from pathlib import Path

from project.runtime.arguments import ArgumentParser
from project.runtime.errors import exit_on_user_error

if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("artifact", type=Path, help="an .onnx file; another one put in its place is served at once")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes a free one")
    parser.add_argument("--workers", type=int, default=1, help="processes that answer")
    parser.add_argument("--threads", type=int, default=1, help="threads of each, within one operation of the model")
    parser.add_argument("--max_bytes", type=int, default=2**24, help="of a request's body")
    parser.add_argument("--max_rows", type=int, default=100_000, help="of a request")
    parser.add_argument("--max_seconds", type=float, default=30.0, help="to receive a request, and to answer it")
    parser.add_argument("--max_requests", type=int, default=100, help="that each process answers at the same time")
    options = parser.parse_args()
    with exit_on_user_error():
        from project.serving.limits import Limits
        from project.serving.server import serve

        limits = Limits(options.max_bytes, options.max_rows, options.max_seconds, options.max_requests)
        serve(options.artifact, options.host, options.port, options.workers, options.threads, limits)
