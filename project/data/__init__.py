"""Where rows come from: data modules, and the batch loader they share."""

from project.data.datamodule import RowsDataModule
from project.data.synthetic import SyntheticDataModule
from project.data.tabular import TabularDataModule

__all__ = ["RowsDataModule", "SyntheticDataModule", "TabularDataModule"]
