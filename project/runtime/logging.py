"""Filters that hide messages of libraries which do not help the user."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from project.runtime.address import without_credentials

IGNORED_WARNINGS = (
    r".*does not have many workers",  # rows in memory load fastest without workers
    r".*smaller than the logging interval",  # a curve has one point per epoch, however many batches there are
    r".*isinstance\(treespec, LeafSpec\)",  # raised inside Lightning
    r".*torch.jit.script_method. is deprecated",  # raised inside torch.compile
    r".*ended before the epoch ended and your dataloader is not resumable",  # our sampler makes it resumable
    r".*module\(s\) in eval mode at the start of training",  # the norms of frozen layers stay in eval mode on purpose
    r".*AccumulateGrad node's stream does not match",  # Lightning wraps a model for DDP in a CUDA stream of its own
    r".*Checkpoint directory .* exists",  # it always does when a run is resumed
)

ASKED_FOR = ("callbacks", "profilers", "tuner")  # parts of Lightning that report only what the user asked for


def quiet_lightning() -> None:
    """Silence Lightning's info messages and warnings that do not help the user."""
    for logger in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for part in ASKED_FOR:
        logging.getLogger(f"lightning.pytorch.{part}").setLevel(logging.INFO)
    general = logging.getLogger("lightning.pytorch.utilities.rank_zero")  # callbacks also log to it
    general.setLevel(logging.INFO)
    general.addFilter(_is_asked_for)
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    warnings.filterwarnings("error", ".*Using a target size")  # broadcasting would spoil the loss
    # The default format adds the file and the line number.
    warnings.formatwarning = lambda message, *_, **__: f"warning: {without_credentials(str(message))}\n"


def _is_asked_for(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or Path(record.pathname).parent.name in ASKED_FOR


@contextmanager
def quiet_exporters() -> Iterator[None]:
    """Silence the warnings of exporters; errors are raised as usual."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
