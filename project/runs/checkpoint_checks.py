"""Checks of an untrusted checkpoint, before and after it is read, so that it takes no more memory than its size."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from project.runtime.errors import UserError

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)
MAX_DEPTH, MAX_VALUES = 50, 10_000_000


def _refuse(problem: str | None) -> None:
    if problem:
        raise ValueError(problem)


def check_entries(archive: zipfile.ZipFile, file_bytes: int) -> None:
    """Check that the entries of a zip file are like those that torch writes: uncompressed, distinct, without `..`.

    Other entries may unpack to far more than the size of the file.

    Raises:
        ValueError: If they are not.
    """
    room, names = file_bytes, set()
    for entry in archive.infolist():
        room -= entry.file_size
        name = PurePosixPath(entry.filename)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or room < 0:
            _refuse(f"{entry.filename[:80]!r} unpacks to more than the size of the file")
        if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or entry.filename in names:
            _refuse(f"it has an entry named {entry.filename[:80]!r}")
        names.add(entry.filename)


def check_plain(checkpoint: Any, file_bytes: int) -> None:
    """Check that a checkpoint is a tree of plain values and of tensors whose numbers are all in the file.

    With references, a short pickle can describe a tree that takes forever to traverse. With a stride of 0, one number
    can describe a tensor larger than memory.

    Raises:
        ValueError: If it is not.
    """
    storages: dict[int, int] = {}
    sizes: dict[int, int] = {}  # number of values by identity of the container, so that each is visited once

    def size(value: Any, depth: int) -> int:
        _refuse(_problem(value, depth))
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        if isinstance(value, (Tensor, *PLAIN)):
            return 1
        if id(value) not in sizes:
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            sizes[id(value)] = 1 + sum(size(part, depth + 1) for part in parts)
        if sizes[id(value)] > MAX_VALUES:
            _refuse(f"it contains more than {MAX_VALUES} values")
        return sizes[id(value)]

    size(checkpoint, 0)
    if sum(storages.values()) > file_bytes:
        _refuse("its tensors are larger than the file")


def _problem(value: Any, depth: int) -> str | None:
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_nested:
            return "it contains a tensor that is not dense"
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            return f"it contains a tensor of shape {tuple(value.shape)} that is larger than its storage"
        return None
    if isinstance(value, PLAIN):
        return None
    if not isinstance(value, dict | list | tuple | set):
        return f"it contains a {type(value).__name__}"
    return f"it is nested deeper than {MAX_DEPTH} levels" if depth == MAX_DEPTH else None


def check_files(checkpoint: Any) -> None:
    """Check that the callbacks of a resumed run would delete no files outside their own folder.

    Raises:
        ValueError: If they would.
    """
    callbacks = checkpoint.get("callbacks") if isinstance(checkpoint, dict) else None
    for state in callbacks.values() if isinstance(callbacks, dict) else ():
        if not isinstance(state, dict) or not state.get("dirpath"):
            continue
        best = state.get("best_k_models")
        kept = [*(best if isinstance(best, dict) else ()), *map(state.get, ("kth_best_model_path", "last_model_path"))]
        for name in filter(None, [*kept, state.get("best_model_path")]):
            file, inside = Path(str(name)), str(name).startswith(str(state["dirpath"]))
            # After a resume, the best model may be in the folder of the earlier run. Lightning does not delete it.
            outside = not inside and (name in kept or "://" in str(name))
            if ".." in file.parts or file.suffix != ".ckpt" or outside:
                _refuse(f"its callbacks refer to a file outside their own folder: {str(name)[:200]}")


def check_progress(name: str, checkpoint: Mapping[str, Any]) -> None:
    """Check that a checkpoint has the training state that Lightning needs to resume.

    Raises:
        UserError: If parts of it are missing or invalid. The error names them.
    """
    progress: Any = checkpoint
    for key in ("loops", "fit_loop", "epoch_progress", "current", "processed"):
        progress = progress.get(key) if isinstance(progress, dict) else None
    kinds = {"epoch": int, "global_step": int, "optimizer_states": list, "lr_schedulers": list, "callbacks": dict}
    missing = [key for key, kind in kinds.items() if not isinstance(checkpoint.get(key), kind)]
    version = checkpoint.get("pytorch-lightning_version")
    if not (isinstance(version, str) and re.match(r"\d+\.\d+", version)):
        missing.append("pytorch-lightning_version")
    if not isinstance(progress, int):
        missing.append("loops")
    if missing:
        raise UserError(f"{name}: cannot be resumed: it has no valid {', '.join(missing)}; train a new run")
