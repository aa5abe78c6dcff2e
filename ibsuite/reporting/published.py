"""Codelengths of MNIST's and CIFAR-10's labels that others have printed, each with its source."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Published(NamedTuple):
    """One printed description length."""

    code: str
    kbit: str
    """As it was printed; ``> x``: the weights alone, a lower bound without the labels."""
    accuracy: float
    """Share of the test labels that the model predicts."""
    source: str

    @property
    def lower_bound(self) -> bool:
        """Whether the labels are missing from it."""
        return self.kbit.startswith(">")

    @property
    def bits(self) -> float:
        """The length, bits."""
        return 1000 * float(self.kbit.lstrip("> ").replace(",", ""))


TABLE_1 = "Blier & Ollivier 2018, Table 1"
TABLE_2 = "Blier & Ollivier 2018, Table 2"
WEIGHTS = f"{TABLE_1}, weights alone, length as transcribed by a third party"
INTRINSIC = f"{TABLE_1}, weights alone, 32 bits for each of 2,900 dimensions"
LOTFI = "Lotfi et al. 2022, released logs, message of the quantised subspace + its training loss"

MNIST = (
    Published("two_part", "> 8,600", 0.984, WEIGHTS),
    Published("network_compression", "> 400", 0.984, WEIGHTS),
    Published("subspace", "> 9.28", 0.90, WEIGHTS),
    Published("variational", "22.2", 0.982, TABLE_1),
    Published("variational", "24.1", 0.955, TABLE_2),
    Published("prequential", "4.10", 0.995, TABLE_1),
    Published("switch", "4.05", 0.995, TABLE_2),
    Published("self_switch", "4.05", 0.995, TABLE_2),
    Published("subspace", "17.25", 0.9802, LOTFI),
)
CIFAR10 = (
    Published("two_part", "> 428,000", 0.929, WEIGHTS),
    Published("network_compression", "> 14,000", 0.933, WEIGHTS),
    Published("subspace", "> 92.8", 0.70, INTRINSIC),
    Published("variational", "89.0", 0.665, TABLE_1),
    Published("variational", "89.0", 0.616, TABLE_2),
    Published("prequential", "45.3", 0.933, TABLE_1),
    Published("switch", "34.6", 0.933, TABLE_2),
    Published("self_switch", "34.9", 0.933, TABLE_2),
    Published("subspace", "70.27", 0.6962, LOTFI),
)
CLASS_COUNTS = {
    "MNIST": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "CIFAR10": (5000,) * 10,
}
"""Labels of each class in the whole training split: labels that were cut or drawn anew have others."""


def published(document: Mapping[str, Any]) -> tuple[Published, ...]:
    """What others have printed for the labels of this run; nothing unless it is the whole data set."""
    name = document["data"]["name"]
    if name not in CLASS_COUNTS:
        return ()
    counts = CLASS_COUNTS[name]
    entropy = math.fsum(count * math.log2(sum(counts) / count) for count in counts)
    whole = document["data"]["num_labels"] == sum(counts)
    if not (whole and math.isclose(entropy, document["empirical_entropy_bits"], rel_tol=1e-9)):
        return ()
    return MNIST if name == "MNIST" else CIFAR10
