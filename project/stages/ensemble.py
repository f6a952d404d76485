"""Ensembles: several networks as one run, either of finished runs or trained side by side."""

from collections.abc import Sequence
from pathlib import Path

from project.config.flag_errors import refuse_flags
from project.runs.checkpoint import DATA_KEY, read_checkpoint
from project.runs.folder import find_checkpoint
from project.runs.weights import coding
from project.runtime.errors import UserError
from project.stages.base import (
    LINEAR,
    NO_NAME,
    NO_RESUME,
    NO_WEIGHTS,
    SOLVER,
    Config,
    StageSkipped,
    parse,
    stage_config,
    train_on,
    trust_flags,
)
from project.training.train import train

ENSEMBLE = "project.nets.Ensemble"
# What the members must have in common, as their checkpoints describe it.
COMMON = {
    "in_shape": "shape of a row",
    "out_features": "number of outputs",
    "feature_names": "features",
    "target_names": "targets",
    "class_names": "classes",
}


def combine(references: Sequence[str], args: Sequence[str] = ()) -> dict[str, float]:
    """Combine runs into one, which predicts the mean of their predictions and takes its settings from the first.

    Args:
        references: Run folders or checkpoints of two or more runs with the same features and targets.
        args: Flags of scripts/train.py; with `--trainer.max_epochs` above 0 the members are trained further.

    Returns:
        The contents of metrics.json.

    Raises:
        UserError: If a run is passed twice, or the runs differ in features, targets or classes.
    """
    refuse_flags(args, NO_WEIGHTS)
    paths = [find_checkpoint(reference).resolve() for reference in references]
    first, *others = (read_checkpoint(find_checkpoint(reference))[DATA_KEY] for reference in references)
    for place, (reference, facts) in enumerate(zip(references[1:], others, strict=True), start=1):
        problems = ["is already a member; pass different runs"] if paths[place] in paths[:place] else []
        problems += [
            f"its {label}: {facts[name]}, of {references[0]}: {first[name]}; pass runs of one task"
            for name, label in COMMON.items()
            if facts[name] != first[name]
        ]
        codings = [coding(each.get("fields")) for each in (facts, first)]
        if codings[0] != codings[1]:
            problems.append(f"its columns: {codings[0]}, of {references[0]}: {codings[1]}; train them with one split")
        if problems:
            raise UserError(f"{reference}: {problems[0]}")
    configs = [stage_config(reference) for reference in references]
    config = configs[0]
    arguments = {"nets": [_net(each) for each in configs], "standardized": True, "vectorize": False}
    config["model"]["init_args"] |= {"net": {"class_path": ENSEMBLE, "init_args": arguments}, "standardize": False}
    config["trainer"]["max_epochs"] = 0
    return train_on(config, list(references), args)


def train_jointly(members: int, bootstrap: bool, args: Sequence[str], folder: Path | None = None) -> dict[str, float]:
    """Train copies of one net in one fit, each from its own seed.

    Args:
        members: Number of copies, 2 or more.
        bootstrap: Whether each copy learns from its own bootstrap sample.
        args: Flags of scripts/train.py for one of them.
        folder: Folder of the run; the next `lightning_logs/version_N` by default.

    Returns:
        The contents of metrics.json.

    Raises:
        StageSkipped: If the model has a closed form.
    """
    refuse_flags(args, NO_RESUME | NO_NAME)
    config = parse(args)
    if config["model"]["class_path"] == SOLVER:
        raise StageSkipped("LinearRegression has a closed form, so all members would be identical")
    trust = trust_flags()
    arguments = {"nets": [_net(config)], "copies": members}
    config["model"]["init_args"]["net"] = {"class_path": ENSEMBLE, "init_args": arguments}
    if bootstrap and config["sampling"]["bootstrap"] is None:
        config["sampling"]["bootstrap"] = config["seed_everything"]
    return train(trust, folder=folder, config=config)


def _net(config: Config) -> dict[str, object]:
    net: dict[str, object] = config["model"]["init_args"].get("net", LINEAR)
    return net
