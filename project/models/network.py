"""The network of a model, which computes its predictions."""

from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from project.models.supervised import Supervised
from project.nets.plain import PlainNet
from project.nets.scaling import Standardized
from project.runtime.errors import UserError


def network(model: LightningModule, in_shape: tuple[int, ...], out_features: int) -> Standardized:
    """Return the network of a model, which computes target units, or logits of classes, from rows in original units.

    For a model from outside the project, this is its `forward`, without standardisation.

    Raises:
        UserError: If the model has no `forward`.
    """
    if isinstance(model, Supervised):
        return model.net
    if not is_overridden("forward", model, LightningModule):
        raise UserError(f"--model {type(model).__name__}: has no forward(x), which computes predictions; add one")
    return Standardized(PlainNet(model, in_shape, out_features), (), ())


def supervised(model: LightningModule, purpose: str) -> Supervised:
    """Return the same model if it is derived from this project's models.

    Raises:
        UserError: If it is not. The error names the purpose for which its net is needed.
    """
    if not isinstance(model, Supervised):
        raise UserError(
            f"--model {type(model).__name__}: has no `net` for {purpose}; pass its network to --model Regression or "
            "Classification as --model.net, or derive it from one of them"
        )
    return model
