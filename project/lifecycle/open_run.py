"""A finished run, ready to be worked with."""

from collections.abc import Sequence

import yaml

from project.cli import ExperimentCLI
from project.errors import UserError
from project.quiet import quiet_lightning
from project.run import CONFIG_KEY, DATA_KEY, find_checkpoint, load_weights, read_checkpoint, without_teacher


def open_run(reference: str, words: Sequence[str] = ()) -> ExperimentCLI:
    """A trained model with its data and a Trainer that writes nothing, all on one device.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        words: Flags of scripts/train.py that override the run's own, such as `--data.path other.csv`.
    """
    quiet_lightning()
    checkpoint = read_checkpoint(find_checkpoint(reference))
    config = yaml.safe_load(checkpoint[CONFIG_KEY])
    data = config["data"]["init_args"]
    if "features" in data and data["features"] is None:  # all columns, of the run's table and not of any other
        data["features"] = checkpoint[DATA_KEY]["feature_names"]
    config["model"] = without_teacher(config["model"])
    config.pop("weights", None)  # which have been trained further
    config["trainer"] |= {"logger": False, "callbacks": None, "devices": 1, "strategy": "auto", "num_nodes": 1}
    config["trainer"]["max_epochs"] = 1  # a run of weights that were taken over has none
    config["trainer"]["profiler"] = None  # it would write where the checkpoint says
    cli = ExperimentCLI(["--config", yaml.safe_dump(config), *words])
    for name in ("feature_names", "target_names", "class_names"):
        if getattr(cli.datamodule, name, None) != checkpoint[DATA_KEY][name]:
            raise UserError(
                f"the data's {name} are not those that {reference} was trained on: {checkpoint[DATA_KEY][name]}"
            )
    load_weights(cli.model, checkpoint["state_dict"])
    return cli
