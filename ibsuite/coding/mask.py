"""An adaptive code for the zeros of a matrix: units and inputs that nobody uses are cheap to leave out.

Entries are passed on row by row. Two predictors say how probable it is that the next one, x(i, j), is
not zero:

*   *rows and columns*: g is the share of non-zeros so far, r the share in this row and c in this column, both
    pulled towards g; the odds multiply::

        g = (ones + 1/2) / (sent + 1)
        r = (ones in row + 4 g) / (j + 4)    c = (ones in column + 4 g) / (i + 4)
        p = r c (1 - g) / (r c (1 - g) + (1 - r) (1 - c) g)

*   *neighbours*: p is that of ``ibsuite.coding.counts``, the context being the number of non-zero neighbours,
    of the two at (i, j - 1) and (i - 1, j); outside the matrix there are zeros.

Their probabilities are averaged with weights w, 1/2 each at first, which follow Bayes' rule with a share of
1/64 that is dealt out anew after every entry (fixed share, Herbster & Warmuth 1998)::

    w_k <- (1 - 1/64) w_k p_k(x) / sum_l w_l p_l(x) + 1/128

All arithmetic is float64 in the order of the code below: additions, products and quotients alone, so that
every machine finds the same probabilities. What the predictors say depends on whole numbers alone, and the
sender finds it for all entries at once; the weights are a recurrence, and both ends go through it.
"""

import math
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ibsuite.coding.counts import estimate, estimates
from ibsuite.coding.stream import Coder, Sender

PULL = 4.0
SHARE = 1 / 64
Number = TypeVar("Number", float, NDArray[np.float64])


def pass_mask(
    coder: Coder, rows: int, columns: int, values: NDArray[np.bool_] | None, charge: str
) -> NDArray[np.bool_]:
    """Pass on which of ``rows`` x ``columns`` entries are not zero, row by row.

    Args:
        coder: either end.
        rows: number of rows.
        columns: number of columns.
        values: whether each entry is not zero, (rows * columns,), or None for the receiver.
        charge: what the flags are charged to.

    Returns:
        Whether each entry is not zero, (rows * columns,).
    """
    if values is None:
        mask: list[int] = []
        for p in _mix(_predict_in_turn(rows, columns, mask), mask):
            mask.append(coder.flag(p, None, charge))
        return np.array(mask, dtype=bool)
    assert isinstance(coder, Sender)
    flags = values.astype(np.int32)
    mixed = _mix(_predict_at_once(flags.reshape(rows, columns)), flags.tolist())
    coder.flags(np.fromiter(mixed, float, len(flags)), flags, charge)
    return values


def _mix(predictions: Iterable[tuple[float, float]], mask: list[int]) -> Iterator[float]:
    """Averages of what rows and columns say and what neighbours say; each flag is in ``mask`` by the next."""
    flags = iter(mask)
    kept, dealt = 1 - SHARE, SHARE / 2
    weight = 0.5  # of rows and columns; that of neighbours is 1 - weight
    for p_lines, p_around in predictions:
        p = weight * p_lines + (1 - weight) * p_around
        yield p
        posterior = weight * (p_lines / p if next(flags) else (1 - p_lines) / (1 - p))
        weight = kept * posterior + dealt


def _by_lines(ones: Number, sent: Number, in_row: Number, j: Number, in_column: Number, i: Number) -> Number:
    """What rows and columns say of the entry (i, j)."""
    g = (ones + 0.5) / (sent + 1)
    r, c = (in_row + PULL * g) / (j + PULL), (in_column + PULL * g) / (i + PULL)
    there, absent = r * c * (1 - g), (1 - r) * (1 - c) * g
    return there / (there + absent)


def _predict_in_turn(rows: int, columns: int, mask: list[int]) -> Iterator[tuple[float, float]]:
    """Both predictions for each entry, from the entries before it, which ``mask`` holds by then."""
    above, in_column = [0] * columns, [0] * columns
    counts = [[0, 0] for _ in range(3)]
    ones = sent = 0
    for i in range(rows):
        left = in_row = 0
        for j in range(columns):
            around = counts[left + above[j]]
            yield _by_lines(ones, sent, in_row, j, in_column[j], i), estimate(*around)
            left = above[j] = flag = mask[sent]
            around[flag] += 1
            sent += 1
            ones, in_row, in_column[j] = ones + flag, in_row + flag, in_column[j] + flag


def _predict_at_once(x: NDArray[np.int32]) -> Iterator[tuple[float, float]]:
    """The same for all entries of a known matrix."""
    rows, columns = x.shape
    places = np.arange(x.size, dtype=float).reshape(x.shape)
    before = (x.cumsum().reshape(x.shape) - x, x.cumsum(1) - x, x.cumsum(0) - x)
    ones, in_row, in_column = (count.astype(float) for count in before)
    j, i = np.arange(columns, dtype=float), np.arange(rows, dtype=float)[:, None]
    p_lines = _by_lines(ones, places, in_row, j, in_column, i)
    padded = np.pad(x, ((1, 0), (1, 0)))
    around = (padded[1:, :-1] + padded[:-1, 1:]).astype(np.int16)
    p_around = estimates(around.flatten(), x.flatten())
    return zip(p_lines.flatten().tolist(), p_around.tolist(), strict=True)


def mask_bits_at_most(zeros: int, entries: int) -> float:
    """What a mask with so many ``zeros`` among its ``entries`` costs at most, wherever they are, bits.

    n H(zeros / n) + 3 ((log2 n) / 2 + 1) + 1 + n log2(1 / (1 - 1/128)): the neighbours' three counts need no
    more than the entropy without them and what counting costs; the average starts with half the weight on
    them, and leaves them a share of 1 - 1/128 at every entry.
    """
    if not entries:
        return 0.0
    shares = (zeros / entries, 1 - zeros / entries)
    entropy = -sum(share * math.log2(share) for share in shares if share)
    return entries * (entropy - math.log2(1 - SHARE / 2)) + 1.5 * math.log2(entries) + 4
