"""Probabilities by counting: each flag has a context, and each context its counts of zeros and ones.

The next flag is 1 with probability

    p = (n1 + 1/2) / (n0 + n1 + 1),

n0 and n1 counting the flags in its context before it (Krichevsky & Trofimov 1981). Counts are whole numbers
and there is one quotient, so that it does not matter whether they are counted flag by flag or all at once.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Count = TypeVar("Count", float, NDArray[np.int64])


def estimate(zeros: Count, ones: Count) -> Count:
    """Probability of a one after so many ``zeros`` and ``ones``."""
    return (ones + 0.5) / (zeros + ones + 1)


def estimates(contexts: NDArray[np.int16], flags: NDArray[np.int32]) -> NDArray[np.float64]:
    """Probability of a one for each of (n,) ``flags``, all of which are known: for the sender."""
    order = np.argsort(contexts, kind="stable")
    sizes = np.bincount(contexts)
    starts = np.cumsum(sizes) - sizes
    ordered = flags[order]
    ones = np.cumsum(ordered) - ordered
    ones -= np.repeat(ones[starts], sizes)
    zeros = np.arange(len(flags)) - np.repeat(starts, sizes) - ones
    p = np.empty(len(flags))
    p[order] = estimate(zeros, ones)
    return p
