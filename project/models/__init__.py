"""LightningModules, each a net with its loss, metrics and training step."""

from project.models.classification import Classification
from project.models.distillation import DistilledClassification, DistilledRegression
from project.models.linear_regression import LinearRegression
from project.models.regression import Regression

__all__ = ["Classification", "DistilledClassification", "DistilledRegression", "LinearRegression", "Regression"]
