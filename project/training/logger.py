"""The TensorBoard logger of a run."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


class RunLogger(TensorBoardLogger):
    """Lightning's logger without the curve of `epoch`, which would be the first that TensorBoard shows."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics, except `epoch`."""
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)
