"""An adaptive code for integers: what a tensor's own statistics save, without sending them.

An integer k is taken apart into yes-no questions, in the style of DeepCABAC (Wiedemann et al. 2020,
arXiv 1907.11900): is it not zero (not asked where the mask says so), is it negative, has |k| more than 1, 2,
... binary digits, which are they below the first, from the top. Each question has a context, and each
context two counts: the answer is yes (1) with probability

    p = (n1 + 1/2) / (n0 + n1 + 1),

n0 and n1 counting the answers in that context before (Krichevsky & Trofimov 1981). Sender and receiver
count alike, so that nothing but the answers is sent.
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

        The context of a digit is its place and their number, with up to three of them also the digits
        before it: small integers have a histogram of their own.

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
