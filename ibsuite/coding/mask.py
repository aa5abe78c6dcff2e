"""An adaptive code for the zeros of a matrix: units and inputs that nobody uses are cheap to leave out.

Entries are passed on row by row. Two predictors say how probable it is that the next one, x(i, j), is
not zero:

*   *rows and columns*: g is the share of non-zeros so far, r the share in this row and c in this column, both
    pulled towards g; the odds multiply::

        g = (ones + 1/2) / (sent + 1)
        r = (ones in row + 4 g) / (j + 4)    c = (ones in column + 4 g) / (i + 4)
        p = r c (1 - g) / (r c (1 - g) + (1 - r) (1 - c) g)

*   *neighbours*: p = (n1 + 1/2) / (n0 + n1 + 1), the counts being those of entries that had as many non-zero
    neighbours as this one, of the two at (i, j - 1) and (i - 1, j); outside the matrix there are zeros.

Their probabilities are averaged with weights w, 1/2 each at first, which follow Bayes' rule with a share of
1/64 that is dealt out anew after every entry (fixed share, Herbster & Warmuth 1998)::

    w_k <- (1 - 1/64) w_k p_k(x) / sum_l w_l p_l(x) + 1/128

All arithmetic is float64 in the order of the code below: additions, products and quotients alone, so that
every machine finds the same probabilities.
"""

from ibsuite.coding.stream import Coder

PULL = 4.0
SHARE = 1 / 64


def pass_mask(coder: Coder, rows: int, columns: int, values: list[int] | None, charge: str) -> list[int]:
    """Pass on which of ``rows`` x ``columns`` entries are not zero, row by row.

    Args:
        coder: either end.
        rows: number of rows.
        columns: number of columns.
        values: the entries, or None for the receiver.
        charge: what the flags are charged to.

    Returns:
        One flag an entry, 1 where it is not zero.
    """
    mask: list[int] = []
    above, in_column = [0] * columns, [0] * columns
    counts = [[0.5, 0.5] for _ in range(3)]
    ones = 0
    weight = 0.5  # of rows and columns; that of neighbours is 1 - weight
    for i in range(rows):
        left = in_row = 0
        for j in range(columns):
            g = (ones + 0.5) / (len(mask) + 1)
            r, c = (in_row + PULL * g) / (j + PULL), (in_column[j] + PULL * g) / (i + PULL)
            there, absent = r * c * (1 - g), (1 - r) * (1 - c) * g
            p_lines = there / (there + absent)
            n0, n1 = around = counts[left + above[j]]
            p_around = n1 / (n0 + n1)
            p = weight * p_lines + (1 - weight) * p_around
            flag = coder.flag(p, None if values is None else int(values[len(mask)] != 0), charge)
            posterior = weight * (p_lines / p if flag else (1 - p_lines) / (1 - p))
            weight = (1 - SHARE) * posterior + SHARE / 2
            around[flag] += 1
            ones, in_row, in_column[j] = ones + flag, in_row + flag, in_column[j] + flag
            left = above[j] = flag
            mask.append(flag)
    return mask
