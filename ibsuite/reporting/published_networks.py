"""Compressed networks that others have printed, with their sizes in percent and their errors on MNIST."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from ibsuite.reporting.published import published

CLASSES = 10


class PublishedNetwork(NamedTuple):
    """One printed row; numbers are texts as they were printed, None where nothing was."""

    method: str
    r_w: str | None
    """Surviving weights, percent."""
    r_n: str | None
    """Surviving activations, percent."""
    macs: str | None
    """Multiply-accumulates for one input."""
    error: str
    """Test error, percent."""
    source: str
    architecture: str | None = None
    """Widths that are left."""
    file_bytes: str | None = None

    @property
    def numbers(self) -> tuple[float, float, float] | None:
        """Surviving weights (percent), multiply-accumulates, test error (percent); None if one is missing."""
        if self.r_w is None or self.macs is None:
            return None
        return float(self.r_w), float(self.macs.replace(",", "").replace(" M", "e6")), float(self.error)


TABLE_1 = "Dai et al. 2018 (VIBNet), poster, Table 1; multiply-accumulates from the printed widths"
TABLE_2 = "Dai et al. 2018 (VIBNet), poster, Table 2"
INCONSISTENT = f"{TABLE_1}; these widths leave 19.03 % of the weights, not the 23.05 % printed"
RIGL = (
    "Evci et al. 2020 (arXiv 1911.11134), Table 2: single weights are missing as well (88.6 % sparse); file: "
    "bit mask and float32; half of the printed 6.2 kFLOP; error of the best epoch on test, and of the last"
)


def multiply_accumulates(architecture: str) -> int:
    """Multiply-accumulates, and weights without biases, of an MLP whose widths without the classes are given.

    Examples:
        >>> multiply_accumulates("784-300-100")
        266200
    """
    widths = [*map(int, architecture.split("-")), CLASSES]
    return sum(inputs * outputs for inputs, outputs in pairwise(widths))


def _fully_connected(
    method: str, r_w: str, r_n: str, error: str, architecture: str, source: str = TABLE_1
) -> PublishedNetwork:
    macs = f"{multiply_accumulates(architecture):,}"
    return PublishedNetwork(method, r_w, r_n, macs, error, source, architecture)


LENET_300_100 = (
    _fully_connected("VD", "25.28", "58.95", "1.8", "512-114-72"),
    _fully_connected("BC-GNJ", "10.76", "32.85", "1.8", "278-98-13"),
    _fully_connected("BC-GHS", "10.55", "34.71", "1.8", "311-86-14"),
    _fully_connected("L0", "26.02", "45.02", "1.4", "219-214-100"),
    _fully_connected("L0-sep", "10.01", "32.69", "1.8", "266-88-33"),
    _fully_connected("DN", "23.05", "57.94", "1.8", "542-83-61", INCONSISTENT),
    _fully_connected("VIBNet", "3.59", "16.98", "1.6", "97-71-33"),
    PublishedNetwork("RigL+", None, None, "3,100", "1.57; last 1.69", RIGL, "375-62-51", "16,113 B"),
)
LENET_5 = tuple(
    PublishedNetwork(method, r_w, r_n, f"{macs} M", error, TABLE_2)
    for method, r_w, r_n, macs, error in (
        ("GD", "1.38", "32.00", "0.250", "1.1"),
        ("GL", "23.69", "19.35", "0.201", "1.0"),
        ("VD", "9.29", "60.78", "0.660", "1.0"),
        ("SBP", "19.66", "21.15", "0.213", "0.9"),
        ("BC-GNJ", "0.95", "35.03", "0.283", "1.0"),
        ("BC-GHS", "0.64", "22.80", "0.153", "1.0"),
        ("L0", "8.92", "85.82", "1.113", "0.9"),
        ("L0-sep", "1.08", "40.36", "0.389", "1.0"),
        ("VIBNet", "0.83", "15.55", "0.094", "1.0"),
    )
)
NETWORKS = {"784-300-100": LENET_300_100, "20-50-800-500": LENET_5}
"""By the widths of the full network; both on MNIST."""


def published_networks(
    document: Mapping[str, Any], compression: Mapping[str, Any]
) -> tuple[PublishedNetwork, ...]:
    """What others have printed for this full network on these data; nothing unless it is all of MNIST.

    Args:
        document: ``codelength.json``.
        compression: ``compression.json``.
    """
    whole = document["data"]["name"] == "MNIST" and published(document)
    return NETWORKS.get(compression["architecture"]["full"], ()) if whole else ()
