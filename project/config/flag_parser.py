"""The parser of the flags of scripts/train.py."""

import re
from typing import Any

from lightning.pytorch.cli import LightningArgumentParser


class FlagParser(LightningArgumentParser):
    """Lightning's parser, which reads a YAML file only for a whole section, as in `--trainer trainer.yaml`.

    Lightning reads any value that is the name of a file, so `--model.net MLP` or `--trainer.strategy ddp` would depend
    on the files in the working folder.
    """

    def add_class_arguments(self, *args: Any, **kwargs: Any) -> list[str]:
        """Add the arguments of a class; none of them is read from a file."""
        return super().add_class_arguments(*args, **kwargs | {"sub_configs": False})

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """Return the help without Sphinx's markup, and without the arguments that other arguments determine."""
        text = super().format_help(*args, **kwargs).partition("\nLinked arguments:")[0]
        # :class:`torch.nn.Module` becomes `Module`; the help is wrapped, perhaps within a name.
        text = re.sub(r":\s*[a-z]+:\s*`~?(?:[\w.\s]+\.)?([\w\s]+)`", r"`\1`", text)
        return text.replace("``", "`")
