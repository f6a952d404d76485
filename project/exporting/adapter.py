"""Export the adapters of a LoRA run without the weights that they adapt: a few kilobytes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from project.nets.net import as_key
from project.runs.checkpoint import CONFIG_KEY, DATA_KEY, load_model
from project.runs.weights import ADAPTED, BASE, DIGEST, SCALE, digest, read_weights
from project.runtime.errors import UserError

INNER, DOWN, UP = "net.net.net.", "net.net.down.", "net.net.up."


def write_adapter(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write the adapters that a run has learned to a `.safetensors` file; raise a UserError if it has none.

    `read_weights` merges them into the weights that the run started from.
    """
    from safetensors.torch import save_file

    config, state = yaml.safe_load(checkpoint[CONFIG_KEY]), checkpoint["state_dict"]
    net, base = config["model"]["init_args"].get("net") or {}, config.get("weights", {}).get("path")
    if net.get("class_path") != "project.nets.LoRA" or not isinstance(base, str):
        raise UserError("--format adapter: the run has no adapters; train it with scripts/finetune.py --lora RANK")
    require_numbers(net)
    known, learned = read_weights(base).state, {}
    for name, value in load_model(checkpoint, trusted=None).state_dict().items():
        part = as_key(name.removeprefix("net.net."))
        if DOWN + part in state and torch.equal(state[INNER + name.removeprefix("net.net.")], known[name]):
            for factor, prefix in zip(ADAPTED, (DOWN, UP), strict=True):
                learned[f"{name}.{factor}"] = state[prefix + part]
        elif name not in known or known[name].shape != value.shape or not torch.equal(known[name], value):
            learned[name] = value.contiguous()
    scale = net["init_args"]["alpha"] / net["init_args"]["rank"]
    facts = {BASE: base, DIGEST: digest(known), SCALE: repr(scale), "data": json.dumps(checkpoint[DATA_KEY])}
    save_file(learned, path, facts)


def require_numbers(net: Mapping[str, Any]) -> None:
    """Raise a UserError if adapters, in a configuration, belong to quantized weights: no file has those alone."""
    if net["init_args"].get("bits"):
        fix = "export the whole network, in another format"
        raise UserError(f"--format: the adapters belong to weights of {net['init_args']['bits']} bits; {fix}")
