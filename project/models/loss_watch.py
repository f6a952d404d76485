"""A loss that says that training is beyond help stops it, before anything of it is saved."""

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from project.runtime.errors import UserError

# A loss that has grown so much since the first step (and beyond so much) does not come back.
MAX_GROWTH = 1e8


class LossWatch:
    """Looks at the loss of every step.

    On a device other than the CPU, looking would wait for the device: there losses are looked at together, at the end
    of a `training_step`.

    Args:
        module: Whose loss it is.
    """

    def __init__(self, module: LightningModule) -> None:
        self.module = module
        self._losses: list[Tensor] = []
        self._most: float | None = None

    def reset(self) -> None:
        """Forget what is usual."""
        self._losses.clear()
        self._most = None

    def see(self, loss: Tensor, batch: int, now: bool = False) -> None:
        """Take in the loss of a batch.

        Args:
            loss: A scalar.
            batch: Number of the batch within the epoch, from 1.
            now: Whether to wait for the device.

        Raises:
            UserError: If it is not finite, or has grown beyond any use.
        """
        if loss.device.type == "cpu":
            values = [loss.item()]
        else:
            self._losses.append(loss.detach())
            if not now:
                return
            values = torch.stack(self._losses).tolist()
            self._losses.clear()
        if self._most is None:
            self._most = MAX_GROWTH * max(1.0, abs(values[0]))
        for number, value in enumerate(values, start=batch - len(values) + 1):
            if not value <= self._most:  # as NaN is not
                epoch = self.module.current_epoch + 1
                raise divergence(self.module, f"loss is {value:g}", f"epoch {epoch}, batch {number}")


def divergence(module: LightningModule, what: str, where: str) -> UserError:
    """The error of a training that diverges, with its likely cause and what to do.

    Args:
        module: What is trained.
        what: Is not finite, or too large.
        where: It was found.
    """
    rate = module.trainer.optimizers[0].param_groups[0].get("lr") if module.trainer.optimizers else None
    scaling = "" if getattr(module, "standardize", True) else ", or standardise with --model.standardize true"
    return UserError(
        f"the {what} in {where}: training diverges at --optimizer.lr {rate}: lower it, or clip gradients with "
        f"--trainer.gradient_clip_val{scaling}"
    )
