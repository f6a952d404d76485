"""LightningModules (a net with its loss, metrics and training step), and optimizers and schedules for large models."""

from project.models.classification import Classification
from project.models.distillation import DistilledClassification, DistilledLanguageModel, DistilledRegression
from project.models.language_model import LanguageModel
from project.models.linear_regression import LinearRegression
from project.models.muon import MuonAdamW
from project.models.preferences import DPO
from project.models.quantiles import PinballLoss
from project.models.regression import Regression
from project.models.schedules import WarmupCosine, WarmupStable

__all__ = [
    "DPO",
    "Classification",
    "DistilledClassification",
    "DistilledLanguageModel",
    "DistilledRegression",
    "LanguageModel",
    "LinearRegression",
    "MuonAdamW",
    "PinballLoss",
    "Regression",
    "WarmupCosine",
    "WarmupStable",
]
