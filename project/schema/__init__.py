"""Schemas of tables: the fields of a row, their kinds, and how their values become the inputs of a network.

This package imports neither torch nor Lightning, so that training and the server of an exported file use the same code.
"""

from project.schema.field import Field
from project.schema.schema import Schema

__all__ = ["Field", "Schema"]
