"""Classes that flags accept by their short names, and suggestions for unknown names."""

import pkgutil
import sys
from difflib import get_close_matches
from inspect import Parameter, isabstract, signature
from typing import NamedTuple

from jsonargparse.typing import Path_fr

from project.config.trust import granted


class Kind(NamedTuple):
    """The classes that a flag accepts.

    Attributes:
        flag: The flag.
        module: Module whose classes need no `--trust`.
        base: Import path of their base class.
        noun: Name of such a class in messages.
        ending: Suffix of the class names that users often leave out.
        own: Module of this project with further classes.
    """

    flag: str
    module: str
    base: str
    noun: str
    ending: str = ""
    own: str = ""


KINDS = {  # the keys are the last parts of the flags
    "net": Kind("--model.net", "project.nets", "torch.nn.Module", "a network"),
    "model": Kind("--model", "project.models", "lightning.pytorch.LightningModule", "a model"),
    "data": Kind("--data", "project.data", "lightning.pytorch.LightningDataModule", "a data module", "DataModule"),
    "optimizer": Kind("--optimizer", "torch.optim", "torch.optim.Optimizer", "an optimizer", own="project.models"),
    "lr_scheduler": Kind(
        *("--lr_scheduler", "torch.optim.lr_scheduler", "torch.optim.lr_scheduler.LRScheduler", "a scheduler", "LR"),
        own="project.models",
    ),
    "loss": Kind("--model.loss", "torch.nn", "torch.nn.modules.loss._Loss", "a loss", "Loss", own="project.models"),
    "callbacks": Kind(
        "--trainer.callbacks", "lightning.pytorch.callbacks", "lightning.pytorch.callbacks.Callback", "a callback"
    ),
    "logger": Kind("--trainer.logger", "lightning.pytorch.loggers", "lightning.pytorch.loggers.Logger", "a logger"),
}
ALIASES = {
    "net": {"lstm": "RNN", "gru": "RNN", "linearregression": "Linear", "seq2seq": "EncoderDecoder"},
    "data": {"csv": "TabularDataModule", "table": "TabularDataModule", "timeseries": "SeriesDataModule"},
    "loss": {"mae": "L1Loss", "ce": "CrossEntropyLoss", "smoothl1": "SmoothL1Loss", "quantile": "PinballLoss"},
    "lr_scheduler": {"cosine": "CosineAnnealingLR", "plateau": "ReduceLROnPlateau", "onecycle": "OneCycleLR"},
}
# Arguments that the program fills in, not the user.
FILLED_IN = ("self", "params", "optimizer", "in_shape", "out_features", "levels", "token_bytes")


def kind_of(flag: str) -> str:
    """Return the key of `KINDS` for a flag such as `--model.net`; "" if there is none."""
    name = flag.removesuffix("+").rpartition(".")[2].lstrip("-")
    return name if name in KINDS else ""


def known_classes(kind: str) -> dict[str, type]:
    """Return the classes of a kind, by name: those that need no `--trust`, and those of trusted modules."""
    base = pkgutil.resolve_name(KINDS[kind].base)
    return {
        name: value
        for module in (KINDS[kind].module, KINDS[kind].own, *granted())
        for name, value in vars(sys.modules.get(module, object)).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base and not isabstract(value)
    }


def class_names(kind: str) -> list[str]:
    """Return the names of the classes of a kind that a user may choose, sorted."""
    known = known_classes(kind).items()
    return sorted(name for name, found in known if not (found.__doc__ or "").startswith("Base class"))


def nearest_class(kind: str, name: str) -> str | None:
    """Return the class of a kind with the most similar name; None if no name is similar.

    Upper and lower case and the suffix do not matter.
    """
    names = {known.lower(): known for known in class_names(kind)}
    plain = name.rpartition(".")[2].lower().replace("_", "").replace("-", "")
    if (short := plain.removesuffix(KINDS[kind].ending.lower() or " ")) in (aliases := ALIASES.get(kind, {})):
        return aliases[short]
    found = next((names[key] for key in (plain, plain + KINDS[kind].ending.lower()) if key in names), None)
    if found is None and (near := get_close_matches(plain, names, n=1)):
        found = names[near[0]]
    return found


def other_kind(kind: str, name: str) -> tuple[str, str] | None:
    """Return kind and name of the class with this name that is of another kind than the expected one; None for none."""
    for other in KINDS:
        names = {known.lower(): known for known in known_classes(other)} if other != kind else {}
        if name.lower() in names:
            return other, names[name.lower()]
    return None


def required_arguments(kind: str, name: str) -> list[str]:
    """Return the names of the arguments without a default that the user has to pass."""
    found = known_classes(kind).get(name)
    parameters = signature(found).parameters.values() if found else ()
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.default is p.empty and p.kind in named and p.name not in FILLED_IN]


def class_path(kind: str, name: str) -> str:
    """Return the import path of a known class if a file has the same name, since jsonargparse would read the file.

    Otherwise return the name.
    """
    known = known_classes(kind).get(name) if kind and name.isidentifier() else None
    if known is None:
        return name
    try:
        Path_fr(name)  # looks in the same folder as jsonargparse
    except TypeError:
        return name
    public = hasattr(sys.modules[KINDS[kind].module], name)
    return f"{KINDS[kind].module if public else known.__module__}.{name}"
