"""A training that starts from weights of another, and tells what it moved."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from project.models.supervised import Supervised
from project.nets import Ensemble, LoRA, Net
from project.nets.net import within
from project.runs.weights import Weights, read_weights
from project.runtime.errors import UserError

MAX_NAMES = 3
STANDARDIZATION = ("features.", "targets.")  # a net may do without, and so may a file


class WeightChange(NamedTuple):
    """What training did to a part of a net.

    Attributes:
        parameters: How many numbers it has.
        trained: How many of them were trained.
        change: The largest change of any, in absolute value; NaN where it started anew.
        frozen_change: The same among those that were not trained; 0 where there are none.
    """

    parameters: int
    trained: int
    change: float
    frozen_change: float


class Pretrained(Callback):
    """Starts from trained weights, standardisation included.

    Args:
        path: A run, a checkpoint, `last` or a safetensors file; a list of them for an ensemble, one a member.
        reinitialize: Parts of the net that start anew, and are trained in any case: `head`, `input`, or names of its
            modules. Unless given: the head where the data has other targets or classes than the weights were trained
            on. What standardises targets goes with the head, and features with the input.
        strict: Whether weights that are missing in the file, or that the net has no place for, are an error.
        narrow: Whether the run's net has more units, of which the least important are left out.
    """

    def __init__(
        self,
        path: str | list[str] | None = None,
        reinitialize: list[str] | None = None,
        strict: bool = True,
        narrow: bool = False,
    ) -> None:
        idle = {"reinitialize": reinitialize is not None, "strict": not strict, "narrow": narrow}
        for name in idle if path is None else ():
            if idle[name]:
                raise UserError(f"--weights.{name}: there are no weights: give --weights.path")
        self.path, self.reinitialize, self.strict, self.narrow = path, reinitialize, strict, narrow
        self._like: Net | None = None
        self._start: dict[str, Tensor] = {}
        self.weight_changes: dict[str, WeightChange] = {}

    @cached_property
    def weights(self) -> list[Weights]:
        """The weights of every path."""
        paths = [self.path] if isinstance(self.path, str) else self.path or []
        return [read_weights(path, self._like) for path in paths]

    def choose_parts(self, data: Any) -> None:
        """Settle which parts start anew, where the user has not.

        Args:
            data: The data module.
        """
        if self.path is None or self.reinitialize is not None:
            return
        known = [weights.data for weights in self.weights if weights.data]
        names = ("target_names", "class_names")
        other = any(facts.get(name) != getattr(data, name, None) for facts in known for name in names)
        self.reinitialize = ["head"] if other else []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Have what starts anew be trained, also beside adapters."""
        if self.path is not None and isinstance(pl_module, Supervised):
            net = inner(pl_module.net.net)
            anew = new_parameters(net, self.reinitialize or [])
            for name, parameter in net.named_parameters():
                if within(name, anew):
                    parameter.requires_grad_()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the weights, unless a run is resumed."""
        if self.path is None or not isinstance(pl_module, Supervised):
            return
        if self.narrow:
            self._like = inner(pl_module.net.net)
            vars(self).pop("weights", None)  # those of all units
        if trainer.ckpt_path is None:
            self.load(pl_module)
        try:
            self._start = {
                f"members.{k}.{name}" if isinstance(self.path, list) else name.removeprefix("net."): value
                for k, weights in enumerate(self.weights)
                for name, value in ((name.removeprefix("net."), value) for name, value in weights.state.items())
            }
        except UserError as error:  # a run goes on also where the file that it began with is gone
            rank_zero_warn(f"what has moved is not told: {error}")
        vars(self).pop("weights", None)

    @torch.no_grad()
    def load(self, model: Supervised) -> None:
        """Fill a model with the weights.

        Raises:
            UserError: If names are missing or unexpected, or a shape differs outside of what starts anew; they are
                named.
        """
        net, parts = inner(model.net.net), self.reinitialize or []
        if isinstance(self.path, list):
            members = list(net.members) if isinstance(net, Ensemble) else []
            if len(members) != len(self.weights):
                raise UserError(f"--weights.path: {len(self.weights)} runs for a net of {len(members)} members")
            for member, weights in zip(members, self.weights, strict=True):
                self._fill(member, weights.state, [])
            return
        [weights] = self.weights
        target = nn.ModuleDict({"net": net})
        if "head" not in parts and model.net.targets.mean.ndim:
            target["targets"] = model.net.targets
        if "input" not in parts:
            target["features"] = model.net.features
        self._fill(target, weights.state, [f"net.{name}" for name in new_parameters(net, parts)])

    def _fill(self, target: nn.Module, state: Mapping[str, Tensor], anew: list[str]) -> None:
        source = {name.removeprefix("net."): value for name, value in state.items()}
        places = {name: value for name, value in target.state_dict().items() if not within(name, anew)}
        needed = [name for name in places if not name.startswith(STANDARDIZATION)]
        extra = [name for name in source if not name.startswith(STANDARDIZATION) and not within(name, anew)]
        mismatch = _told({"missing": set(needed) - source.keys(), "unexpected": set(extra) - places.keys()})
        if mismatch and self.strict:
            raise UserError(
                f"--weights.path {self.path}: weights are of another net ({mismatch}): give the same --model.net, or "
                "--weights.strict false to take what fits"
            )
        if mismatch:
            rank_zero_warn(f"--weights.path {self.path}: {mismatch}")
        for name in [name for name in places if name in source]:
            if source[name].ndim and source[name].shape != places[name].shape:
                raise UserError(
                    f"--weights.path {self.path}: {name} has shape {tuple(source[name].shape)}, and the net's is "
                    f'{tuple(places[name].shape)}: give --weights.reinitialize "[head]" or "[head, input]" if that '
                    "part is to start anew"
                )
            places[name].copy_(source[name])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what has moved."""
        if self._start and isinstance(pl_module, Supervised):
            self.weight_changes = weight_changes(pl_module.net.net, self._start, self.reinitialize or [])

    def metrics(self) -> dict[str, float]:
        """What metrics.json says of it."""
        if not self.weight_changes:
            return {}
        parts = self.weight_changes.values()
        return {
            "parameters": sum(part.parameters for part in parts),
            "parameters/trained": sum(part.trained for part in parts),
            "parameters/frozen_change": max(part.frozen_change for part in parts),
        }


