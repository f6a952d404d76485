"""The parser of the flags of scripts/train.py."""

from typing import Any

from lightning.pytorch.cli import LightningArgumentParser


class FlagParser(LightningArgumentParser):
    """Lightning's parser; but only a whole section may be the path of a YAML file, as in `--trainer trainer.yaml`.

    Lightning reads any value that is the name of a file: `--model.net MLP` or `--trainer.strategy ddp` would depend on
    the files in the working folder.
    """

    def add_class_arguments(self, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a class, none of which is read from a file."""
        return super().add_class_arguments(*args, **kwargs | {"sub_configs": False})
