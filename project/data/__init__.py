"""Data modules and their batch loader."""

from project.data.datamodule import RowsDataModule
from project.data.dialogue import DialogueDataModule, PreferenceDataModule
from project.data.digits import DigitsDataModule
from project.data.images import ImageDataModule
from project.data.markov import MarkovDataModule
from project.data.series import SeriesDataModule
from project.data.synthetic import FriedmanDataModule, SyntheticDataModule
from project.data.tabular import TabularDataModule
from project.data.text import TextDataModule

__all__ = [
    "DialogueDataModule",
    "DigitsDataModule",
    "FriedmanDataModule",
    "ImageDataModule",
    "MarkovDataModule",
    "PreferenceDataModule",
    "RowsDataModule",
    "SeriesDataModule",
    "SyntheticDataModule",
    "TabularDataModule",
    "TextDataModule",
]