def _told(names: Mapping[str, set[str]]) -> str:
    """The first few names of each kind."""
    return "; ".join(
        f"{kind} {', '.join(sorted(found)[:MAX_NAMES])}" + (f" and {rest} more" if rest > 0 else "")
        for kind, found in names.items()
        if found and (rest := len(found) - MAX_NAMES) is not None
    )


def inner(net: Net) -> Net:
    """The net that adapters are laid around."""
    return net.net if isinstance(net, LoRA) else net


def new_parameters(net: Net, parts: list[str]) -> list[str]:
    """Names of the modules and parameters of parts that start anew.

    Raises:
        UserError: If the net has no such part.
    """
    layers = net.backbone_names()
    known = {"head": net.head_names(), "input": layers[0] if layers else net.head_names()}  # a net may be all head
    modules = {name for name, _ in net.named_modules()}
    for part in parts:
        if part not in known and part not in modules:
            names = ", ".join(dict.fromkeys(["head", "input", *(name for name, _ in net.named_children())]))
            raise UserError(f"--weights.reinitialize {part}: {type(net).__name__} has none: give one of {names}")
    return [name for part in parts for name in known.get(part, [part])]


def weight_changes(net: Net, start: Mapping[str, Tensor], anew: list[str]) -> dict[str, WeightChange]:
    """What became of each part of a net: its children, and adapters.

    Args:
        net: After training.
        start: Parameters by name, before.
        anew: Parts that started anew, of which no change is told.
    """
    found: dict[str, list[tuple[nn.Parameter, float]]] = {}
    fresh = new_parameters(inner(net), anew)
    for name, parameter in inner(net).named_parameters():
        change = (parameter.detach() - start[name]).abs().max().item() if name in start else torch.nan
        found.setdefault(name.split(".")[0], []).append((parameter, torch.nan if within(name, fresh) else change))
    if isinstance(net, LoRA):
        found["adapters"] = [(p, torch.nan) for part in (net.down, net.up) for p in part.values()]
    return {
        part: WeightChange(
            sum(parameter.numel() for parameter, _ in pairs),
            sum(parameter.numel() for parameter, _ in pairs if parameter.requires_grad),
            max(change for _, change in pairs),
            max((change for parameter, change in pairs if not parameter.requires_grad), default=0.0),
        )
        for part, pairs in found.items()
    }
