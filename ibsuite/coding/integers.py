"""An adaptive code for integers: what a tensor's own statistics save, without sending them.

An integer k is taken apart into yes-no questions, in the style of DeepCABAC (Wiedemann et al. 2020,
arXiv 1907.11900): is it not zero (not asked where the mask says so), is it negative, has |k| more than 1, 2,
... binary digits, which are they below the first, from the top. Each question has a context, under
whose counts (``ibsuite.coding.counts``) the answer is passed on, yes being 1. Sender and receiver count
alike, so that nothing but the answers is sent.
"""

from collections import defaultdict
from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from ibsuite.coding.counts import estimate, estimates
from ibsuite.coding.stream import Coder, Sender

MAX_DIGITS = 62
TREE_DIGITS = 3


class IntegerModel:
    """Adaptive questions about integers, to be asked through a coder."""

    def __init__(self, coder: Coder) -> None:
        self.coder = coder
        self.counts: defaultdict[Hashable, list[int]] = defaultdict(lambda: [0, 0])

    def flag(self, context: Hashable, value: int | None, charge: str) -> int:
        """Pass on one flag under the counts of ``context``, and count it."""
        counts = self.counts[context]
        flag = self.coder.flag(estimate(*counts), value, charge)
        counts[flag] += 1
        return flag

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


class _Script(IntegerModel):
    """Notes questions and answers, instead of passing answers on."""

    def __init__(self) -> None:
        self.numbers: dict[Hashable, int] = {}
        self.contexts: list[int] = []
        self.answers: list[int] = []

    def flag(self, context: Hashable, value: int | None, charge: str) -> int:
        """Note one flag."""
        assert value is not None
        self.contexts.append(self.numbers.setdefault(context, len(self.numbers)))
        self.answers.append(value)
        return value


def pass_nonzeros(
    coder: Coder, count: int, values: NDArray[np.int64] | None, charge: str
) -> NDArray[np.int64]:
    """Pass on integers that are known not to be zero, under a fresh model.

    The sender asks the questions once for every value that occurs, and repeats the answers.

    Args:
        coder: either end.
        count: number of integers.
        values: the integers, (count,), or None for the receiver.
        charge: what the flags are charged to.
    """
    if values is None:
        model = IntegerModel(coder)
        return np.array([model.nonzero(None, charge) for _ in range(count)], dtype=np.int64)
    assert isinstance(coder, Sender)
    script, ends = _Script(), [0]
    distinct, which = np.unique(values, return_inverse=True)
    for value in distinct.tolist():
        script.nonzero(value, charge)
        ends.append(len(script.answers))
    sizes = np.diff(ends)[which]
    skipped = np.array(ends)[which] - (np.cumsum(sizes) - sizes)
    places = np.arange(sizes.sum()) + np.repeat(skipped, sizes)
    contexts = np.array(script.contexts, dtype=np.int16)[places]
    answers = np.array(script.answers, dtype=np.int32)[places]
    coder.flags(estimates(contexts, answers), answers, charge)
    return values
