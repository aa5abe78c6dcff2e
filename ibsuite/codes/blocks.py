"""Where the labels are cut into blocks for prequential coding."""

import math
from collections.abc import Sequence
from itertools import pairwise

from ibsuite.interface import Refusal


def geometric_blocks(num_labels: int, first: int, ratio: float = 2.0) -> list[int]:
    """Block ends t_0 < t_1 < ... < t_S = n that grow by a constant ratio, in labels.

    t_k = round(first * ratio^k); the paper's schedules are 8 * 2^k and 10 * 2^k (Blier & Ollivier
    2018, Appendix D).
    """
    if first < 1 or not 1 < ratio < math.inf:
        raise Refusal(f"blocks need first_block >= 1 and a finite ratio > 1, got {first} and {ratio}")
    ends: list[int] = []
    end = float(first)
    while round(end) < num_labels:
        if not ends or round(end) > ends[-1]:
            ends.append(round(end))
        end *= ratio
    return [*ends, num_labels]


def check_blocks(ends: Sequence[int], num_labels: int) -> list[int]:
    """Block ends as given, cut at the number of labels and completed by it."""
    if not ends or ends[0] < 1 or any(a >= b for a, b in pairwise(ends)):
        raise Refusal(f"code.block_ends must be increasing positive label counts, got {list(ends)}")
    return [*(end for end in ends if end < num_labels), num_labels]
