"""Rates at which the weights of a trained network may be sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ibsuite.callbacks.sent import Sent, narrowed
from ibsuite.compression import prune, quantise_kmeans, quantise_uniform
from ibsuite.interface import Message, Quantised, Refusal

FINE_STEP = 0.125
"""Step of the grid of biases and of scales and shifts, in standard deviations of the tensor."""


@dataclass
class Rates:
    """Shares of the weights that are pruned, by grids or codebooks for the others.

    Args:
        sparsities: shares of the weights that are pruned, the smallest over the whole network.
        steps: of a uniform grid, in standard deviations of the weights that are left in a tensor.
        levels: entries of a k-means codebook, zero among them; an alternative to ``steps``.
        coarse_dimensions: tensors with fewer dimensions are quantised finely, whatever the rate.
    """

    sparsities: Sequence[float]
    steps: Sequence[float]
    levels: Sequence[int]
    coarse_dimensions: int = 2

    def __post_init__(self) -> None:
        if not self.sparsities or not all(0 <= s < 1 for s in self.sparsities):
            raise Refusal(f"code.sparsities must lie in [0, 1), got {list(self.sparsities)}")
        if not (self.steps or self.levels) or not all(s > 0 for s in self.steps):
            raise Refusal(f"code.steps must be positive, or code.levels given; got {list(self.steps)}")
        if any(count < 2 for count in self.levels):
            raise Refusal(f"a codebook needs at least two entries; code.levels is {list(self.levels)}")

    def settings(self) -> list[dict[str, Any]]:
        """Every rate that is tried."""
        kinds: list[tuple[str, float]] = [("step", s) for s in self.steps]
        kinds += [("levels", count) for count in self.levels]
        return [
            {"sparsity": s, "quantiser": kind, "rate": rate} for s in self.sparsities for kind, rate in kinds
        ]

    def message(self, trained: Sent, rate: dict[str, Any]) -> Message:
        """The trained tensors pruned and quantised at a rate; buffers in float16."""
        weights = {name: value for name, value in trained.items() if name not in trained.buffers}
        buffers = {name: narrowed(trained[name], torch.float16) for name in trained.buffers}
        pruned = prune(weights, rate["sparsity"]) if rate["sparsity"] else weights
        return {name: self._quantise(value, rate) for name, value in pruned.items()} | buffers

    def _quantise(self, tensor: Tensor, rate: dict[str, Any]) -> Quantised:
        left = tensor[tensor != 0]
        spread = float(left.std(correction=0)) if len(left) > 1 else 0.0
        spread = spread or float(tensor.abs().max()) or 1.0  # all alike: one step away from zero
        if tensor.ndim < self.coarse_dimensions:
            return quantise_uniform(tensor, FINE_STEP * spread)
        if rate["quantiser"] == "levels":
            return quantise_kmeans(tensor, int(rate["rate"]))
        return quantise_uniform(tensor, rate["rate"] * spread)
