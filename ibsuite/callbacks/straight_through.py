"""Training through a quantiser: the network has coarse weights, the optimiser moves fine ones."""

from typing import Any

import torch
from torch import Tensor, nn

from ibsuite.interface import Message, Quantised


class StraightThrough:
    """Quantised weights in every forward and backward pass, their gradient applied to the weights behind.

    A weight that was pruned or rounded to zero stays zero, and steps stay as they are; others may move to
    another value of their grid or codebook, and each entry of a codebook follows the mean of its weights.

    Args:
        message: tensors as they were quantised; those that are not are trained as they are.
    """

    def __init__(self, message: Message) -> None:
        self.quantised = {name: sent for name, sent in message.items() if isinstance(sent, Quantised)}
        self.left = {name: sent.symbols != 0 for name, sent in self.quantised.items()}
        self.fine: dict[str, Tensor] = {}

    @torch.no_grad()
    def coarsen(self, module: nn.Module) -> None:
        """Before a forward pass: put the quantised values in the weights' place."""
        parameters = dict(module.named_parameters())
        for name, before in self.quantised.items():
            weight = parameters[name]
            self.fine[name] = weight.detach().clone()
            self.quantised[name] = requantise(weight.cpu() * self.left[name], before)
            weight.copy_(self.quantised[name].values())

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Before an optimiser step: put the fine weights back."""
        parameters = dict(module.named_parameters())
        for name, fine in self.fine.items():
            parameters[name].copy_(fine)
        self.fine = {}

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs, in plain tuples."""
        return {
            "quantised": {name: tuple(sent) for name, sent in self.quantised.items()},
            "left": self.left,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.quantised = {name: Quantised(*sent) for name, sent in state["quantised"].items()}
        self.left = state["left"]


def requantise(weight: Tensor, before: Quantised) -> Quantised:
    """``weight`` in the grid or codebook of ``before``; then entries move to the means of their weights."""
    if before.codebook is None:
        return Quantised((weight.double() / before.step).round().long(), before.step)
    values, weight = before.codebook.double(), weight.double()
    zero = int((values == 0).nonzero()[0])
    offered = torch.arange(len(values))
    if not (before.symbols == 0).any():  # zero is no value of this codebook, and is not to become one
        offered = offered[offered != zero]
    edges = (values[offered][1:] + values[offered][:-1]) / 2
    places = offered[torch.bucketize(weight, edges)]
    counts = torch.bincount(places.flatten(), minlength=len(values))
    sums = torch.bincount(places.flatten(), weight.flatten(), minlength=len(values))
    values = torch.where(counts > 0, sums / counts.clamp(min=1), values)
    values[zero] = 0.0
    first, last = min(int(places.min()), zero), max(int(places.max()), zero)  # those beyond are not sent
    return Quantised(places - zero, 1.0, values[first : last + 1].half())
