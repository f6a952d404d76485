"""The user's mistake behind an exception in training."""

from pathlib import Path

import torch.distributed as dist
from lightning.fabric.utilities.exceptions import MisconfigurationException

from project.config.flag_errors import raised_in
from project.runtime.errors import UserError

# Messages of gloo, NCCL and torch's store when a process has ended or does not answer.
LOST_PROCESS = (
    "pair closure",
    "Connection closed by peer",
    "Connection reset",
    "Broken pipe",
    "Timed out waiting",
    "NCCL",
    "gloo",
    "TCPStore",
)
FLAGS = {  # by the module that raised the exception
    "torch.optim": "--optimizer or --lr_scheduler: ",
    "lightning.pytorch.callbacks": "--trainer.callbacks: ",
    "project.nets": "",
}


def training_error(error: Exception, run: Path | None) -> UserError | None:
    """Return the user's mistake, or the outside cause, behind an exception in training; None for a defect.

    Args:
        error: The exception.
        run: The run's folder.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, MisconfigurationException | UserWarning):
        return UserError(str(error))
    message, module = str(error), raised_in(error)
    lost = next((text for text in LOST_PROCESS if text in message), None)
    if lost is None and module.startswith("torch.distributed"):
        lost = message.splitlines()[0] if message else type(error).__name__
    if lost and dist.is_available() and dist.is_initialized():
        hint = f"; resume with --ckpt_path {run}" if run is not None else ""
        return UserError(f"a training process ended or does not answer ({lost}){hint}")
    if message.startswith("Error(s) in loading state_dict"):
        return UserError(f"the checkpoint's weights belong to another network: {message.splitlines()[1].strip()}")
    flag = next((flag for name, flag in FLAGS.items() if module.startswith(name)), None)
    return None if flag is None else UserError(flag + message)
