"""What a training that failed has to say to its user, in one line."""

from pathlib import Path

import torch.distributed as dist
from lightning.fabric.utilities.exceptions import MisconfigurationException

from project.config.flag_errors import raised_in
from project.runtime.errors import UserError

# What gloo, NCCL and torch's store say when a process is gone or does not answer.
LOST = (
    "pair closure",
    "Connection closed by peer",
    "Connection reset",
    "Broken pipe",
    "Timed out waiting",
    "NCCL",
    "gloo",
    "TCPStore",
)


def training_error(error: Exception, run: Path | None) -> UserError | None:
    """The user's mistake, or the mishap, behind an exception that training ended with; None for a defect.

    Args:
        error: The exception.
        run: The run's folder.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, MisconfigurationException | UserWarning):
        return UserError(str(error))
    message, module = str(error), raised_in(error)
    lost = next((arg for arg in LOST if arg in message), None)
    if lost is None and module.startswith("torch.distributed"):
        lost = message.splitlines()[0] if message else type(error).__name__
    if lost and dist.is_available() and dist.is_initialized():
        hint = f": resume with --ckpt_path {run}" if run is not None else ""
        return UserError(f"a process of the training was lost, or did not answer ({lost}){hint}")
    if message.startswith("Error(s) in loading state_dict"):
        return UserError(f"the checkpoint's weights are of another network: {message.splitlines()[1].strip()}")
    if module.startswith("torch.optim"):
        return UserError(f"--optimizer or --lr_scheduler: {error}")
    if module.startswith("lightning.pytorch.callbacks"):
        return UserError(f"--trainer.callbacks: {error}")
    if module.startswith("project.nets"):
        return UserError(message)
    return None
