"""What a checkpoint file may hold, checked before and after it is read: its size bounds what reading it takes."""

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


def check_entries(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise a UserError unless a zip file's entries are as torch writes them: not compressed, apart, inside the file.

    Anything else may unpack to far more than the file, and torch writes nothing else.
    """
    room, names = path.stat().st_size, set()
    for entry in archive.infolist():
        room -= entry.file_size
        name = PurePosixPath(entry.filename)
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or room < 0:
            raise UserError(f"{path}: not a checkpoint: {entry.filename[:80]!r} unpacks to more than is in the file")
        if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or entry.filename in names:
            raise UserError(f"{path}: not a checkpoint: it has an entry named {entry.filename[:80]!r}")
        names.add(entry.filename)


def check_plain(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Raise a UserError unless a checkpoint is a tree of plain values and of tensors that are as large as they say.

    References within a pickle can make a short file stand for a tree that takes forever to walk, and a stride of 0
    makes one number stand for a tensor beyond any memory.
    """
    storages: dict[int, int] = {}
    sizes: dict[int, int] = {}  # of trees, by identity, as each is walked once

    def size(value: Any, depth: int) -> int:
        if isinstance(value, Tensor):
            if value.layout != torch.strided or value.is_meta or value.is_quantized or value.is_nested:
                raise UserError(f"{path}: not a checkpoint of plain data: it holds a tensor that is not dense")
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            if value.numel() * value.element_size() > storage.nbytes():
                shape = tuple(value.shape)
                raise UserError(f"{path}: not a checkpoint of plain data: a tensor {shape} is larger than its numbers")
            return 1
        if isinstance(value, PLAIN):
            return 1
        if not isinstance(value, dict | list | tuple | set):
            raise UserError(f"{path}: not a checkpoint of plain data: it holds a {type(value).__name__}")
        if depth == MAX_DEPTH:
            raise UserError(f"{path}: not a checkpoint of plain data: nested deeper than {MAX_DEPTH} levels")
        if id(value) not in sizes:
            parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
            sizes[id(value)] = 1 + sum(size(part, depth + 1) for part in parts)
        if sizes[id(value)] > MAX_VALUES:
            raise UserError(f"{path}: not a checkpoint of plain data: more than {MAX_VALUES} values")
        return sizes[id(value)]

    size(checkpoint, 0)
    if sum(storages.values()) > path.stat().st_size:
        raise UserError(f"{path}: not a checkpoint of plain data: its tensors are larger than the file")


def check_files(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Raise a UserError where the callbacks of a run to be resumed would delete files outside their own folder."""
    callbacks = checkpoint.get("callbacks")
    for state in callbacks.values() if isinstance(callbacks, dict) else ():
        if not isinstance(state, dict) or not state.get("dirpath"):
            continue
        folder, best = str(state["dirpath"]), state.get("best_k_models")
        own = [
            *(best if isinstance(best, dict) else ()),
            state.get("kth_best_model_path"),
            state.get("last_model_path"),
        ]
        for name in filter(None, [*own, state.get("best_model_path")]):  # the best may be of the folder before
            file, inside = Path(str(name)), str(name).startswith(folder)
            if ".." in file.parts or file.suffix != ".ckpt" or (not inside and (name in own or "://" in str(name))):
                raise UserError(f"{path}: its callbacks claim a file outside their own folder: {str(name)[:200]}")


def check_progress(name: str, checkpoint: Mapping[str, Any]) -> None:
    """Raise a UserError unless a checkpoint says how far its run came, as Lightning writes it."""
    progress: Any = checkpoint
    for key in ("loops", "fit_loop", "epoch_progress", "current", "processed"):
        progress = progress.get(key) if isinstance(progress, dict) else None
    kinds = {"epoch": int, "global_step": int, "optimizer_states": list, "lr_schedulers": list, "callbacks": dict}
    kinds |= {"pytorch-lightning_version": str}
    wrong = [key for key, kind in kinds.items() if not isinstance(checkpoint.get(key), kind)]
    if "pytorch-lightning_version" not in wrong:
        wrong += [] if re.match(r"\d+\.\d+", checkpoint["pytorch-lightning_version"]) else ["which Lightning wrote it"]
    if not isinstance(progress, int) or wrong:
        raise UserError(f"{name}: cannot be resumed: it does not say {', '.join(wrong) or 'how many epochs are done'}")
