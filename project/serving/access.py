"""Access control: requests must name a known host, and carry the token if the server has one."""

import hmac
import ipaddress
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from project.runtime.errors import UserError
from project.serving.request_error import MAX_QUOTED, RequestError

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
OPEN_PATHS = ("/health", "/", "/docs")  # need no token: they reveal nothing of the model, and the page asks for it
MAX_TOKEN = 4_096


class Security(NamedTuple):
    """How a server is protected.

    Attributes:
        allowed_hosts: Names and addresses in addition to those of this machine that requests may be sent to; `*` for
            any.
        token_file: A file with a token that requests must bring; None for none.
        ssl_certfile: A certificate, to serve over TLS.
        ssl_keyfile: Its private key; None if the certificate's file holds it.
    """

    allowed_hosts: tuple[str, ...] = ()
    token_file: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None


NO_SECURITY = Security()


class Access:
    """Checks the headers of requests.

    With DNS rebinding, a web page makes a browser send requests to this machine under the page's own name. Only the
    name in the header `Host` tells them from requests that are meant for the server.

    Args:
        host: The address that the server listens on.
        allowed_hosts: Further names and addresses; `*` for any.
        token: The token that requests must bring; None for none.
    """

    def __init__(self, host: str, allowed_hosts: tuple[str, ...] = (), token: bytes | None = None) -> None:
        self.hosts = {name.lower().strip("[]") for name in (*LOCAL_HOSTS, host, *allowed_hosts)}
        self.any_address = _is_unspecified(host)  # every address of this machine is the server's own
        self.token = token

    def refusal(self, path: str, headers: Mapping[bytes, bytes]) -> RequestError | None:
        """Return the error for a request that is refused, None otherwise; the names of headers are in lower case."""
        host = headers.get(b"host", b"").decode("latin-1")
        if "*" not in self.hosts and not self._is_known(host):
            problem = f"host {host[:MAX_QUOTED]!r} is not allowed; start the server with --allowed_hosts and this name"
            return RequestError(400, problem)
        if self.token is not None and path not in OPEN_PATHS:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            if not hmac.compare_digest(token.strip(), self.token) or scheme.lower() != b"bearer":
                return RequestError(401, "send the server's token in the header Authorization: Bearer TOKEN")
        return None

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # brackets without an IPv6 address
            return False
        if set(host) & set("@/?#"):  # urlsplit also reads the other parts of a URL
            return False
        return name in self.hosts or (self.any_address and _is_address(name))


def read_token(path: Path) -> bytes:
    """Return the token in a file, without white space around it.

    Raises:
        UserError: If other users can read the file, or it holds no token.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UserError(f"--token_file {path}: other users may read or change it; run chmod 600 {path}")
        token = file.read(MAX_TOKEN + 1).strip()
    if not re.fullmatch(rb"[!-~]+", token) or len(token) > MAX_TOKEN:
        raise UserError(f"--token_file {path}: expected a token of up to {MAX_TOKEN:,} letters, digits and signs")
    return token


def check_certificate(security: Security) -> None:
    """Raise a UserError if the certificate and its key cannot be used."""
    certificate, key = security.ssl_certfile, security.ssl_keyfile
    if certificate is None:
        if key is not None:
            raise UserError(f"--ssl_keyfile {key}: it needs --ssl_certfile, the certificate of this key")
        return
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError as error:
        raise UserError(f"--ssl_certfile {certificate}: not a certificate with its key: {error}") from error


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_unspecified(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified
