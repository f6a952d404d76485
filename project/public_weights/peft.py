"""Adapters as `peft` writes them: a folder with a configuration and the two factors of each change of weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from project.public_weights.folder import CONFIG, open_tensors, read_json
from project.public_weights.layouts import Layout
from project.public_weights.source import LazyState, Source
from project.runtime.errors import UserError

ADAPTER, ADAPTER_WEIGHTS, PREFIX = "adapter_config.json", "adapter_model.safetensors", "base_model.model."
FACTORS = ("lora_A", "lora_B")
USUAL: dict[str, tuple[Any, ...]] = {  # settings of kinds of adapters that are not read, and their values in the others
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
}


def base_of(path: Path) -> Path:
    """Return the configuration of the model that adapters belong to: a folder on this machine.

    Raises:
        UserError: If there is no such folder.
    """
    base = read_json(path).get("base_model_name_or_path")
    found = path.parent / str(base) / CONFIG  # an absolute path replaces what is before it
    if not isinstance(base, str) or not found.is_file():
        fix = "download it, and set base_model_name_or_path to its folder"
        raise UserError(f"{path}: its base model {str(base)[:80]!r} is no folder with a {CONFIG}; {fix}")
    return found


def with_adapters(state: LazyState, layout: Layout, path: Path, prefix: str) -> LazyState:
    """Return weights with adapters added to them when they are read.

    Args:
        state: The weights of the base model.
        layout: How its files name them.
        path: The configuration of the adapters.
        prefix: What stands before the names of the network's parameters in `state`.

    Raises:
        UserError: If the adapters are of another kind, or do not fit.
    """
    settings, source = read_json(path), open_tensors(path.parent / ADAPTER_WEIGHTS)
    if unusual := [name for name, usual in USUAL.items() if settings.get(name, usual[0]) not in usual]:
        raise UserError(f"{path}: adapters with {unusual[0]} {settings[unusual[0]]} are not read; merge them with peft")
    scale, rest, places = _scale(settings, path), set(source.shapes), dict[str, tuple[str, str]]()
    for name, shape in state.source.shapes.items():
        ours = name.removeprefix(prefix)
        if layout.fused is not None or not ours.endswith(".weight"):
            continue
        down, up = (f"{PREFIX}{layout.name(ours).removesuffix('weight')}{factor}.weight" for factor in FACTORS)
        found = source.shapes.get(down), source.shapes.get(up)
        if None not in found and found == ((settings["r"], shape[-1]), (shape[0], settings["r"])):
            places[name] = down, up
            rest -= {down, up}
    if rest or not places:
        raise UserError(f"{path}: the adapter {min(rest, default='')[:80]!r} does not fit the base model")

    def read(name: str) -> Tensor:
        weight = state[name]
        if name not in places:
            return weight
        down, up = map(source.read, places[name])
        return weight + scale * (up @ down)

    return LazyState(Source(state.source.shapes, read))


def _scale(settings: Mapping[str, Any], path: Path) -> float:
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise UserError(f"{path}: r is {str(rank)[:20]}, and lora_alpha {str(alpha)[:20]}; write the adapters again")
    return alpha / rank
