"""Weight averaging: the network that is priced is a mean over the last steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ibsuite.interface import Refusal


class WeightAverage:
    """Exponential moving average of parameters and floating-point buffers.

    theta_bar <- theta_bar + (1 - d_t) (theta - theta_bar), d_t = min(decay, (1 + t) / (10 + t)), so
    that the start of a training is soon forgotten.

    Args:
        decay: d, in [0, 1); otherwise a Refusal.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise Refusal(f"code.averaging must lie in [0, 1), got {decay}")
        self.decay = decay
        self.updates = 0
        self.mean: list[Tensor] = []

    @staticmethod
    def _tensors(module: nn.Module) -> list[Tensor]:
        tensors = [*module.parameters(), *module.buffers()]
        return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]

    def restart(self, module: nn.Module) -> None:
        """Forget everything; the average is the module as it is."""
        self.updates = 0
        self.mean = [tensor.clone() for tensor in self._tensors(module)]

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one optimiser step into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        own = self._tensors(module)
        # A resumed average comes from a file, on the CPU.
        self.mean = [mean.to(tensor.device) for mean, tensor in zip(self.mean, own, strict=True)]
        torch._foreach_lerp_(self.mean, own, 1 - decay)

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """The module with averaged weights, and its own again afterwards."""
        own = [tensor.clone() for tensor in self._tensors(module)]
        try:
            self.write(module)
            yield
        finally:
            torch._foreach_copy_(self._tensors(module), own)

    @torch.no_grad()
    def write(self, module: nn.Module) -> None:
        """Give the module the averaged weights for good."""
        torch._foreach_copy_(self._tensors(module), self.mean)

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs."""
        return {"updates": self.updates, "mean": self.mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue an average."""
        self.updates, self.mean = state["updates"], state["mean"]
