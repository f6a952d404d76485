"""Local servers from which tables are read: one like S3, and a web server that asks for a password."""

import base64
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow.fs
from moto.server import ThreadedMotoServer

LOGIN = "me", "SECRET"


class _Files(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.headers["Authorization"] == f"Basic {base64.b64encode(':'.join(LOGIN).encode()).decode()}":
            super().do_GET()
        else:
            self.send_error(401)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve the files of a folder, and yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{':'.join(LOGIN)}@127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def object_store() -> Iterator[str]:
    """Serve a bucket named `bucket`, and yield the part of an address behind the path."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = f"?scheme=http&region=us-east-1&endpoint_override={host}%3A{port}"
    system, _ = pyarrow.fs.FileSystem.from_uri(f"s3://KEY:{LOGIN[1]}@bucket{options}&allow_bucket_creation=true")
    system.create_dir("bucket")
    yield options
    server.stop()


def upload(path: Path, options: str) -> str:
    """Copy a file to the bucket, and return its address."""
    address = f"s3://KEY:{LOGIN[1]}@bucket/{path.name}{options}"
    system, inner = pyarrow.fs.FileSystem.from_uri(address)
    with system.open_output_stream(inner) as file:
        file.write(path.read_bytes())
    return address


@contextmanager
def silent_server() -> Iterator[str]:
    """Yield the host and port of a server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
