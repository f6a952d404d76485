"""Reading of LoRA adapters of `peft`: a folder with a configuration and the two factors of each weight update."""

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
SUPPORTED: dict[str, tuple[Any, ...]] = {  # the supported values of settings
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
    """Return the configuration file of the base model of adapters, which must be a folder on this machine.

    Raises:
        UserError: If there is no such folder.
    """
    base = read_json(path).get("base_model_name_or_path")
    found = path.parent / str(base) / CONFIG  # an absolute path replaces the part before it
    if not isinstance(base, str) or not found.is_file():
        fix = "download it, and set base_model_name_or_path to its folder"
        raise UserError(f"{path}: its base model {str(base)[:80]!r} is not a folder with a {CONFIG}; {fix}")
    return found


def with_adapters(state: LazyState, layout: Layout, path: Path, prefix: str) -> LazyState:
    """Return weights to which adapters are added when they are read.

    Args:
        state: The weights of the base model.
        layout: The layout of its files.
        path: The configuration of the adapters.
        prefix: Prefix of the network's parameters in `state`.

    Raises:
        UserError: If the kind of adapters is not supported, or they do not fit the base model.
    """
    settings, source = read_json(path), open_tensors(path.parent / ADAPTER_WEIGHTS)
    if others := [name for name, values in SUPPORTED.items() if settings.get(name, values[0]) not in values]:
        problem = f"adapters with {others[0]} {settings[others[0]]} are not supported"
        raise UserError(f"{path}: {problem}; merge them with peft")
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
        problem = f"r {str(rank)[:20]} and lora_alpha {str(alpha)[:20]} must be positive numbers"
        raise UserError(f"{path}: {problem}; write the adapters again")
    return alpha / rank
