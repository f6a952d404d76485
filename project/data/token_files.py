"""Tokens on disk: written once while the text is read, then mapped into memory."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from project.data.text_split import SPLITS, Part
from project.text import Tokenizer

FACTS = "facts.json"


class TokenFiles(NamedTuple):
    """Tokens of three splits.

    Attributes:
        folder: Where the files lie.
        facts: What `write_tokens` has written about them: tokens, bytes and documents by split.
    """

    folder: Path
    facts: Mapping[str, Any]

    def tokens(self, split: str) -> Tensor:
        """Return the tokens of a split, mapped into memory: (tokens,) int16, whose bits are a uint16, or int32."""
        dtype = torch.int32 if self.facts["item_bytes"] == 4 else torch.int16
        size = self.facts["tokens"][split]
        if not size:
            return torch.empty(0, dtype=dtype)
        return torch.from_file(str(self.folder / f"{split}.bin"), shared=False, size=size, dtype=dtype)


def cache_folder() -> Path:
    """Return the folder for tokens: `hello-lightning/tokens` in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hello-lightning" / "tokens"


def read_tokens(folder: Path) -> TokenFiles | None:
    """Return the tokens in a folder; None if they are not there yet."""
    if not (folder / FACTS).is_file():
        return None
    return TokenFiles(folder, json.loads((folder / FACTS).read_text(encoding="utf-8")))


def locked(folder: Path) -> FileLock:
    """Return the lock for writing a folder: of several processes that need the same tokens, one writes them."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_suffix(".lock"))


def write_tokens(folder: Path, parts: Iterable[Part], tokenizer: Tokenizer) -> TokenFiles:
    """Write the tokens of parts of splits; the folder appears when all of them are on the disk.

    Each split starts with the end-of-text token, and so does each document in it. Hold the lock of the folder.
    """
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    partial.mkdir()
    try:
        facts = _write(partial, parts, tokenizer)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return TokenFiles(folder, facts)


def _write(folder: Path, parts: Iterable[Part], tokenizer: Tokenizer) -> dict[str, Any]:
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    counts = {name: dict.fromkeys(SPLITS, 0) for name in ("tokens", "bytes", "documents")}
    end = np.array([tokenizer.end], dtype)
    files = {split: (folder / f"{split}.bin").open("wb") for split in SPLITS}
    try:
        for split, starts, data in parts:
            ids = tokenizer.encode(data).astype(dtype)
            ids = np.concatenate([end, ids]) if starts else ids
            files[split].write(ids.data)
            for name, count in (("tokens", len(ids)), ("bytes", len(data)), ("documents", starts)):
                counts[name][split] += count
    finally:
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
    facts = {"item_bytes": dtype.itemsize, **counts}
    with (folder / FACTS).open("wb") as written:
        written.write(json.dumps(facts).encode())
        written.flush()
        os.fsync(written.fileno())
    return facts
