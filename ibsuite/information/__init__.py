"""How much passes a noisy layer, and what a price on it does to the weights: closed forms, float64."""

from ibsuite.information.gates import (
    GateInformation,
    GateUpperBits,
    best_marginal_variance,
    gate_information_upper_bits,
    gate_kl_bits,
)
from ibsuite.information.sparsity import GatedQuadratic, LocalMinimum, find_local_minimum

__all__ = [
    "GateInformation",
    "GateUpperBits",
    "GatedQuadratic",
    "LocalMinimum",
    "best_marginal_variance",
    "find_local_minimum",
    "gate_information_upper_bits",
    "gate_kl_bits",
]
