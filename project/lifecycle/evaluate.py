"""How good a run is, on its own test rows or on others."""

from collections.abc import Sequence

from project.errors import UserError
from project.lifecycle.open_run import open_run


def evaluate(reference: str, words: Sequence[str] = ()) -> tuple[dict[str, float], int]:
    """Test metrics of a run.

    Args:
        reference: A run folder, a checkpoint, or `last`.
        words: Flags that override the run's own, such as `--data.test_path other.csv`.

    Returns:
        Metrics by name, and the number of rows they were measured on.
    """
    run = open_run(reference, words)
    results = run.trainer.test(run.model, run.datamodule, verbose=False)
    if not results:
        raise UserError("no test batch was taken: raise --trainer.limit_test_batches")
    return dict(results[0]), len(run.datamodule.splits.test)
