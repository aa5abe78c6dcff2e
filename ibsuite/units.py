"""Nats and bits: the only place where log 2 is written.

Losses and gradients are in nats. Whatever is stored, printed, logged or compared is in bits.
"""

import math
from typing import TypeVar

from torch import Tensor

NATS_PER_BIT = math.log(2.0)

Quantity = TypeVar("Quantity", float, Tensor)


def nats_to_bits(nats: Quantity) -> Quantity:
    """Convert an amount of information from nats to bits."""
    return nats / NATS_PER_BIT


def bits_to_nats(bits: Quantity) -> Quantity:
    """Convert an amount of information from bits to nats."""
    return bits * NATS_PER_BIT
