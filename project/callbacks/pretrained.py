"""Initialise from pretrained weights and report the change per part."""

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
from project.nets.quantized import QuantizedLinear
from project.public_weights.source import LazyState, Source
from project.runs.weights import Weights, read_weights
from project.runtime.errors import UserError

MAX_NAMES = 3
STANDARDIZATION = ("features.", "targets.", "one_hot.")  # optional in a net and in a file


class WeightChange(NamedTuple):
    """How training changed a part of a net: numbers of parameters, and the largest absolute changes."""

    parameters: int
    trained: int
    change: float  # NaN for a part that was reinitialised
    frozen_change: float  # of parameters that were not trained; 0 if all were


class Pretrained(Callback):
    """Initialise from pretrained weights and report the change per part.

    Standardisation is part of the weights.

    Args:
        path: A run, a checkpoint, `last` or a safetensors file; for an ensemble, a list with one of them per member.
        reinitialize: Parts of the net that keep their initial weights, and are always trained: `head`, `input`, or
            names of modules. By default the head, if the data has other targets or classes than the pretrained model.
            The standardisation of targets belongs to the head, that of features to the input.
        strict: Whether missing and unexpected weights are an error.
        narrow: Whether to remove the least important units of the pretrained net until it has the widths of this one.
    """

    def __init__(
        self,
        path: str | list[str] | None = None,
        reinitialize: list[str] | None = None,
        strict: bool = True,
        narrow: bool = False,
    ) -> None:
        for name, is_set in {"reinitialize": reinitialize is not None, "strict": not strict, "narrow": narrow}.items():
            if is_set and path is None:
                raise UserError(f"--weights.{name}: has no effect without --weights.path; set that, too")
        self.path, self.reinitialize, self.strict, self.narrow = path, reinitialize, strict, narrow
        self._narrow_to: Net | None = None
        self._start: Mapping[str, Tensor] = {}
        self.weight_changes: dict[str, WeightChange] = {}

    @cached_property
    def weights(self) -> list[Weights]:
        """The weights of each path."""
        paths = [self.path] if isinstance(self.path, str) else self.path or []
        return [read_weights(path, self._narrow_to, lazy=True) for path in paths]

    def choose_parts(self, data: Any) -> None:
        """Choose the parts to reinitialise for a data module, unless the user has chosen them."""
        if self.path is None or self.reinitialize is not None:
            return
        known = [weights.data for weights in self.weights if weights.data]
        names = ("target_names", "class_names")
        differs = any(facts.get(name) != getattr(data, name, None) for facts in known for name in names)
        self.reinitialize = ["head"] if differs else []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the reinitialised parts trainable, even if LoRA has frozen them."""
        if self.path is not None and isinstance(pl_module, Supervised):
            net = without_adapters(pl_module.net.net)
            reinitialized = reinitialized_names(net, self.reinitialize or [])
            for name, parameter in net.named_parameters():
                if within(name, reinitialized):
                    parameter.requires_grad_()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the weights, unless a run is resumed."""
        if self.path is None or not isinstance(pl_module, Supervised):
            return
        if self.narrow:
            self._narrow_to = without_adapters(pl_module.net.net)
            vars(self).pop("weights", None)  # they were read with all units
        if trainer.ckpt_path is None:
            self.load(pl_module)
        try:
            places: dict[str, tuple[Mapping[str, Tensor], str]] = {}
            for k, weights in enumerate(self.weights):
                for name in weights.state:
                    own = name.removeprefix("net.")
                    own = f"members.{k}.{own}" if isinstance(self.path, list) else own.removeprefix("net.")
                    places[own] = weights.state, name
            # Read at the end, one after another.
            self._start = LazyState(Source(dict.fromkeys(places, ()), lambda own: places[own][0][places[own][1]]))
        except UserError as error:  # a resumed run does not need its pretrained weights any more
            rank_zero_warn(f"changes of the weights are not reported: {error}")
        vars(self).pop("weights", None)

    @torch.no_grad()
    def load(self, model: Supervised) -> None:
        """Copy the weights into a model."""
        net, parts = without_adapters(model.net.net), self.reinitialize or []
        if isinstance(self.path, list):
            members = list(net.members) if isinstance(net, Ensemble) else []
            if len(members) != len(self.weights):
                raise UserError(
                    f"--weights.path: {len(self.weights)} runs for a net of {len(members)} members; pass one for each"
                )
            for member, weights in zip(members, self.weights, strict=True):
                self._copy(weights.state, member, [])
            return
        [weights] = self.weights
        target = nn.ModuleDict({"net": net})
        if "head" not in parts and model.net.targets.mean.ndim:
            target["targets"] = model.net.targets
        if "input" not in parts:
            target["features"] = model.net.features
            if model.net.one_hot is not None:
                target["one_hot"] = model.net.one_hot
        self._copy(weights.state, target, [f"net.{name}" for name in reinitialized_names(net, parts)])

    def _copy(self, state: Mapping[str, Tensor], target: nn.Module, reinitialized: list[str]) -> None:
        source = {name.removeprefix("net."): name for name in state}
        places: dict[str, Tensor | QuantizedLinear] = dict(target.state_dict())
        for prefix, layer in target.named_modules():
            if isinstance(layer, QuantizedLinear):
                del places[f"{prefix}.codes"], places[f"{prefix}.scales"]
                places[f"{prefix}.weight"] = layer
        places = {name: place for name, place in places.items() if not within(name, reinitialized)}
        needed = [name for name in places if not name.startswith(STANDARDIZATION)]
        extra = [name for name in source if not name.startswith(STANDARDIZATION) and not within(name, reinitialized)]
        mismatch = _list_names({"missing": set(needed) - source.keys(), "unexpected": set(extra) - places.keys()})
        if mismatch and self.strict:
            raise UserError(
                f"--weights.path {self.path}: the weights are of another net ({mismatch}); use the same --model.net, "
                "or --weights.strict false to load those that fit"
            )
        if mismatch:
            rank_zero_warn(f"--weights.path {self.path}: {mismatch}")
        for name in [name for name in places if name in source]:
            value = state[source[name]]  # one at a time, so that the weights of a file are not in memory twice
            if value.ndim and value.shape != places[name].shape:
                raise UserError(
                    f"--weights.path {self.path}: {name} has shape {tuple(value.shape)}, but the net needs "
                    f'{tuple(places[name].shape)}; use --weights.reinitialize "[head]" or "[head, input]" to train '
                    "that part from new weights"
                )
            places[name].copy_(value)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the changes."""
        if self._start and isinstance(pl_module, Supervised):
            self.weight_changes = weight_changes(pl_module.net.net, self._start, self.reinitialize or [])

    def metrics(self) -> dict[str, float]:
        """Return the entries of metrics.json about the weights."""
        if not self.weight_changes:
            return {}
        parts = self.weight_changes.values()
        return {
            "parameters": sum(part.parameters for part in parts),
            "parameters/trained": sum(part.trained for part in parts),
            "parameters/frozen_change": max(part.frozen_change for part in parts),
        }


def _list_names(names: Mapping[str, set[str]]) -> str:
    return "; ".join(
        f"{kind} {', '.join(sorted(found)[:MAX_NAMES])}"
        + (f" and {len(found) - MAX_NAMES} more" if len(found) > MAX_NAMES else "")
        for kind, found in names.items()
        if found
    )


def without_adapters(net: Net) -> Net:
    """Return the net inside of LoRA, or the net itself."""
    return net.net if isinstance(net, LoRA) else net


def reinitialized_names(net: Net, parts: list[str]) -> list[str]:
    """Return the names of the modules and parameters that belong to reinitialised parts."""
    layers = net.backbone_names()
    known = {"head": net.head_names(), "input": layers[0] if layers else net.head_names()}  # Linear has only a head
    modules = {name for name, _ in net.named_modules()}
    for part in parts:
        if part not in known and part not in modules:
            names = ", ".join(dict.fromkeys(["head", "input", *(name for name, _ in net.named_children())]))
            raise UserError(f"--weights.reinitialize: {type(net).__name__} has no part {part!r}; use one of {names}")
    return [name for part in parts for name in known.get(part, [part])]


def weight_changes(net: Net, start: Mapping[str, Tensor], parts: list[str]) -> dict[str, WeightChange]:
    """Return how much each part of a net has changed from `start`; the parts are its children, and its adapters."""
    changes: dict[str, list[tuple[nn.Parameter, float]]] = {}
    base = without_adapters(net)
    reinitialized = reinitialized_names(base, parts)
    for name, parameter in base.named_parameters():
        has_start = name in start and not within(name, reinitialized)
        change = (parameter.detach().cpu() - start[name]).abs().max().item() if has_start else torch.nan
        changes.setdefault(name.split(".")[0], []).append((parameter, change))
    if isinstance(net, LoRA):
        changes["adapters"] = [(p, torch.nan) for part in (net.down, net.up) for p in part.values()]
    return {
        part: WeightChange(
            sum(parameter.numel() for parameter, _ in pairs),
            sum(parameter.numel() for parameter, _ in pairs if parameter.requires_grad),
            max(change for _, change in pairs),
            max((change for parameter, change in pairs if not parameter.requires_grad), default=0.0),
        )
        for part, pairs in changes.items()
    }
