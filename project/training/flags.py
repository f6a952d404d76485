"""Defaults, help and checks of the training command's flags."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from project.config.flag_errors import FlagError
from project.runtime.address import is_remote
from project.runtime.distributed import rank

DEFAULTS = {
    "model": {"class_path": "project.models.Regression"},
    "data": {"class_path": "project.data.SyntheticDataModule"},
    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01}},
    "trainer.max_epochs": 100,
}
NO_EFFECT_WITH_SOLVER = ("--optimizer", "--lr_scheduler", "--weights", "--finetuning", "--pruning")
USAGE = """%(prog)s [--config YAML] [--ckpt_path last] [--trust MODULE …]
       [--data NAME --data.ARGUMENT VALUE …] [--model NAME --model.ARGUMENT VALUE …] [--model.net NAME …]
       [--optimizer NAME --optimizer.ARGUMENT VALUE …] [--lr_scheduler NAME …] [--trainer.ARGUMENT VALUE …]"""
DESCRIPTION = (
    "Train a model, and test its best checkpoint. Without flags: a linear model on y = 3x + 2 + noise. On your own "
    "table: --data TabularDataModule --data.path FILE --data.target COLUMN. `--data.help NAME`, "
    "`--model.net.help NAME`, `--optimizer.help NAME` and so on list the arguments of a class. Classes from outside "
    "the project, torch and Lightning require `--trust MODULE`."
)
# Of the sections whose titles Lightning and torch do not write for a command line.
GROUP_TITLES = {
    "trainer": "Lightning's Trainer",
    "model": "Model, a LightningModule",
    "data": "Data, a LightningDataModule",
    "epoch_line": "Print `Epoch [10/100], Loss: 1.0123`, the mean training loss of an epoch",
    "sampling": "Which of the rows are used, and with labels: a sample, folds, a bootstrap sample",
    "optimizer": "Optimizer, a class of torch.optim",
    "lr_scheduler": "Learning-rate scheduler, a class of torch.optim.lr_scheduler",
}


def remaining_defaults(args: Iterable[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults of the sections for which neither args nor settings choose a class.

    The arguments of a default class would be passed on to a class that replaces it: Adam would inherit SGD's rate.
    """
    chosen = {arg[2:].split("=")[0] for arg in args if arg.startswith("--")}
    chosen |= {
        key
        for key, value in settings.items()
        if isinstance(value, str) or (isinstance(value, dict) and "class_path" in value)
    }
    return {key: default for key, default in DEFAULTS.items() if key not in chosen}


def check_flags(config: Namespace, args: Sequence[str], allowed: Sequence[str], resumed: bool) -> None:
    """Raise a FlagError if flags contradict each other or training cannot support them."""
    trainer, seed = config.trainer, config.seed_everything
    solver = config.model.class_path.endswith(".LinearRegression")
    no_effect = next((arg for arg in args if solver and arg.startswith(NO_EFFECT_WITH_SOLVER)), None)
    problems = {
        f"{no_effect}: has no effect with the closed-form LinearRegression; remove it": no_effect,
        f"--seed_everything: must be an integer from 0 to {2**32 - 1}, got {seed}": not 0 <= seed < 2**32,
        "--trainer.max_epochs: must be 1 or more, got 0; or set --weights.path to save weights without training them": (
            trainer.max_epochs == 0 and not config.weights.path
        ),
        "--resume.allow: has no effect on a new run; set --ckpt_path to resume one": allowed and not resumed,
        f"--trainer.strategy: {trainer.strategy} loses what its processes learn; use ddp": (
            str(trainer.strategy).endswith(("spawn", "fork", "notebook"))
        ),
        f"--trainer.default_root_dir: must be a path on this machine, got {trainer.default_root_dir}": (
            is_remote(trainer.default_root_dir or "")
        ),
        f"--trainer.precision: {trainer.precision} rounds the data too; use {str(trainer.precision)[:-4]}mixed": (
            trainer.precision in ("16-true", "bf16-true")
        ),
    }
    _require_none(problems)


def check_name(folder: Path, logger: Any, resumed: bool) -> None:
    """Raise a FlagError unless a new run with the project's own logger can have a folder of this name."""
    _require_none(
        {
            "--name: has no effect on a resumed run, which keeps its folder; remove it": resumed,
            "--name: has no effect with a logger of your own; give the logger a name, or remove --name": (
                logger not in (None, True)
            ),
            f"--name: {folder} exists; choose another name": folder.exists() and rank() == 0,
        }
    )


def _require_none(problems: Mapping[str, Any]) -> None:
    if problem := next((problem for problem, occurs in problems.items() if occurs), None):
        raise FlagError(problem)
