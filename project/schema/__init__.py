"""What a row of a table is: its fields, their kinds, and how their values become the numbers of a network.

This package knows neither torch nor Lightning, so training and an exported file's server encode rows alike.
"""

from project.schema.field import Field
from project.schema.schema import Schema

__all__ = ["Field", "Schema"]
