"""Tensors of a file, by name, which are read on access."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


class Source(NamedTuple):
    """Tensors of a file.

    Attributes:
        shapes: Shape of each tensor, by name.
        read: Returns the tensor with a name as float32. It is memory-mapped if the file contains float32.
    """

    shapes: Mapping[str, Shape]
    read: Callable[[str], Tensor]


class LazyState(Mapping[str, Tensor]):
    """The weights of a model, which are read on access, so that they are never in memory twice.

    Args:
        source: The tensors, by their names in the model.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.source.shapes:
            raise KeyError(name)
        return self.source.read(name)

    def __contains__(self, name: object) -> bool:
        return name in self.source.shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self.source.shapes)

    def __len__(self) -> int:
        return len(self.source.shapes)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Copy the weights into a model, one after another. Its other parts, such as standardisation, do not change.

        Raises:
            ValueError: If the model does not have a weight, or its shape is different.
        """
        places = model.state_dict()
        copied: dict[int, str] = {}
        for name, shape in self.source.shapes.items():
            if name not in places or tuple(places[name].shape) != shape:
                raise ValueError(f"{name} has shape {shape}")
            place = places[name]
            if place.data_ptr() not in copied:  # a tied head has been copied with the embedding
                place.copy_(self[name])
                copied[place.data_ptr()] = name
