"""Cross-validation: one experiment on every fold of its rows.

Source: Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions" (1974).
"""

import contextlib
import io
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from project.config.flag_errors import refuse_flags
from project.runs.folder import ROOT, claim_version, write_metrics
from project.runtime.errors import UserError
from project.stages.base import NO_RESUME, parse, require_run, train_as, trust_flags


def crossvalidate(folds: int, args: Sequence[str]) -> Iterator[tuple[Path, dict[str, float]]]:
    """Train and test an experiment as often as there are folds, each time tested on another part of all rows.

    Folds are of equal size, and of classes have each in its share. `crossvalidation_N` of the folder of runs has a run
    for each, and `metrics.json` with the mean and the standard deviation of each metric.

    Args:
        folds: How many parts the rows are cut into.
        args: Flags of scripts/train.py.

    Yields:
        Each fold's run, with its test metrics.
    """
    if folds < 2:
        raise UserError(f"--folds is {folds}: give 2 or more")
    turns = "every fold has its turn: leave it out, and give --folds"
    refuse_flags(args, NO_RESUME | {"sampling.fold": turns, "sampling.folds": turns})
    config = parse([*args, "--sampling.folds", str(folds)])
    trust = trust_flags()
    require_run(config["trainer"])
    if config["trainer"]["limit_test_batches"] == 0:
        raise UserError("--trainer.limit_test_batches is 0: folds are there to be tested on: leave it out")
    root = Path(config["trainer"]["default_root_dir"] or ".") / ROOT
    folder, found = claim_version(root, "crossvalidation"), []
    try:
        for fold in range(folds):
            config["sampling"]["fold"] = fold
            run = folder / f"fold_{fold}"
            with contextlib.redirect_stdout(io.StringIO()):
                metrics = train_as(config, trust, run)
            found.append({name: value for name, value in metrics.items() if name.startswith("test/")})
            yield run, found[-1]
    finally:
        with contextlib.suppress(OSError):  # a folder without runs says nothing
            folder.rmdir()
    write_metrics(folder, summary(found))


def summary(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean and sample standard deviation of each metric over folds, as `NAME` and `NAME/std`."""
    columns = {name: [metrics[name] for metrics in found] for name in found[0]}
    means = {name: statistics.mean(values) for name, values in columns.items()}
    return means | {f"{name}/std": statistics.stdev(values) for name, values in columns.items()}
