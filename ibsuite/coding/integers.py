"""An adaptive code for integers: what a tensor's own statistics save, without sending them.

An integer k is taken apart into yes-no questions, in the style of DeepCABAC (Wiedemann et al. 2020,
arXiv 1907.11900): is it zero, is it negative, how many binary digits has |k|, which are they. Each
question has a context, and each context two counts: a flag is 1 with probability

    p = (n1 + 1/2) / (n0 + n1 + 1),

n0 and n1 counting the flags of that context that have gone before (Krichevsky & Trofimov 1981). Sender
and receiver count alike, so that nothing but the flags is sent.
"""

from collections.abc import Hashable

from ibsuite.coding.stream import Coder

MAX_DIGITS = 62
TREE_DIGITS = 3


class IntegerModel:
    """Adaptive questions about integers, to be asked through a coder."""

    def __init__(self, coder: Coder) -> None:
        self.coder = coder
        self.counts: dict[Hashable, list[float]] = {}

    def flag(self, context: Hashable, value: int | None, charge: str) -> int:
        """Pass on one flag under the counts of ``context``, and count it."""
        counts = self.counts.setdefault(context, [0.5, 0.5])
        value = self.coder.flag(counts[1] / (counts[0] + counts[1]), value, charge)
        counts[value] += 1.0
        return value

    def natural(self, value: int | None, charge: str) -> int:
        """Pass on an integer >= 1: number of binary digits in unary, then the digits below the first.

        Up to three digits below the first stand under contexts of their own for every beginning, so that
        small integers have a histogram; longer ones share one context for each place.

        Raises:
            ValueError: 2^62 or more, which only altered bytes can say.
        """
        digits = 0
        while self.flag(("more", digits), None if value is None else value >> (digits + 1) > 0, charge):
            digits += 1
            if digits == MAX_DIGITS:
                raise ValueError("An integer of 2^62 or more cannot be coded; use a coarser step.")
        known = 1
        for place in reversed(range(digits)):
            context = (digits, place, known if digits <= TREE_DIGITS else 0)
            known = 2 * known + self.flag(context, None if value is None else value >> place & 1, charge)
        return known

    def signed(self, value: int | None, charge: str) -> int:
        """Pass on any integer: zero or not, sign, magnitude."""
        if not self.flag("nonzero", None if value is None else value != 0, charge):
            return 0
        return self.nonzero(value, charge)

    def nonzero(self, value: int | None, charge: str) -> int:
        """Pass on an integer that is known not to be zero: sign, magnitude."""
        negative = self.flag("negative", None if value is None else value < 0, charge)
        magnitude = self.natural(None if value is None else abs(value), charge)
        return -magnitude if negative else magnitude

    def grid(self, rows: int, columns: int, values: list[int] | None, mask: str, charge: str) -> list[int]:
        """Pass on ``rows`` x ``columns`` integers, row by row.

        Whether an entry is zero stands under a context: how many of its neighbours to the left and
        above are not zero.
        """
        sent: list[int] = []
        above = [0] * columns
        for row in range(rows):
            left = 0
            for column in range(columns):
                value = None if values is None else values[row * columns + column]
                context = (left, above[column])
                left = self.flag(context, None if value is None else value != 0, mask)
                above[column] = left
                sent.append(self.nonzero(value, charge) if left else 0)
        return sent
