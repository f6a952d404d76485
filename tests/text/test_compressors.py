"""A compressor that has seen the training text takes few bits for what repeats it, and all bits for noise."""

import gzip
import shutil
import subprocess

import numpy as np
import pytest

from project.text.compressors import MAX_BYTES, compressed_bits, xz_size

NOISE = np.random.default_rng(0).bytes(60_000)


def test_noise_takes_eight_bits_a_byte():
    for name, bits in compressed_bits(NOISE[:40_000], NOISE[40_000:]).items():
        assert bits / 20_000 == pytest.approx(8, rel=0.01), name


def test_a_text_that_repeats_the_training_text_is_nearly_free():
    bits = compressed_bits(NOISE, NOISE[:20_000])
    assert bits["xz"] / 20_000 < 0.5
    assert bits["zstd"] / 20_000 < 0.5


def test_the_window_reaches_the_start_of_the_training_text():
    start = NOISE[:50_000]
    train = start + bytes(MAX_BYTES - 2 * len(start))  # zeros take next to nothing
    bits = compressed_bits(train, start)
    assert bits["xz"] / len(start) < 0.5
    assert bits["zstd"] / len(start) < 0.5


def test_only_the_end_of_a_long_training_text_is_used():
    start = NOISE[:50_000]
    train = start + bytes(MAX_BYTES)
    assert compressed_bits(train, start)["xz"] / len(start) > 7


@pytest.mark.skipif(shutil.which("xz") is None, reason="needs the command xz")
def test_xz_takes_what_the_command_takes():
    data = gzip.compress(NOISE) + NOISE
    command = subprocess.run(["xz", "-9e", "--stdout"], input=data, capture_output=True, check=True).stdout
    assert xz_size(data) == pytest.approx(len(command), abs=16)
