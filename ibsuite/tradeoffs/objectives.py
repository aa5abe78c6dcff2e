"""What decides which weights a network loses, and which of them share a value."""

import math
from collections.abc import Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor

from ibsuite.compression import (
    Importance,
    OptimalBrainPruning,
    optimal_brain_quantise,
    prune,
    quantise_clusters,
    quantise_entropy_constrained,
    zeroing_costs,
)
from ibsuite.interface import Quantised
from ibsuite.units import NATS_PER_BIT

Scope = Literal["tensor", "network"]
HIGH_RATE_SLOPE = NATS_PER_BIT / 6
"""-dD/dR of a fine uniform grid in units of step^2: D = step^2 / 12, and a bit more quarters it."""


class Objective(Protocol):
    """What is minimised where weights are moved."""

    def pruned(self, weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
        """Weights with that share of zeros."""

    def clustered(self, weights: Mapping[str, Tensor], clusters: int) -> dict[str, Quantised]:
        """Each weight tensor in a codebook of so many values; what is zero stays zero."""

    def rounded(self, weights: Mapping[str, Tensor], step: float) -> dict[str, Quantised]:
        """Weights on uniform grids, under a charge for the length of their code; what is zero stays zero."""


class Weighted:
    """sum_i I_i (w_i - w_hat_i)^2 + H_i (w_i - w_hat_i)^4: an objective of Gao et al. 2019, Tables 1 and 2.

    Args:
        importance: I and H of every weight.
        scope: "tensor": the same share of every tensor is pruned, as in the paper; "network": what costs
            least in the whole network.
    """

    def __init__(self, importance: Importance, scope: Scope = "tensor") -> None:
        self.importance, self.scope = importance, scope

    def pruned(self, weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
        """The weights whose loss costs least are zero."""
        costs = zeroing_costs(weights, *self.importance)
        return prune(weights, sparsity, self.scope, costs)

    def clustered(self, weights: Mapping[str, Tensor], clusters: int) -> dict[str, Quantised]:
        """Codebooks fitted by (quartic) weighted k-means."""
        quadratic, quartic = self.importance
        return {
            name: quantise_clusters(weight, clusters, quadratic[name], quartic[name])
            for name, weight in weights.items()
        }

    def rounded(self, weights: Mapping[str, Tensor], step: float) -> dict[str, Quantised]:
        """Grids on which weights of all tensors lose as much, and bits at the price that they have there.

        Errors of a fine grid of step s do not depend on the weights, and cost mean(I) s^2 / 12 +
        mean(H) s^4 / 80 a weight. Each tensor's step makes that mu / 12: the level of reverse water-filling.
        ``step``^2 is mu in units of the mean cost of losing a weight. A bit counts ln 2 / 6 mu, its worth on
        a fine grid where errors are quadratic.
        """
        costs = zeroing_costs(weights, *self.importance)
        size = sum(weight.numel() for weight in weights.values())
        level = step**2 * sum(float(cost.sum()) for cost in costs.values()) / size
        found = {}
        for name, weight in weights.items():
            quadratic, quartic = (part[name] for part in self.importance)
            a, b, c = float(quartic.mean()) / 80, float(quadratic.mean()) / 12, level / 12
            if not level or not a + b:  # zeros, or weights on which nothing depends
                found[name] = Quantised(torch.zeros(weight.shape, dtype=torch.int64), 1.0)
                continue
            square = 2 * c / (b + math.sqrt(b * b + 4 * a * c))  # the root of a s^4 + b s^2 = c
            found[name] = quantise_entropy_constrained(
                weight, math.sqrt(square), HIGH_RATE_SLOPE * level, quadratic, quartic
            )
        return found


class OptimalBrain:
    """The squared error of every layer's outputs, weights that are left making up for those that moved.

    Frantar, Singh & Alistarh 2022 (arXiv 2208.11580), layer by layer, at the same share of every layer.

    Args:
        grams: E[x x'] of every layer's inputs.
    """

    def __init__(self, grams: Mapping[str, Tensor]) -> None:
        self.grams = grams
        self.pruning: OptimalBrainPruning | None = None

    def pruned(self, weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
        """Greedy removal, the same share of every layer; the order in which weights go is found once."""
        if self.pruning is None:
            self.pruning = OptimalBrainPruning(weights, self.grams)
        return self.pruning.prune(sparsity)

    def clustered(self, weights: Mapping[str, Tensor], clusters: int) -> dict[str, Quantised]:
        """The codebook of plain k-means, column after column, errors being passed on to the columns left."""
        found = {}
        for name, weight in weights.items():
            near = quantise_clusters(weight, clusters)
            moved = optimal_brain_quantise(weight, self.grams[name], near.values().unique())
            # Values that no weight takes any more are not sent; 0 stands for zero, taken or not.
            values, places = torch.cat([moved.flatten(), moved.new_zeros(1)]).unique(return_inverse=True)
            symbols = (places[:-1] - places[-1]).reshape(weight.shape)
            found[name] = Quantised(symbols, 1.0, values.half())
        return found

    def rounded(self, weights: Mapping[str, Tensor], step: float) -> dict[str, Quantised]:
        """Not defined."""
        raise ValueError(
            "optimal_brain has no entropy-constrained grid: its errors are no costs of single weights"
        )
