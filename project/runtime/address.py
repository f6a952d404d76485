"""Addresses of files: conversion to local paths, and removal of the credentials in remote ones."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
HOME = re.compile(r"(~|\$HOME|\$\{HOME\})(?=/)")
# Matches `s3://KEY:SECRET@bucket`, also if the secret contains slashes, and `https://TOKEN@host`. Does not match
# `https://host:8080/user@example`, where the text after the colon is a port.
USER = re.compile(
    r"\b((?!(?:abfss?|gs|hdfs|viewfs)://)[a-z][a-z0-9+.-]*://)(?:[^\s/:@'\"]*:(?!\d+/)[^\s@'\"]*|[^\s/:@'\"]+)@", re.I
)
# With these schemes, the part before `@` names a container or a host. Only a password after it is removed.
PASSWORD = re.compile(r"\b((?:abfss?|gs|hdfs|viewfs)://[^\s/:@'\"]*):(?!\d+/)[^\s@'\"]*@", re.I)
SECRETS = re.compile(
    r"(?<=[?&])(?:x-(?:amz|goog)-[\w-]*|[\w.-]*(?:sig|signature|token|key|keyid|secret|password|passwd|pwd|auth|credential)s?)"
    r"=[^\s&#'\"]*?(?:&|(?=[:,;)]*(?:[\s#'\"]|$)))",
    re.I,
)

_CREDENTIALS: dict[str, str] = {}  # for each address as a run stores it, the address with its credentials


def is_remote(address: str | Path) -> bool:
    """Whether an address is on another machine: it has a scheme, such as `s3://`, other than `file://`."""
    return bool(SCHEME.match(str(address))) and not str(address).lower().startswith("file://")


def expand_home(text: str) -> str:
    """Replace `~/`, `$HOME/` or `${HOME}/` at the start of a text by the user's home directory."""
    return HOME.sub(lambda _: str(Path.home()), text, count=1) if HOME.match(text) else text


def local_path(address: str | Path) -> Path:
    """Return the path that a local address stands for: a path, `~/…`, `$HOME/…` or `file://…`."""
    text = str(address)
    return Path(unquote(urlsplit(text).path) if text.lower().startswith("file://") else expand_home(text))


def full_address(address: str | Path) -> str:
    """Return an address as a run stores it: an absolute path, or a remote address without credentials."""
    if is_remote(address):
        stored = without_credentials(str(address))
        _CREDENTIALS.setdefault(stored, str(address))
        return stored
    return os.path.realpath(local_path(address))  # Path.resolve would raise an error for a loop of symbolic links


def with_credentials(address: str) -> str:
    """Return the address from which `full_address` has removed credentials in this process."""
    return _CREDENTIALS.get(address, address)


def without_credentials(text: str) -> str:
    """Remove user names, passwords, keys, tokens and signatures from the addresses in a text."""
    if "://" not in text:
        return text
    text = PASSWORD.sub(r"\1@", USER.sub(r"\1", text))
    return re.sub(r"[?&](?=[:,;)]*(?:[\s#'\"]|$))", "", SECRETS.sub("", text)) if "?" in text else text


def remove_credentials(value: Any) -> Any:
    """Return a copy of nested settings in which the addresses have no credentials."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, Mapping):
        return {name: remove_credentials(part) for name, part in value.items()}
    return [remove_credentials(part) for part in value] if isinstance(value, list) else value
