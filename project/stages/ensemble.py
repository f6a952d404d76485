"""Several nets as one run: of runs that are there, or trained side by side."""

from collections.abc import Sequence
from pathlib import Path

from project.config.flag_errors import refuse_flags
from project.runs.checkpoint import DATA_KEY, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runtime.errors import UserError
from project.stages.base import (
    LINEAR,
    NO_RESUME,
    NO_WEIGHTS,
    Config,
    parse,
    stage_config,
    train_as,
    train_on,
    trust_flags,
)

ENSEMBLE = "project.nets.Ensemble"
SAME = {
    "in_shape": "shape of a row",
    "out_features": "number of outputs",
    "feature_names": "features",
    "target_names": "targets",
    "class_names": "classes",
}


def combine(references: Sequence[str], args: Sequence[str] = ()) -> dict[str, float]:
    """Make one run of several: its prediction is the mean of theirs, its settings are those of the first.

    Args:
        references: Run folders or checkpoints, of two runs or more on the same features and targets.
        args: Flags of scripts/train.py; with `--trainer.max_epochs` above 0 the members are trained further.

    Returns:
        What metrics.json holds.

    Raises:
        UserError: If runs are of different tasks, or of other features, targets or classes.
    """
    refuse_flags(args, NO_WEIGHTS)
    paths = [find_checkpoint(reference).resolve() for reference in references]
    for place, reference in enumerate(references):
        if paths[place] in paths[:place]:
            raise UserError(f"{reference}: is a member already: give runs that differ")
    first, *others = (read_checkpoint(find_checkpoint(reference))[DATA_KEY] for reference in references)
    for reference, facts in zip(references[1:], others, strict=True):
        for name, what in SAME.items():
            if facts[name] != first[name]:
                raise UserError(
                    f"{reference}: its {what}: {facts[name]}; of {references[0]}: {first[name]}: give runs of one task"
                )
    configs = [stage_config(reference) for reference in references]
    config = configs[0]
    nets = [_net(each) for each in configs]
    arguments = {"nets": nets, "standardized": True, "vectorize": False}
    config["model"]["init_args"] |= {"net": {"class_path": ENSEMBLE, "init_args": arguments}, "standardize": False}
    config["trainer"]["max_epochs"] = 0
    return train_on(config, list(references), args)


def train_jointly(members: int, bootstrap: bool, args: Sequence[str], folder: Path | None = None) -> dict[str, float]:
    """Train copies of one net in one fit, from different seeds.

    Args:
        members: How many.
        bootstrap: Whether each learns from a bootstrap sample of its own.
        args: Flags of scripts/train.py for one of them.
        folder: Where the run is to lie; the next `lightning_logs/version_N` without one.

    Returns:
        What metrics.json holds.
    """
    require_several(members)
    refuse_flags(args, NO_RESUME)
    config = parse(args)
    if config["model"]["class_path"] == "project.models.LinearRegression":
        raise UserError("--model LinearRegression solves, and every member would be the same: leave it out")
    trust = trust_flags()
    arguments = {"nets": [_net(config)], "copies": members}
    config["model"]["init_args"]["net"] = {"class_path": ENSEMBLE, "init_args": arguments}
    if bootstrap and config["sampling"]["bootstrap"] is None:
        config["sampling"]["bootstrap"] = config["seed_everything"]
    return train_as(config, trust, folder)


def require_several(members: int) -> None:
    """Raise a UserError unless there are two members or more."""
    if members < 2:
        raise UserError(f"--members is {members}: give 2 or more")


def _net(config: Config) -> dict[str, object]:
    net: dict[str, object] = config["model"]["init_args"].get("net", LINEAR)
    return net
