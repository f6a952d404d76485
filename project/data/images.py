"""Images: a folder for each class, or a table with a column of paths."""

import itertools
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from project.data.augmentation import NONE, Augmentation
from project.data.columns import task_of
from project.data.datamodule import RowsDataModule, Splits, Summary
from project.data.image_cache import Decoded, Wanted, decoded
from project.data.image_files import (
    Labelled,
    classes_of,
    from_folder,
    from_table,
    is_folder,
    path_column,
    split_folders,
)
from project.data.image_rows import ImageRows
from project.data.labels import distinct_labels
from project.data.loader import Rows
from project.data.sampling import is_labelled
from project.data.split import check_fractions, check_not_empty, random_split, stratified_split
from project.data.statistics import Statistics, statistics
from project.data.table import column_names as names_of_columns
from project.data.table import first_rows, require_columns
from project.runtime.address import local_path
from project.runtime.errors import UserError
from project.runtime.ranges import NonNegativeFloat, PositiveInt, RightOpenUnitInterval
from project.schema import Schema
from project.schema.category import sorted_levels
from project.schema.image import Image
from project.schema.pixels import Fit

MAX_NAMES = 3


class ImageDataModule(RowsDataModule):
    """Images as pixels from 0 to 255, (channels, height, width), with classes or numbers as targets.

    JPEG, PNG, WebP, GIF, BMP and TIFF files are decoded once, into a memory-mapped file, so they may be larger than
    memory. The rotation in EXIF is applied, 16 bits become 8, and transparent pixels become white.

    Args:
        path: A folder with a folder of images for each class; or a folder with the folder `train`, and perhaps `val`
            and `test`, that contain these; or a table, CSV or Parquet, with a column of paths relative to its folder.
        target: Name of the target column of a table, or a list of names; for a folder, a name for its classes.
        image: Name of the column of paths; by default one that is called `image`, `path` or `file`, or the only other
            text column.
        task: Whether the targets of a table are numbers or classes; by default, text is classes.
        size: Side of the images, or height and width; by default that of the files if it is the same for all.
        channels: 1 for grey or 3 for colours; by default 1 if all files are grey.
        fit: How images with another ratio of height and width are fitted: `crop` cuts out the middle, `stretch`
            distorts them, `pad` adds black borders.
        val_path: Images to validate on, in the form of `path`; by default they are split from `path`.
        test_path: Images to test on, in the form of `path`; by default they are split from `path`.
        val_fraction: Fraction of the images of `path` to validate on; unused if there are images for validation.
        test_fraction: Fraction of the images of `path` to test on; unused if there are images for testing.
        skip_broken: Whether to leave out files that cannot be decoded instead of raising an error.
        flip: Whether to mirror half of the training images, a different half in each epoch.
        shift: Maximum shift of training images along each axis, as a fraction of the side.
        rotate: Maximum rotation of training images, in degrees.
        zoom: Maximum change of the scale of training images, as a fraction.
        contrast: Maximum change of brightness and contrast of training images, as a fraction.
        cache: Folder for the pixels; by default ~/.cache/hello-lightning/images.
        **kwargs: Arguments of `RowsDataModule`.
    """

    default_epochs = 20
    default_net = "project.nets.CNN"
    default_optimizer: Mapping[str, Any] = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}}
    memory_hint = "set a smaller --data.size"

    def __init__(
        self,
        path: str,
        target: str | list[str] | None = None,
        image: str | None = None,
        task: Literal["regression", "classification"] | None = None,
        size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None,
        channels: Literal[1, 3] | None = None,
        fit: Fit = "crop",
        val_path: str | None = None,
        test_path: str | None = None,
        val_fraction: RightOpenUnitInterval = 0.1,
        test_fraction: RightOpenUnitInterval = 0.2,
        skip_broken: bool = False,
        flip: bool = False,
        shift: RightOpenUnitInterval = 0.0,
        rotate: NonNegativeFloat = 0.0,
        zoom: RightOpenUnitInterval = 0.0,
        contrast: RightOpenUnitInterval = 0.0,
        cache: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source, self.path, self.skip_broken = path, path, skip_broken
        self.wanted = Wanted(channels, (size, size) if isinstance(size, int) else size and (size[0], size[1]), fit)
        self.cache = Path(cache) if cache else None
        self.augmentation = Augmentation(flip, shift, rotate, zoom, contrast)
        self.sources = split_folders(path) if is_folder(path) else {"train": path}
        self.sources |= {name: each for name, each in (("val", val_path), ("test", test_path)) if each}
        self.val_fraction = 0.0 if "val" in self.sources else val_fraction
        self.test_fraction = 0.0 if "test" in self.sources else test_fraction
        check_fractions(self.val_fraction, self.test_fraction)
        self.target_names = [target] if isinstance(target, str) else target or ["class"]
        self.left_out: Counter[str] = Counter()
        if is_folder(self.sources["train"]):
            self.column = image or "image"
            self.class_names = self._folder_classes()
        elif target is None:
            raise UserError("--data.target: pass the name of the column that the model learns")
        else:
            self._choose_columns(image, task)
        self.feature_names = [self.column]

    def _folder_classes(self) -> list[str]:
        train = self.sources["train"]
        classes = sorted_levels({*classes_of(train)})
        if len(classes) < 2:
            raise UserError(f"{train}: fewer than two classes: {', '.join(classes)}")
        return classes

    def _choose_columns(self, image: str | None, task: str | None) -> None:
        """Choose the column of paths of a table, and infer the classes of its target."""
        train = self.sources["train"]
        require_columns(train, self.target_names, names_of_columns(train), "--data.target")
        self.column = path_column(train, image, self.target_names)
        if (task or task_of(first_rows(train), self.target_names, {})) == "classification":
            self.class_names = distinct_labels(train, self.target_names[0])

    @classmethod
    def default_model(cls, arguments: Mapping[str, Any]) -> str:
        """Return the class path of the model for the task: regression or classification."""
        path, target, task = arguments["path"], arguments.get("target"), arguments.get("task")
        with suppress(UserError, OSError):  # the constructor reports these errors
            if not is_folder(path):
                names = [target] if isinstance(target, str) else target or []
                task = task or task_of(first_rows(path), names, {})
        return "project.models.Regression" if task == "regression" else "project.models.Classification"

    @cached_property
    def labelled(self) -> dict[str, Labelled]:
        """The files of each source."""
        found = {}
        for split, path in self.sources.items():
            if is_folder(path):
                found[split] = from_folder(path, self.class_names or [], self.sources["train"])
            else:
                names, classes = self.target_names, self.class_names
                found[split], left_out = from_table(path, self.column, names, classes, self.sources["train"])
                self.left_out["rows without a target or path"] += left_out
        return found

    @cached_property
    def decoded(self) -> Decoded:
        """The pixels of all files, which are decoded on first use."""
        paths = self._paths
        if not paths:
            raise UserError(f"{self.path}: no images")
        wanted, folder = self.wanted, local_path(self.path)
        if self.schema is not None:  # that of another run, for settings without a flag
            channels, height, width, _ = self._image.size
            wanted = Wanted(wanted.channels or channels, wanted.side or (height, width), wanted.fit)
        found = decoded(paths, wanted, str(folder if folder.is_dir() else folder.parent), self.cache)
        if found.broken:
            listed = "; ".join(f"{paths[number]} {problem}" for number, problem in [*found.broken.items()][:MAX_NAMES])
            more = f"; and {len(found.broken) - MAX_NAMES:,} more" if len(found.broken) > MAX_NAMES else ""
            problem = f"{len(found.broken):,} of {len(paths):,} files cannot be used: {listed}{more}"
            if not self.skip_broken:
                raise UserError(f"{self.path}: {problem}; remove them, or set --data.skip_broken true")
            rank_zero_warn(f"{self.path}: left out: {problem}")
        self.schema = Schema([Image(self.column, size=found.size)])
        return found

    @property
    def _paths(self) -> list[str]:
        """All files, without repetitions."""
        return [*dict.fromkeys(itertools.chain.from_iterable(each.paths for each in self.labelled.values()))]

    @property
    def _image(self) -> Image:
        assert self.schema is not None
        [field] = self.schema.fields
        assert isinstance(field, Image)
        return field

    def load(self) -> Splits:
        """Decode the images and split them."""
        number = {path: number for number, path in enumerate(self._paths)}
        broken = torch.tensor([*self.decoded.broken], dtype=torch.long)
        splits: dict[str, Rows] = {}
        for split, (paths, y) in self.labelled.items():
            rows = torch.tensor([number[path] for path in paths])
            kept = ~torch.isin(rows, broken)
            splits[split] = Rows(rows[kept], y[kept])
        train = splits["train"]
        divide = stratified_split if self.class_names is not None else lambda y, *args: random_split(len(y), *args)
        parts = divide(train.y, self.val_fraction, self.test_fraction, self.seed)
        for split, part in zip(("train", "val", "test"), parts, strict=True):
            if split == "train" or split not in splits:
                splits[split] = Rows(train.x[part], train.y[part])
        found = Splits(**splits)
        check_not_empty(self.path, [*map(len, found)])
        return found

    def _load(self) -> tuple[Splits, Summary]:
        numbered = self.load()  # x has the indices of images
        if self.sampling.is_active:
            if self.sampling.unlabelled_path:
                raise UserError("--sampling.unlabelled_path: is for rows of tables; use --sampling.unlabelled")
            numbered = Splits(*self.sampling.apply(numbered, self.read_inputs, 0))
        y = numbered.train.y
        labelled = y[is_labelled(y)] if self.sampling.has_unlabelled else y
        summary = Summary(
            self._statistics(numbered.train.x), statistics(labelled) if self.class_names is None else None
        )
        settings = [(self.augmentation, self.seed), (NONE, 0), (NONE, 0)]
        pixels = self.decoded.pixels
        rows = (
            ImageRows(pixels, part.x, part.y if self.class_names is not None else part.y.float(), *setting)
            for part, setting in zip(numbered, settings, strict=True)
        )
        return Splits(*rows), summary

    def _statistics(self, images: Tensor) -> Statistics:
        """Return the statistics of each channel, which are exact because the sums are integers."""
        found = self.decoded
        count = found.pixels[0, 0].numel() * len(images)
        totals = found.sums[images.numpy()].astype(object).sum(0)  # as Python integers, which do not overflow
        mean = np.array([total / count for total, _ in totals])
        squares = np.array([(squares * count - total * total) / count**2 for total, squares in totals], float)
        constant = torch.from_numpy(squares == 0)
        std = torch.from_numpy(np.where(squares == 0, 1.0, np.sqrt(squares)))
        shape = (len(totals), 1, 1)
        return Statistics(torch.from_numpy(mean).view(shape), std.view(shape), constant.view(shape))
