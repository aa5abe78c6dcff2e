"""The label stream: labels as bytes, ``labels.bin``, each under a distribution that both ends know.

A distribution is K whole numbers, its *counts*, which are at least 1 and add up to 2^24; label y costs
-log2(counts[y] / 2^24) bits. Nothing else is coded: given the numbers less one, as float64, constriction's
``Categorical(perfect=False)``, which adds one to everything itself, arrives at these very counts, because
every sum and product on its way is a whole number below 2^53. There is one range coder for all labels; its
bytes end as those of ``ibsuite.coding.stream`` do, so zeros stand behind them and no length is kept.

The coder itself loses 0.0002 bits a label on average and 0.0057 at most: its interval is 2^32 to 2^64 wide
and divided into 2^24 equal parts, the rest going to waste.
"""

from collections.abc import Iterator

import constriction
import numpy as np
import torch
from numpy.typing import NDArray

from ibsuite.coding.stream import range_decoder, shortest_bytes

TOTAL = 2**24  # the coder's own denominator
FAMILY = constriction.stream.model.Categorical(perfect=False)
ROWS = 2**14  # worked on at once, so that they stay in the processor's cache
Counts = NDArray[np.int32]
Labels = NDArray[np.int64]


def integer_probabilities(log2_probs: torch.Tensor | NDArray[np.float64]) -> Counts:
    """Counts out of 2^24 for each distribution, (n, K).

    With p = 2^log2_probs, divided by its sum,

        counts = 1 + floor((2^24 - K) p),

    and what is missing from 2^24 goes to the most probable class, the first one of several. So every label
    costs at most -log2 p - log2(1 - K / 2^24) bits, whatever p is, and never more than 24: zero is as
    good as 2^-24. A row that holds NaN or +inf, or nothing but -inf, is replaced by the uniform one.
    Every row is found by itself, in float64 on the CPU: it does not matter how many are asked for at once.

    Args:
        log2_probs: log2-probabilities of the K >= 2 classes, (n, K), or (K,) for one label, bits.

    Raises:
        ValueError: fewer than two classes, or 2^24 and more.
    """
    if isinstance(log2_probs, torch.Tensor):
        log2_probs = log2_probs.detach().cpu().double().numpy()
    rows = np.ascontiguousarray(np.atleast_2d(log2_probs), dtype=np.float64)
    if rows.ndim != 2 or not 2 <= rows.shape[1] < TOTAL:
        raise ValueError(f"distributions must be (n, K) with 2 <= K < 2^24, got {rows.shape}")
    counts = np.empty(rows.shape, dtype=np.int32)
    for part in _parts(len(rows)):
        _quantise(rows[part], counts[part])
    return counts


def _quantise(log2_probs: NDArray[np.float64], counts: Counts) -> None:
    """Fill ``counts``."""
    top = log2_probs.max(1, keepdims=True)  # NaN where there is one
    usable = np.isfinite(top)
    with np.errstate(over="ignore"):  # -inf is as good as what is lower still
        shifted = np.subtract(log2_probs, top, where=usable, out=np.zeros_like(log2_probs))
    p = np.exp2(shifted, out=shifted)
    p *= (TOTAL - p.shape[1]) / p.sum(1, keepdims=True)
    np.add(p, 1, out=counts, casting="unsafe")  # towards zero, hence down
    best = p.argmax(1)
    counts[np.arange(len(p)), best] += TOTAL - counts.sum(1)


class LabelSender:
    """Encodes labels in their order.

    Args of ``send`` and ``LabelReceiver.receive`` are the same distributions, cut into calls as one likes.
    """

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def send(self, labels: torch.Tensor | Labels, counts: Counts) -> None:
        """Append labels.

        Args:
            labels: integers from 0 to K - 1, (n,).
            counts: of ``integer_probabilities``, (n, K), or (K,) for one label.

        Raises:
            ValueError: labels or counts are not such.
        """
        counts = _checked(counts)
        given = np.asarray(labels).reshape(-1)
        if len(given) != len(counts):
            raise ValueError(f"there are {len(given)} labels for {len(counts)} distributions")
        if len(given) and not 0 <= given.min() <= given.max() < counts.shape[1]:
            raise ValueError(f"labels must be 0 to {counts.shape[1] - 1}, got {given.min()} to {given.max()}")
        for part in _parts(len(given)):
            self._coder.encode(given[part].astype(np.int32), FAMILY, _parameters(counts[part]))

    def data(self) -> bytes:
        """The shortest bytes from which a receiver reads what has been sent so far."""
        return shortest_bytes(self._coder)


class LabelReceiver:
    """Finds labels in what a sender has made.

    Args:
        data: what ``LabelSender.data`` gave. Behind its end stand zeros, which are labels too: how many
            there are, and whether they are the right ones, must be known from elsewhere.
    """

    def __init__(self, data: bytes) -> None:
        self._coder = range_decoder(data)

    def receive(self, counts: Counts) -> Labels:
        """The next labels, (n,).

        Args:
            counts: of ``integer_probabilities``, (n, K), or (K,) for one label: those of the sender.

        Raises:
            ValueError: no label has such bytes, so they are not the sender's, or counts are not.
        """
        counts = _checked(counts)
        labels = np.empty(len(counts), dtype=np.int64)
        for part in _parts(len(counts)):
            try:
                labels[part] = self._coder.decode(FAMILY, _parameters(counts[part]))
            except AssertionError as error:  # a point of the interval that is wasted
                raise ValueError(
                    "the label stream is altered, or read under other distributions than it was written"
                ) from error
        return labels


def _checked(counts: Counts) -> Counts:
    rows = np.atleast_2d(counts)
    if rows.ndim != 2 or rows.shape[1] < 2 or rows.min(initial=1) < 1 or (rows.sum(1) != TOTAL).any():
        raise ValueError("counts must be those of integer_probabilities: (n, K), 1 or more, in sum 2^24")
    return rows


def _parameters(counts: Counts) -> NDArray[np.float64]:
    """What makes the coder's model have exactly these ``counts``."""
    return np.subtract(counts, 1, dtype=np.float64)


def _parts(n: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, n, ROWS))
