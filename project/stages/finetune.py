"""Fine-tuning: train a run further, on other data, with another head, or through adapters."""

from collections.abc import Sequence

from project.config.flag_errors import refuse_flags
from project.stages.base import LINEAR, NO_WEIGHTS, stage_config, train_on


def finetune(reference: str, lora: int | None = None, args: Sequence[str] = ()) -> dict[str, float]:
    """Train a run's net further, as a new run.

    The head is reinitialised if the targets or classes differ from those of the run.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        lora: Rank of low-rank adapters that are trained instead of the backbone; None trains all that is not frozen.
        args: Flags of scripts/train.py that override the settings of the run.

    Returns:
        The contents of metrics.json.
    """
    refuse_flags(args, NO_WEIGHTS)
    config = stage_config(reference, *(["pruning"] if lora is None else []))  # merged adapters fill pruned weights
    if lora is not None:
        arguments = config["model"]["init_args"]
        net = arguments.get("net", LINEAR)
        arguments["net"] = {"class_path": "project.nets.LoRA", "init_args": {"net": net, "rank": lora}}
    return train_on(config, reference, args)
