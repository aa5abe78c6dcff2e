"""How much one thing says about another: closed forms, and bounds and estimates from samples, in bits."""

from ibsuite.information.bounds import (
    NWJ,
    SMILE,
    Bound,
    BoundValue,
    DonskerVaradhan,
    Gather,
    InfoNCE,
    Mine,
)
from ibsuite.information.closed_forms import (
    BottleneckPoint,
    correlation_mi_bits,
    correlation_of,
    gaussian_bottleneck,
    gaussian_mi_bits,
    linear_gaussian_mi_bits,
    linear_gaussian_mi_nats,
    table_mi_bits,
)
from ibsuite.information.estimates import Estimate, Kind, pairs_ceiling_bits
from ibsuite.information.gates import (
    GateInformation,
    GateUpperBits,
    best_marginal_variance,
    gate_information_upper_bits,
    gate_kl_bits,
)
from ibsuite.information.sparsity import GatedQuadratic, LocalMinimum, find_local_minimum

__all__ = [
    "NWJ",
    "SMILE",
    "BottleneckPoint",
    "Bound",
    "BoundValue",
    "DonskerVaradhan",
    "Estimate",
    "GateInformation",
    "GateUpperBits",
    "GatedQuadratic",
    "Gather",
    "InfoNCE",
    "Kind",
    "LocalMinimum",
    "Mine",
    "best_marginal_variance",
    "correlation_mi_bits",
    "correlation_of",
    "find_local_minimum",
    "gate_information_upper_bits",
    "gate_kl_bits",
    "gaussian_bottleneck",
    "gaussian_mi_bits",
    "linear_gaussian_mi_bits",
    "linear_gaussian_mi_nats",
    "pairs_ceiling_bits",
    "table_mi_bits",
]
