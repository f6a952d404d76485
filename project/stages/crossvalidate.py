"""Cross-validation: train and test an experiment on every fold of its rows.

Source: Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions" (1974).
"""

import contextlib
import io
import pkgutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from project.config.flag_errors import refuse_flags
from project.data.tokens import TokensDataModule
from project.runs.folder import ROOT, claim_version, write_metrics
from project.runtime.errors import UserError
from project.stages.base import NO_NAME, NO_RESUME, parse, require_run, trust_flags
from project.training.train import train


def crossvalidate(folds: int, args: Sequence[str]) -> Iterator[tuple[Path, dict[str, float]]]:
    """Train and test an experiment once per fold; each row is tested exactly once.

    Folds have equal size, and classes have equal shares in each. The runs are in `lightning_logs/crossvalidation_N`,
    whose metrics.json has the mean and the standard deviation of each metric.

    Args:
        folds: Number of folds, 2 or more.
        args: Flags of scripts/train.py.

    Yields:
        The run of each fold, with its test metrics.
    """
    reason = "cross-validation sets the fold of each run; remove it, and set the number with --folds"
    refuse_flags(args, NO_RESUME | NO_NAME | {"sampling.fold": reason, "sampling.folds": reason})
    config = parse([*args, "--sampling.folds", str(folds)])
    if issubclass(pkgutil.resolve_name(config["data"]["class_path"]), TokensDataModule):
        raise UserError(
            "--data: a text has no rows to divide into folds; train on several splits with --data.split documents and "
            "--data.seed, or from several --seed_everything"
        )
    trust = trust_flags()
    require_run(config["trainer"])
    if config["trainer"]["limit_test_batches"] == 0:
        raise UserError("--trainer.limit_test_batches: must not be 0, because every fold is tested; remove it")
    root = Path(config["trainer"]["default_root_dir"] or ".") / ROOT
    folder, found = claim_version(root, "crossvalidation"), []
    try:
        for fold in range(folds):
            config["sampling"]["fold"] = fold
            run = folder / f"fold_{fold}"
            with contextlib.redirect_stdout(io.StringIO()):
                metrics = train(trust, folder=run, config=config)
            found.append({name: value for name, value in metrics.items() if name.startswith("test/")})
            yield run, found[-1]
    finally:
        with contextlib.suppress(OSError):  # it contains runs
            folder.rmdir()
    write_metrics(folder, summary(found))


def summary(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean and sample standard deviation of each metric over folds, as `NAME` and `NAME/std`."""
    columns = {name: [metrics[name] for metrics in found] for name in found[0]}
    means = {name: statistics.mean(values) for name, values in columns.items()}
    return means | {f"{name}/std": statistics.stdev(values) for name, values in columns.items()}
