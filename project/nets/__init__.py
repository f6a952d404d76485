"""What is computed: plain torch modules, built from the shape of a row and a number of outputs."""

from project.nets.linear import Linear
from project.nets.net import Net

__all__ = ["Linear", "Net"]
