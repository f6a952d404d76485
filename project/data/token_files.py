"""Token files, which are written once while the text is read, and then memory-mapped."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from project.data.text_split import SPLITS, Part
from project.runtime.files import atomic_folder
from project.text import Tokenizer

FACTS = "facts.json"


class TokenFiles(NamedTuple):
    """The tokens of the three splits.

    Attributes:
        folder: The folder of the files.
        facts: Numbers of tokens, bytes and documents by split, from `write_tokens`.
    """

    folder: Path
    facts: Mapping[str, Any]

    def tokens(self, split: str) -> Tensor:
        """Return the memory-mapped tokens of a split, (tokens,), int32, or int16 with the bits of a uint16."""
        dtype = torch.int32 if self.facts["item_bytes"] == 4 else torch.int16
        size = self.facts["tokens"][split]
        if not size:
            return torch.empty(0, dtype=dtype)
        return torch.from_file(str(self.folder / f"{split}.bin"), shared=False, size=size, dtype=dtype)


def cache_folder() -> Path:
    """Return the folder for tokens: `hello-lightning/tokens` in $XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hello-lightning" / "tokens"


def read_tokens(folder: Path) -> TokenFiles | None:
    """Return the tokens in a folder; None if they have not been written yet."""
    if not (folder / FACTS).is_file():
        return None
    return TokenFiles(folder, json.loads((folder / FACTS).read_text(encoding="utf-8")))


def locked(folder: Path) -> FileLock:
    """Return the lock of a folder, so that only one of several processes writes it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_suffix(".lock"))


def write_tokens(folder: Path, parts: Iterable[Part], tokenizer: Tokenizer) -> TokenFiles:
    """Write the tokens of parts of splits. The folder appears only when all files are complete.

    Each split and each document in it starts with the end-of-text token. The caller must hold the lock of the folder.
    """
    with atomic_folder(folder) as partial:
        facts = _write(partial, parts, tokenizer)
    return TokenFiles(folder, facts)


def _write(folder: Path, parts: Iterable[Part], tokenizer: Tokenizer) -> dict[str, Any]:
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    counts = {name: dict.fromkeys(SPLITS, 0) for name in ("tokens", "bytes", "documents")}
    end = np.array([tokenizer.end], dtype)
    with ExitStack() as stack:
        files = {split: stack.enter_context((folder / f"{split}.bin").open("wb")) for split in SPLITS}
        for split, starts, data in parts:
            ids = tokenizer.encode(data).astype(dtype)
            ids = np.concatenate([end, ids]) if starts else ids
            files[split].write(ids.data)
            for name, count in (("tokens", len(ids)), ("bytes", len(data)), ("documents", starts)):
                counts[name][split] += count
    facts = {"item_bytes": dtype.itemsize, **counts}
    (folder / FACTS).write_text(json.dumps(facts), encoding="utf-8")
    return facts
