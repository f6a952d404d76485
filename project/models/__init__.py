"""How it is learned: LightningModules, each a net with its loss, metrics and optimizer."""

from project.models.classification import Classification
from project.models.regression import Regression

__all__ = ["Classification", "Regression"]
