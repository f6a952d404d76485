"""Distillation: a student learns from labels and from the outputs of a trained teacher.

Sources: Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network" (2015); for `mutual`, Zhang et al.,
"Deep Mutual Learning" (2018).
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, mse_loss

from project.data.sampling import is_labelled
from project.models.classification import Classification
from project.models.language_model import LanguageModel
from project.models.losses import mean_loss
from project.models.prepared import PreparedBatch
from project.models.regression import Regression
from project.models.supervised import Supervised
from project.nets.scaling import Standardized
from project.nets.token_losses import IGNORED
from project.runtime.errors import UserError
from project.runtime.ranges import ClosedUnitInterval, PositiveFloat


class Distillation(Supervised):
    """Base class of distillation for any task.

    The objective is `labels_weight` times the loss on rows that have a label, plus `1 - labels_weight` times the
    distance to the teacher on all rows; weights of rows count in both. The resulting run contains only the student and
    does not need the teacher.

    Args:
        teacher: A run folder or a checkpoint with the same targets or classes.
        labels_weight: Weight of the labels; with 0, the student learns only from the teacher.
        mutual: Whether the teacher is trained as well, from the labels and the student.
        **kwargs: Arguments of the model without a teacher.
    """

    learns_unlabelled = True

    def __init__(
        self, teacher: str, labels_weight: ClosedUnitInterval = 0.5, mutual: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.labels_weight, self.mutual = labels_weight, mutual
        self._teacher: tuple[Standardized, ...] = ()  # a tuple, so that it is not registered as a submodule and saved

    @abstractmethod
    def distance(self, outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
        """Return the distance (B,) of the student's and the teacher's outputs for each row.

        Both have shape (B, out_features) and are in standard units.
        """

    def set_teacher(self, teacher: Standardized) -> None:
        """Set the teacher, a trained net with outputs in target units."""
        if self.mutual:
            self.peer = teacher.train()
        else:
            self._teacher = (teacher.eval().requires_grad_(False),)

    def on_train_start(self) -> None:
        """Move the teacher to the device of the student."""
        super().on_train_start()
        for teacher in self._teacher:
            teacher.to(self.device)

    def prepare(self, x: Tensor, y: Tensor, weights: Tensor | None = None, *, overwrite: bool = False) -> PreparedBatch:
        """Return a batch in standard units, with the outputs of the teacher."""
        with torch.no_grad():
            teacher_outputs = None if self.mutual else self.net.standard_outputs(self._teacher[0](x))
        return super().prepare(x, y, weights, overwrite=overwrite)._replace(teacher_outputs=teacher_outputs)

    def objective(self, outputs: Tensor, batch: PreparedBatch) -> Tensor:
        """Return the loss to minimise, a scalar; outputs (B, out_features) are in standard units."""
        if not self.mutual:
            assert batch.teacher_outputs is not None
            return self._blend(outputs, batch.teacher_outputs, batch)
        peer_outputs = self.net.standard_outputs(self.peer(self.net.features.inverse(batch.inputs)))
        peer_outputs = peer_outputs.repeat(len(outputs) // len(peer_outputs), 1)  # one copy for each ensemble member
        return self._blend(outputs, peer_outputs.detach(), batch) + self._blend(peer_outputs, outputs.detach(), batch)

    def _blend(self, outputs: Tensor, teacher_outputs: Tensor, batch: PreparedBatch) -> Tensor:
        distance = self.distance(outputs, teacher_outputs)
        known, weights = is_labelled(batch.y), batch.weights
        if weights is not None:
            distance, weights = distance * weights.flatten(), weights.flatten()[known]
        loss = mean_loss(self.criterion, outputs[known], batch.targets[known], weights, is_partial=True)
        return self.labels_weight * loss + (1 - self.labels_weight) * distance.mean()

    def update_train_metrics(self, outputs: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Update the training metrics with the rows that have a label."""
        known = is_labelled(y)
        if known.any():
            super().update_train_metrics(outputs[known], y[known], None if weights is None else weights[known])
        self.running.rows += int((~known).sum())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the teacher of mutual learning separately from the weights of the student."""
        super().on_save_checkpoint(checkpoint)
        state = checkpoint["state_dict"]
        checkpoint["peer"] = {name: state.pop(name) for name in list(state) if name.startswith("peer.")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the teacher of mutual learning."""
        super().on_load_checkpoint(checkpoint)
        if self.mutual:
            checkpoint["state_dict"] |= checkpoint["peer"]

    def on_fit_end(self) -> None:
        """Release the teacher."""
        if self.mutual:
            del self.peer


class DistilledClassification(Distillation, Classification):
    """Train a classifier from labels and from the probabilities of a teacher.

    Args:
        temperature: Divisor of the logits; above 1, the small probabilities of the teacher have more influence.
        **kwargs: Arguments of `Distillation` and `Classification`.
    """

    def __init__(self, temperature: PositiveFloat = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature

    def distance(self, outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
        """Return the Kullback-Leibler divergence times temperature², so that gradients do not shrink with it."""
        learned, known = ((logits / self.temperature).log_softmax(1) for logits in (outputs, teacher_outputs))
        return kl_div(learned, known, reduction="none", log_target=True).sum(1) * self.temperature**2


class DistilledLanguageModel(Distillation, LanguageModel):
    """Train a language model from text and from a teacher's probabilities of each next token.

    Args:
        temperature: Divisor of the logits; above 1, the small probabilities of the teacher have more influence.
        **kwargs: Arguments of `Distillation` and `LanguageModel`. The teacher must have the same tokenizer, and
            `mutual` must be False.
    """

    learns_unlabelled = False

    def __init__(self, temperature: PositiveFloat = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.mutual:
            raise UserError("--model.mutual: the teacher of a language model is not trained; remove it")
        self.temperature = temperature

    def distance(self, outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
        """Return the Kullback-Leibler divergence of each token (B, T), times temperature²."""
        learned, known = ((logits / self.temperature).log_softmax(2) for logits in (outputs, teacher_outputs))
        return kl_div(learned, known, reduction="none", log_target=True).sum(2) * self.temperature**2

    def token_objective(self, logits: Tensor, losses: Tensor, batch: PreparedBatch) -> Tensor:
        """Return the weighted sum of the loss and the distance to the teacher for each token, (B, T)."""
        assert batch.teacher_outputs is not None
        distance = self.distance(logits, batch.teacher_outputs) * (batch.targets != IGNORED)
        return self.labels_weight * losses + (1 - self.labels_weight) * distance

    def update_train_metrics(self, outputs: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Update the training metrics with the loss of each token."""
        LanguageModel.update_train_metrics(self, outputs, y)


class DistilledRegression(Distillation, Regression):
    """Train a regression model from labels and from the predictions of a teacher."""

    def distance(self, outputs: Tensor, teacher_outputs: Tensor) -> Tensor:
        """Return the mean squared difference of each row."""
        return mse_loss(outputs, teacher_outputs, reduction="none").mean(1)
