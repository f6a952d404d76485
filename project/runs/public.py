"""Public weights as the checkpoint of a run."""

from pathlib import Path
from typing import Any

import yaml

from project.public_weights.model import open_public


def public_checkpoint(path: Path) -> dict[str, Any]:
    """Return what `read_checkpoint` would return for a run with public weights.

    Args:
        path: A GGUF file, or the `config.json` of a folder.
    """
    public = open_public(path)
    net = {"class_path": "project.nets.GPT", "init_args": public.arguments}
    config = {
        "seed_everything": 0,
        "model": {"class_path": "project.models.LanguageModel", "init_args": {"net": net}},
        "data": {"class_path": "project.data.TextDataModule", "init_args": {"context": public.context}},
        "trainer": {"accelerator": "auto", "max_epochs": 0, "logger": None},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-4}},
    }
    tokenizer = public.tokenizer
    names = ("class_names", "window", "feature_means", "row_counts", "fingerprint", "levels")
    facts = dict.fromkeys(names) | {"feature_names": ["tokens"], "target_names": ["next tokens"]}
    facts |= {"in_shape": (public.context,), "out_features": tokenizer.vocab_size}
    facts |= {"token_bytes": tokenizer.token_bytes}
    facts["fields"] = [{"name": "text", "kind": "text", "tokenizer": tokenizer.to_dict()}]
    return {"config": yaml.safe_dump(config), "data": facts, "state_dict": public.state}
