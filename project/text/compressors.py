"""General-purpose compressors as predictors of text: how many bits a text takes after the training text."""

import bz2
import lzma
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

MAX_BYTES = 6_000_000  # about 20 s of one core for all compressors together


def xz_size(data: bytes) -> int:
    """Return the number of bytes that `xz -9e` takes, in little memory: its window is as long as the data."""
    chain = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": max(len(data), 4_096)}
    return len(lzma.compress(data, filters=[chain]))


def bz2_size(data: bytes) -> int:
    """Return the number of bytes that `bzip2 -9` takes; its blocks are 900 kB of text."""
    return len(bz2.compress(data))


def zstd_size(data: bytes) -> int:
    """Return the number of bytes that `zstd --ultra -22` takes; its window is 128 MiB."""
    import pyarrow  # here, since what only reads tokens works without it

    return pyarrow.Codec("zstd", compression_level=22).compress(data).size


COMPRESSORS: Mapping[str, Callable[[bytes], int]] = {"xz": xz_size, "bz2": bz2_size, "zstd": zstd_size}


def compressed_bits(train: bytes, text: bytes) -> dict[str, int]:
    """Return how many bits a text adds to the compressed training text, for each of `COMPRESSORS`.

    Args:
        train: The training text. If both are longer than 6 MB together, its last bytes.
        text: The text to measure, which follows it.
    """
    train = train[max(len(train) + len(text) - MAX_BYTES, 0) :]
    with ThreadPoolExecutor(2) as threads:  # compressors release the interpreter's lock
        sizes = {
            name: [threads.submit(size, data) for data in (train, train + text)] for name, size in COMPRESSORS.items()
        }
    return {name: 8 * (both.result() - alone.result()) for name, (alone, both) in sizes.items()}
