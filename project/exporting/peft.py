"""Write the adapters of a LoRA run of public weights in the format of `peft`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from project.exporting.adapter import DOWN, UP, require_numbers
from project.public_weights.folder import CONFIG, read_json
from project.public_weights.layouts import LAYOUTS
from project.public_weights.model import open_public
from project.public_weights.peft import ADAPTER, ADAPTER_WEIGHTS, FACTORS, PREFIX
from project.runs.checkpoint import CONFIG_KEY, load_model
from project.runtime.errors import UserError
from project.runtime.files import atomic_write, check_folder


def write_peft(folder: Path, checkpoint: Mapping[str, Any]) -> float:
    """Write adapters to a folder that `peft` reads; return how much the weights with them differ from the run's (0).

    Raises:
        UserError: If the run has no adapters, or did not start from a Hugging Face folder.
    """
    from safetensors.torch import save_file

    check_folder(folder, "adapters", ADAPTER, ADAPTER_WEIGHTS)
    config, state = yaml.safe_load(checkpoint[CONFIG_KEY]), checkpoint["state_dict"]
    net, base = config["model"]["init_args"].get("net") or {}, config.get("weights", {}).get("path")
    if net.get("class_path") != "project.nets.LoRA" or not isinstance(base, str) or Path(base).name != CONFIG:
        fix = "export the run it starts from as huggingface, and fine-tune it with scripts/finetune.py --lora RANK"
        raise UserError(f"--format peft: needs adapters of a Hugging Face folder; {fix}")
    require_numbers(net)
    layout = LAYOUTS[read_json(Path(base))["model_type"]]
    if layout.fused is not None:
        raise UserError("--format peft: GPT-2 has one matrix for queries, keys and values; use --format adapter")
    tensors, modules = dict[str, torch.Tensor](), set[str]()
    for key in (name.removeprefix(DOWN) for name in state if name.startswith(DOWN)):
        module = layout.name(key.replace("/", ".")).removesuffix(".weight")
        modules.add(module.rpartition(".")[2])
        for factor, place in zip(FACTORS, (DOWN, UP), strict=True):
            tensors[f"{PREFIX}{module}.{factor}.weight"] = state[place + key].contiguous()
    arguments = net["init_args"]
    settings = {
        **{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(Path(base).parent)},
        **{"r": arguments["rank"], "lora_alpha": arguments["alpha"], "target_modules": sorted(modules)},
        **{"bias": "none", "lora_dropout": 0.0, "fan_in_fan_out": False, "inference_mode": True},
    }
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / ADAPTER_WEIGHTS) as temporary:
        save_file(tensors, temporary, {"format": "pt"})
    with atomic_write(folder / ADAPTER) as temporary:
        temporary.write_text(json.dumps(settings, indent=2), encoding="utf-8")
    written, largest = open_public(folder / ADAPTER).state, 0.0
    for name, value in load_model(checkpoint, trusted=None).state_dict().items():
        if name in written:
            largest = max(largest, (written[name] - value).abs().max().item())
    return largest
