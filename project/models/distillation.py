"""Distillation: a net learns from labels, and from what a trained teacher says.

Sources: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network" (2015); of both learning together, Zhang
et al., "Deep Mutual Learning" (2018).
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, mse_loss

from project.data.sampling import is_labelled
from project.models.classification import Classification
from project.models.prepared import PreparedBatch
from project.models.regression import Regression
from project.models.supervised import Supervised
from project.nets.scaling import Standardized
from project.runtime.errors import UserError

PEER = "peer"


class Distillation(Supervised):
    """What learning from a teacher is, whatever the task.

    The objective is `labels_weight` times the loss of the labels, over rows that have one, plus the rest times the
    distance to the teacher, over all rows. The run that is left is the student's alone, and needs no teacher.

    Args:
        teacher: A run folder or a checkpoint, on the same targets or classes.
        labels_weight: Weight of the labels; 0 learns from the teacher alone.
        mutual: Whether the teacher goes on learning, too, from the labels and from the student.
        **kwargs: As of the task without a teacher.

    Raises:
        UserError: If a number is out of range.
    """

    learns_unlabelled = True

    def __init__(self, teacher: str, labels_weight: float = 0.5, mutual: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= labels_weight <= 1:
            raise UserError(f"--model.labels_weight is {labels_weight}: give a number from 0 to 1")
        self.labels_weight, self.mutual = labels_weight, mutual
        self._teacher: tuple[Standardized, ...] = ()  # a tuple, so that it is no part of what is saved

    @abstractmethod
    def distance(self, outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
        """How far outputs are from what they are to be like, both (B, out_features) in standard units -> a scalar."""

    def teach(self, teacher: Standardized) -> None:
        """Take a teacher.

        Args:
            teacher: Computes what the student is to say, in target units.
        """
        if self.mutual:
            self.peer = teacher.train()
        else:
            self._teacher = (teacher.eval().requires_grad_(False),)

    def on_train_start(self) -> None:
        """Have the teacher where the rows are."""
        super().on_train_start()
        for teacher in self._teacher:
            teacher.to(self.device)

    def _prepare(
        self, x: Tensor, y: Tensor, weights: Tensor | None = None, *, overwrite: bool = False
    ) -> PreparedBatch:
        teacher_outputs = None if self.mutual else self._teacher_outputs(self._teacher[0], x)
        return super()._prepare(x, y, weights, overwrite=overwrite)._replace(teacher_outputs=teacher_outputs)

    @torch.no_grad()
    def _teacher_outputs(self, teacher: Standardized, x: Tensor) -> Tensor:
        return self._standard(teacher(x))

    def _standard(self, outputs: Tensor) -> Tensor:
        """A teacher's outputs in the student's standard units."""
        return self.net.targets(outputs) if self.net.targets.mean.ndim else outputs

    def objective(self, outputs: Tensor, batch: PreparedBatch) -> Tensor:
        """Outputs (B, out_features) in standard units and their batch -> a scalar."""
        if not self.mutual:
            assert batch.teacher_outputs is not None
            return self._blend(outputs, batch.teacher_outputs, batch)
        teacher_outputs = self._standard(self.peer(self.net.features.inverse(batch.inputs)))
        teacher_outputs = teacher_outputs.repeat(
            len(outputs) // len(teacher_outputs), 1
        )  # for each member of an ensemble
        return self._blend(outputs, teacher_outputs.detach(), batch) + self._blend(
            teacher_outputs, outputs.detach(), batch
        )

    def _blend(self, outputs: Tensor, teacher_outputs: Tensor, batch: PreparedBatch) -> Tensor:
        distance = self.distance(outputs, teacher_outputs)
        known = is_labelled(batch.y)
        if not known.any():
            return (1 - self.labels_weight) * distance
        weights = None if batch.weights is None else batch.weights.flatten()[known]
        labelled = PreparedBatch(batch.inputs, batch.targets[known], batch.y[known], weights)
        return self.labels_weight * super().objective(outputs[known], labelled) + (1 - self.labels_weight) * distance

    def keep(self, outputs: Tensor, y: Tensor) -> None:
        """Take rows that have a label into the training metrics."""
        known = is_labelled(y)
        if known.any():
            super().keep(outputs[known], y[known])
        self.running.rows += int((~known).sum())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep a teacher that learns apart from the student's weights."""
        super().on_save_checkpoint(checkpoint)
        state = checkpoint["state_dict"]
        checkpoint[PEER] = {name: state.pop(name) for name in list(state) if name.startswith(f"{PEER}.")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give a teacher that learns what it had learned."""
        super().on_load_checkpoint(checkpoint)
        if self.mutual:
            checkpoint["state_dict"] |= checkpoint[PEER]

    def on_fit_end(self) -> None:
        """Part with the teacher."""
        if self.mutual:
            del self.peer


class DistilledClassification(Distillation, Classification):
    """Learns classes from labels and from a teacher's probabilities.

    Args:
        temperature: Divides logits, so that the teacher's lesser probabilities count for more.
        **kwargs: As of Distillation and of Classification.
    """

    def __init__(self, temperature: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if temperature <= 0:
            raise UserError(f"--model.temperature is {temperature}: give a number above 0")
        self.temperature = temperature

    def distance(self, outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
        """Kullback-Leibler divergence at the temperature, times its square, which keeps gradients at their size."""
        learned, known = ((logits / self.temperature).log_softmax(1) for logits in (outputs, teacher_outputs))
        return kl_div(learned, known, reduction="batchmean", log_target=True) * self.temperature**2


class DistilledRegression(Distillation, Regression):
    """Learns numbers from labels and from a teacher's predictions.

    Args:
        **kwargs: As of Distillation and of Regression.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def distance(self, outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
        """Mean squared difference, in standard units."""
        return mse_loss(outputs, teacher_outputs)
