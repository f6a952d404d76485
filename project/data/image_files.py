"""Image files and their targets, from a folder for each class or from a table of paths."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from project.data.labels import class_indices
from project.data.numbers import numbers
from project.data.table import column_names, first_rows, read_table, require_columns
from project.runtime.address import is_remote, local_path
from project.runtime.errors import UserError
from project.schema.spelling import as_text, is_text

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
PATH_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_path")
HINT = "make a folder for each class, or pass a table with a column of paths and set --data.target"


class Labelled(NamedTuple):
    """Image files, with a target for each.

    Attributes:
        paths: The files.
        y: Class indices (files,), int64, or numbers (files, targets), float64.
    """

    paths: list[str]
    y: Tensor


def is_folder(path: str) -> bool:
    """Whether a path is a folder of images instead of a table.

    Raises:
        UserError: If the path is on another machine.
    """
    if is_remote(path):
        raise UserError(f"{path}: images are read from this machine; copy them here")
    return local_path(path).is_dir()


def split_folders(path: str) -> dict[str, str]:
    """Return the folders of the splits: `train` and perhaps `val` and `test` if there is `train`, otherwise `path`."""
    folder = local_path(path)
    found = {split: folder / name for name, split in SPLIT_FOLDERS.items() if (folder / name).is_dir()}
    others = [each.name for each in folder.iterdir() if each.is_dir() and each.name not in SPLIT_FOLDERS]
    if "train" not in found or any(not name.startswith(".") for name in others):
        return {"train": path}
    return {split: str(each) for split, each in found.items()}


def classes_of(path: str) -> set[str]:
    """Return the names of the folders that contain images.

    Raises:
        UserError: If there are none.
    """
    folder = local_path(path)
    found = {each.name for each in folder.iterdir() if each.is_dir() and next(images_in(each), None)}
    if not found:
        loose = sum(is_image(each.name) for each in folder.iterdir())
        problem = f"{loose:,} images, but no folders of classes" if loose else "no images"
        raise UserError(f"{path}: {problem}; {HINT}")
    return found


def images_in(folder: Path) -> Iterator[str]:
    """Yield the paths of the images in a folder and its subfolders, sorted."""
    for place, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        yield from (os.path.join(place, name) for name in sorted(files) if is_image(name))  # noqa: PTH118 (is faster)


def is_image(name: str) -> bool:
    """Whether a file name is that of an image; the hidden files `._NAME` that macOS writes are none."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def from_folder(path: str, classes: Sequence[str], source: str) -> Labelled:
    """Return the images in folders that are named like classes.

    Raises:
        UserError: If there is a folder of a class that is not in `classes`, the classes of `source`.
    """
    known, paths, y = {name: number for number, name in enumerate(classes)}, list[str](), list[int]()
    for name in sorted(classes_of(path)):
        if name not in known:
            raise UserError(f"{path}: folder {name!r} is not a class of {source}; the classes are {', '.join(classes)}")
        found = [*images_in(local_path(path) / name)]
        paths += found
        y += [known[name]] * len(found)
    return Labelled(paths, torch.tensor(y))


def path_column(path: str, column: str | None, targets: Sequence[str]) -> str:
    """Return the name of the column of paths: `column`, one with a usual name, or the only other text column.

    Raises:
        UserError: If there is no such column, or there are several.
    """
    present = column_names(path)
    if column is not None:
        require_columns(path, [column], present, "--data.image")
        return column
    others = [name for name in present if name not in targets]
    texts = [field.name for field in first_rows(path).schema if field.name in others and is_text(field.type)]
    found = [name for name in others if name.lower() in PATH_COLUMNS] or texts
    if len(found) != 1:
        raise UserError(f"{path}: which column has the paths of the images? set --data.image to one of {others}")
    return found[0]


def from_table(
    path: str, column: str, targets: Sequence[str], classes: list[str] | None, source: str
) -> tuple[Labelled, int]:
    """Return the images in the rows of a table, and the number of rows without a target or path, which are left out.

    Relative paths are relative to the folder of the table.
    """
    table = read_table(path, [column, *targets], [column])
    if classes is None:
        y = numbers(path, table.select(targets), 1, "correct it, or set --data.task classification")
    else:
        y = class_indices(path, table, targets[0], classes, source)
    files = paths_of(path, table, column)
    kept = [
        row for row, (file, gap) in enumerate(zip(files, y.isnan().any(1).tolist(), strict=True)) if file and not gap
    ]
    y = y[kept] if classes is None else y[kept, 0].long()
    return Labelled([file for row in kept if (file := files[row])], y), len(files) - len(kept)


def paths_of(path: str | Path, table: pa.Table, column: str) -> list[str | None]:
    """Return the paths in a column of a table, relative to its folder; None for missing ones."""
    folder = local_path(path)
    folder = folder if folder.is_dir() else folder.parent
    names = as_text(table.column(column)).to_pylist()
    return [None if name is None else str(folder / local_path(name)) for name in names]


def image_table(path: str, column: str) -> pa.Table:
    """Return a table with the paths of all images in a folder, or with the path of a single image.

    Raises:
        UserError: If a folder has no images.
    """
    place = local_path(path)
    files = [*images_in(place)] if place.is_dir() else [str(place)]
    if not files:
        raise UserError(f"{path}: no images")
    return pa.table({column: files})


def with_contents(path: str | Path, table: pa.Table, column: str) -> pa.Table:
    """Replace the paths in a column of a table by the contents of the files; missing paths become null.

    Raises:
        UserError: If a file cannot be read.
    """
    try:
        contents = [None if file is None else Path(file).read_bytes() for file in paths_of(path, table, column)]
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from None
    place = table.column_names.index(column)
    return table.set_column(place, column, pa.chunked_array([contents], pa.binary()))


def identities(paths: Sequence[str]) -> Mapping[str, tuple[int, int]]:
    """Return size and modification time of each file.

    Raises:
        UserError: If files are missing.
    """
    found, missing = dict[str, tuple[int, int]](), list[str]()
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 (is faster)
            found[path] = status.st_size, status.st_mtime_ns
        except OSError:
            missing.append(path)
    if missing:
        raise UserError(f"{missing[0]}: no such file ({len(missing):,} of {len(paths):,} images are missing)")
    return found
