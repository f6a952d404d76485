"""Decoded images on disk, which are written once and then memory-mapped."""

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from project.data.image_files import identities
from project.data.token_files import FACTS, cache_folder, locked
from project.runtime.arrow import CellError
from project.runtime.errors import UserError
from project.runtime.files import atomic_folder
from project.schema.pixels import Fit, Header, Pixels, Size, decode, read_header

FORMAT = 1  # version of the files; increase it when their content changes
PIXELS, SUMS = "pixels.bin", "sums.npy"
AHEAD = 4  # decoded images per thread that may wait to be written


class Wanted(NamedTuple):
    """The requested size of images.

    Attributes:
        channels: Number of channels; None for that of the files.
        side: Height and width; None for those of the files.
        fit: How an image with another ratio of height and width is fitted.
    """

    channels: int | None
    side: tuple[int, int] | None
    fit: Fit


class Decoded(NamedTuple):
    """Pixels of many images.

    Attributes:
        pixels: The memory-mapped pixels, (images, channels, height, width), uint8.
        sums: Sum and sum of squares of each channel's pixels, (images, channels, 2), int64.
        size: The size of an image.
        broken: What is wrong with files that cannot be decoded, by index; their pixels are 0.
    """

    pixels: Tensor
    sums: NDArray[np.int64]
    size: Size
    broken: dict[int, str]


def decoded(paths: Sequence[str], wanted: Wanted, root: str, cache: Path | None = None) -> Decoded:
    """Return the pixels of files. They are decoded on first use, and again if a file has changed.

    Args:
        paths: The files, without repetitions.
        wanted: The size of an image.
        root: Folder of the files, for errors. Cached pixels stay valid if this folder is moved.
        cache: Folder for the pixels; by default ~/.cache/hello-lightning/images.

    Raises:
        UserError: If files are missing, none can be decoded, or they have different sizes and none is requested.
    """
    found = identities(paths)
    settings = [FORMAT, wanted, [(os.path.relpath(path, root), *identity) for path, identity in found.items()]]
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]
    folder = (cache or cache_folder().with_name("images")) / digest
    with locked(folder):
        if not (folder / FACTS).is_file():
            _write(folder, paths, wanted, root)
    return _read(folder, len(paths))


def _read(folder: Path, count: int) -> Decoded:
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    size = Size(*facts["size"])
    shape = (count, size.channels, size.height, size.width)
    pixels = torch.from_file(str(folder / PIXELS), shared=False, size=int(np.prod(shape)), dtype=torch.uint8)
    broken = {int(number): problem for number, problem in facts["broken"].items()}
    return Decoded(pixels.view(shape), np.load(folder / SUMS), size, broken)


def _write(folder: Path, paths: Sequence[str], wanted: Wanted, root: str) -> None:
    """Decode files. The folder appears only when all files in it are complete. The caller must hold its lock."""
    size = chosen_size(paths, wanted, root)
    broken, sums = dict[int, str](), np.zeros((len(paths), size.channels, 2), np.int64)
    with atomic_folder(folder) as partial:
        with (partial / PIXELS).open("wb") as file:
            for number, pixels in enumerate(_each(paths, lambda data: decode(data, size))):
                if isinstance(pixels, CellError):
                    broken[number], pixels = str(pixels), np.zeros(size[:3], np.uint8)
                flat = pixels.reshape(size.channels, -1).astype(np.int64)
                sums[number] = np.stack([flat.sum(1), (flat * flat).sum(1)], axis=1)
                file.write(pixels.data)
        np.save(partial / SUMS, sums)
        (partial / FACTS).write_text(json.dumps({"size": size, "broken": broken}), encoding="utf-8")


def _each(paths: Iterable[str], work: Any) -> Iterator[Any]:
    """Yield the result of `work` for the content of each file, or the CellError that it raises, in order."""

    def one(path: str) -> Pixels | Header | CellError:
        try:
            return work(Path(path).read_bytes())
        except CellError as error:
            return error

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:  # Pillow releases the GIL while it decodes
        waiting: deque[Any] = deque()
        for path in paths:
            waiting.append(pool.submit(one, path))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def chosen_size(paths: Sequence[str], wanted: Wanted, root: str) -> Size:
    """Return the requested size, or that of the files; they are grey if all files are.

    Raises:
        UserError: If no size is requested, and the files have different sizes or none can be decoded.
    """
    channels, side = wanted.channels, wanted.side
    if channels is None or side is None:
        headers = [header for header in _each(paths, read_header) if isinstance(header, Header)]
        if not headers:
            raise UserError(f"{root}: none of {len(paths):,} files can be read as an image")
        channels = channels or (1 if all(header.is_grey for header in headers) else 3)
        sides = {(header.height, header.width) for header in headers}
        if side is None and len(sides) > 1:
            ends = " to ".join(f"{height} x {width}" for height, width in (min(sides), max(sides)))
            raise UserError(f"{root}: the images have {len(sides):,} sizes, {ends}; set --data.size, such as 64")
        side = side or sides.pop()
    return Size(channels, *side, wanted.fit)
