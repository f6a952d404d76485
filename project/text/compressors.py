"""Compressors as baselines for language models: the number of bits of a text, given the training text."""

import bz2
import lzma
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

MAX_BYTES = 6_000_000  # about 20 s of one core for all compressors together


def xz_size(data: bytes) -> int:
    """Return the compressed size with `xz -9e`, in bytes. The window is as long as the data, to save memory."""
    chain = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": max(len(data), 4_096)}
    return len(lzma.compress(data, filters=[chain]))


def bz2_size(data: bytes) -> int:
    """Return the compressed size with `bzip2 -9`, in bytes. Its blocks are 900 kB of text."""
    return len(bz2.compress(data))


def zstd_size(data: bytes) -> int:
    """Return the compressed size with `zstd --ultra -22`, in bytes. Its window is 128 MiB."""
    import pyarrow  # imported here because code that only reads tokens does not need it

    return pyarrow.Codec("zstd", compression_level=22).compress(data).size


COMPRESSORS: Mapping[str, Callable[[bytes], int]] = {"xz": xz_size, "bz2": bz2_size, "zstd": zstd_size}


def compressed_bits(train: bytes, text: bytes) -> dict[str, int]:
    """Return by how many bits a text makes the compressed training text longer, for each of `COMPRESSORS`.

    Args:
        train: The training text. If both texts together exceed 6 MB, only its last bytes are used.
        text: The text to measure.
    """
    train = train[max(len(train) + len(text) - MAX_BYTES, 0) :]
    with ThreadPoolExecutor(2) as threads:  # compressors release the GIL
        sizes = {
            name: [threads.submit(size, data) for data in (train, train + text)] for name, size in COMPRESSORS.items()
        }
    return {name: 8 * (both.result() - alone.result()) for name, (alone, both) in sizes.items()}
