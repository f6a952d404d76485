"""Fine-tuning: a run goes on with other data, another head, or adapters."""

from collections.abc import Sequence

from project.config.flag_errors import refuse_flags
from project.runtime.errors import UserError
from project.stages.base import LINEAR, NO_WEIGHTS, stage_config, train_on


def finetune(reference: str, lora: int | None = None, args: Sequence[str] = ()) -> dict[str, float]:
    """Train a run's net further, as a run of its own.

    The head starts anew where the targets or classes are others than those of the run.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        lora: Rank of adapters that are trained in the place of the backbone; None trains what is not frozen.
        args: Flags of scripts/train.py that differ from the run's own.

    Returns:
        What metrics.json holds.
    """
    refuse_flags(args, NO_WEIGHTS)
    if lora is not None and lora < 1:
        raise UserError(f"--lora is {lora}: give a rank, 1 or more")
    config = stage_config(reference, *(["pruning"] if lora is None else []))  # adapters fill what is zero
    if lora is not None:
        arguments = config["model"]["init_args"]
        net = arguments.get("net", LINEAR)
        arguments["net"] = {"class_path": "project.nets.LoRA", "init_args": {"net": net, "rank": lora}}
    return train_on(config, reference, args)
