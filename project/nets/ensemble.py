"""Ensembles: the mean and the standard deviation of the outputs of several nets."""

import copy
import math
from itertools import zip_longest
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from project.nets.linear import Linear
from project.nets.mlp import MLP
from project.nets.net import Net, NetFactory, as_key, within
from project.nets.plain import build
from project.nets.scaling import Standardized, column_shape

# With more weights, a loop over the members is as fast as `vmap`.
MAX_WEIGHTS = 20_000


class Ensemble(Net):
    """The mean output of several nets, the members. In classification, it is the mean of their probabilities.

    Member k is initialised like a single net with the seed plus k.

    Source: Lakshminarayanan, Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles" (2017).

    Args:
        nets: The members.
        copies: Number of copies of each net.
        standardized: Whether each member has its own standardisation, like members from separate runs.
        vectorize: Whether to compute copies of `Linear` or of a small `MLP` together, with `torch.vmap`.
        levels: Number of levels of each column of a table; set by the data, see `project.nets.plain.build`.

    Attributes:
        count: Number of members.
        classifies: Whether outputs are logits, so that probabilities are averaged; set by the model.
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        out_features: int,
        nets: list[NetFactory],
        copies: int = 1,
        standardized: bool = False,
        vectorize: bool = True,
        levels: list[int] | None = None,
    ) -> None:
        super().__init__(in_shape, out_features)
        self.count = len(nets) * copies
        problem = f"expected 1 or more nets and copies, got {len(nets)} nets and {copies} copies"
        self.require(len(nets) > 0 and copies > 0, problem)
        self.classifies = False
        members: list[nn.Module] = []
        for net in nets * copies:
            with torch.random.fork_rng():
                torch.manual_seed(torch.initial_seed() + len(members))
                member = build(net, in_shape, out_features, levels)
            shapes = column_shape(self.in_shape), (out_features,)
            members.append(Standardized(member, *shapes) if standardized else member)
        self.scales_inputs = getattr(members[0], "scales_inputs", False)
        self.takes_tokens = member.takes_tokens
        self.members, self.stacked = nn.ModuleList(), nn.ParameterDict()
        weights = sum(parameter.numel() for parameter in members[0].parameters())
        # `vmap` does not support recurrent layers, and does not make attention and convolutions faster.
        if vectorize and copies == len(members) > 1 and isinstance(members[0], Linear | MLP) and weights < MAX_WEIGHTS:
            stacked, _ = stack_module_state(members)
            for name, value in stacked.items():  # `ParameterDict.update` would sort the names
                self.stacked[as_key(name)] = nn.Parameter(value)
            self._names = list(stacked)
            self._template = (members[0].to("meta"),)  # in a tuple, so that it is not registered as a submodule
        else:
            self.members.extend(members)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *in_shape) -> (B, out_features)."""
        return self.combine(self.each(x))

    def each(self, x: Tensor) -> Tensor:
        """Compute the outputs of every member: (B, *in_shape) -> (members, B, out_features)."""
        if not self.stacked:
            return torch.stack([member(x) for member in self.members])
        template = self._template[0].train(self.training)

        def member(*weights: Tensor) -> Tensor:
            return functional_call(template, dict(zip(self._names, weights, strict=True)), (x,))

        return vmap(member, randomness="different")(*self.stacked.values())

    def combine(self, each: Tensor) -> Tensor:
        """(members, B, out_features) -> (B, out_features); for classes, logits of the mean probabilities."""
        if not self.classifies:
            return each.mean(0)
        return each.log_softmax(-1).logsumexp(0) - math.log(len(each))

    def spread(self, x: Tensor) -> Tensor:
        """Compute the standard deviation over members (B, out_features), of outputs or of probabilities."""
        each = self.each(x)
        return (each.softmax(-1) if self.classifies else each).std(0, correction=0)

    def separate(self) -> None:
        """Convert stacked members to separate modules. This changes only the names of the weights."""
        if not self.stacked:
            return
        weights = {name: self.stacked[as_key(name)].detach() for name in self._names}
        for values in zip(*weights.values(), strict=True):
            member = copy.deepcopy(self._template[0]).to_empty(device=values[0].device)
            member.load_state_dict(dict(zip(weights, values, strict=True)))
            self.members.append(member.train(self.training))
        self.stacked.clear()

    def members_identical(self) -> bool:
        """Whether all members have the same weights, as new copies of `Linear` do, so they stay equal."""
        if self.stacked:
            return all(bool((value == value[:1]).all()) for value in self.stacked.values())
        first, *others = (list(member.parameters()) for member in self.members)
        return all(len(first) == len(other) and all(map(torch.equal, first, other)) for other in others)

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether every member accepts the shape."""
        return all(net.accepts(shape) for _, net in self._nets())

    def head_names(self) -> list[str]:
        """Return the heads of all members."""
        if self.stacked:
            return [f"stacked.{as_key(name)}" for name in self._names if within(name, self._template[0].head_names())]
        return [f"{prefix}.{name}" for prefix, net in self._nets() for name in net.head_names()]

    def backbone_names(self) -> list[list[str]]:
        """Return the layers of all members, merged by depth."""
        if self.stacked:
            return [[f"stacked.{as_key(n)}" for n in layer] for layer in self._template[0].backbone_names()]
        each = [[[f"{p}.{name}" for name in layer] for layer in net.backbone_names()] for p, net in self._nets()]
        return [[name for layer in layers for name in layer] for layers in zip_longest(*each, fillvalue=[])]

    def _nets(self) -> list[tuple[str, Net]]:
        if self.stacked:
            return [("stacked", self._template[0])]
        return [
            (f"members.{k}.net", m.net) if isinstance(m, Standardized) else (f"members.{k}", cast(Net, m))
            for k, m in enumerate(self.members)
        ]
