"""Settings of a net with fewer units: for structured pruning, and for the student of a distillation."""

from typing import Any

from project.models.network import supervised
from project.nets.gpt import GPT
from project.nets.net import Net
from project.nets.pruned import removable
from project.nets.scaling import Standardized
from project.nets.widths import widths
from project.runs.checkpoint import load_run
from project.stages.base import LINEAR, Config, StageSkipped, stage_config
from project.stages.ensemble import ENSEMBLE

STUDENT_REMOVES = 0.75  # fraction of the units of each layer


def remaining_units(net: Net, fraction: float) -> dict[str, int]:
    """Return how many units of each layer remain without a fraction of them, by the layer's name.

    Raises:
        StageSkipped: If no layer can lose units, or a layer would lose none or all of them.
    """
    free, name = removable(net), type(net).__name__
    remaining = {layer: width.units - round(fraction * width.units) for layer, width in free.items()}
    empty = next((layer for layer, units in remaining.items() if units == 0), None)
    problem = ""
    if not free:
        problem = f"{name} has no layer whose units can be removed; prune its weights with --sparsity"
    elif empty is not None:
        problem = f"a fraction of {fraction} removes all {free[empty].units} units of {empty}; use a smaller one"
    elif all(units == free[layer].units for layer, units in remaining.items()):
        problem = f"a fraction of {fraction} removes no unit from any layer of {name}; use a larger one"
    if problem:
        raise StageSkipped(problem)
    return remaining


def narrowed(config: Config, net: Net, remaining: dict[str, int]) -> Config:
    """Return the settings of a net with fewer units: its own arguments if they suffice, otherwise those of `Pruned`."""
    path, arguments = config["class_path"], config.get("init_args", {})
    units = {layer: width.units for layer, width in widths(net).items()} | remaining
    match path.removeprefix("project.nets."):
        case "MLP":
            own: Config = {"hidden": [*units.values()]}
        case "CNN":
            *channels, hidden = units.values()
            own = {"channels": channels, "hidden": hidden}
        case "RNN":
            own = {"hidden": units["recurrence"]}
        case "Pruned":
            own = {"units": arguments["units"] | remaining}
        case _:
            return {"class_path": "project.nets.Pruned", "init_args": {"net": config, "units": remaining}}
    return {"class_path": path, "init_args": arguments | own}


def smaller_net(reference: str) -> Config:
    """Return the settings of a net like that of a run (or of an ensemble's first member), with a quarter of its units.

    A GPT has half of the layers, and heads of half their width. There is no dropout, which only helps a net that is
    larger than its task needs.

    Raises:
        StageSkipped: If the net has no units that can be removed.
    """
    config = stage_config(reference)["model"]["init_args"].get("net", LINEAR)
    net: Any = supervised(load_run(reference), "a smaller network").net.net
    if config["class_path"] == ENSEMBLE:
        config, net = config["init_args"]["nets"][0], net.members[0]
        net = net.net if isinstance(net, Standardized) else net
    arguments = config.get("init_args", {})
    if isinstance(net, GPT):
        return {"class_path": config["class_path"], "init_args": arguments | _half(net) | {"dropout": 0.0}}
    if "dropout" in arguments:
        config = config | {"init_args": arguments | {"dropout": 0.0}}
    return narrowed(config, net, remaining_units(net, STUDENT_REMOVES))


def _half(net: GPT) -> Config:
    """Return arguments of a GPT with half of the layers, and with heads and hidden layers of half their width."""
    attention: Any = net.blocks[0].get_submodule("attention")
    hidden: Any = net.blocks[0].get_submodule("feed_forward.up")
    head_width = max(2, attention.head_width // 4 * 2)  # an even number, for rotary positions
    layers, half = max(1, len(net.blocks) // 2), max(1, hidden.out_features // 2)
    return {"layers": layers, "width": attention.heads * head_width, "head_width": None, "hidden": half}
