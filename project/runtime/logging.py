"""A terminal that shows what the user's run has to say, and not what libraries say of themselves."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

NEEDLESS_WARNINGS = (
    r".*does not have many workers",  # rows in memory are gathered fastest without any
    r".*smaller than the logging interval",  # curves have a point an epoch, whatever the number of batches
    r".*isinstance\(treespec, LeafSpec\)",  # within Lightning
    r".*torch.jit.script_method. is deprecated",  # within torch.compile
    r".*ended before the epoch ended and your dataloader is not resumable",  # the sampler is
    r".*module\(s\) in eval mode at the start of training",  # frozen norms are meant to be
    r".*Checkpoint directory .* exists",  # as it does when a run is resumed
)


def quiet_lightning() -> None:
    """Leave out of the terminal what Lightning says of itself."""
    for logger in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for message in NEEDLESS_WARNINGS:
        warnings.filterwarnings("ignore", message)
    warnings.filterwarnings("error", ".*Using a target size")  # what is broadcast there learns nothing
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # its place in the code helps no user


@contextmanager
def quiet_exporters() -> Iterator[None]:
    """Leave out of the terminal what exporters say of themselves; what goes wrong is raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
