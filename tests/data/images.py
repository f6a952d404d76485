"""Folders of image files for tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, classes: str = "ab", count: int = 12, side: int = 6) -> Path:
    """Write images of random pixels, brighter the later their class, to a folder for each class."""
    random = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for image in range(count):
            pixels = random.integers(100 * number, 100 * number + 100, (side, side), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{image}.png")
    return folder
