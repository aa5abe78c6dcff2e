"""Codelength of labels as a torchmetrics metric."""

import torch
from torch import Tensor
from torchmetrics import Metric

from ibsuite.codes import label_log2_probs


class Codelength(Metric):
    """Codelength of all labels seen, summed over batches and ranks, bits.

    L = - sum_i log2 p(y_i | x_i). The sum is float64 and never a mean, so that unequal shards on
    several ranks add up to what one rank would have found.

    ``update`` takes logits (n, K) and labels (n,).
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    bits: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("bits", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add the labels of one batch."""
        # Out of place: spawned ranks share the memory of the initial state.
        self.bits = self.bits - label_log2_probs(logits, labels).sum()

    def compute(self) -> Tensor:
        """The sum so far, float64, bits."""
        return self.bits
