"""The sender finds its probabilities at once, the receiver flag by flag: they must be equal, bit for bit."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ibsuite.coding.counts import estimates
from ibsuite.coding.integers import IntegerModel, pass_nonzeros
from ibsuite.coding.mask import pass_mask
from ibsuite.coding.stream import Sender

TOP = 2**62 - 1
RNG = np.random.default_rng(0)


class Told:
    """A receiver that is told what comes next, and notes the probabilities that it is asked under."""

    def __init__(self, sender: Sender) -> None:
        self.flags = iter(np.concatenate([flags for flags, _, _ in sender.sent]).tolist())
        self.probabilities: list[float] = []

    def flag(self, probability: float, value: int | None, charge: str) -> int:
        assert value is None
        self.probabilities.append(probability)
        return next(self.flags)

    def raw(self, count: int, value: bytes | None, charge: str) -> bytes:
        raise AssertionError


def assert_equal_probabilities(sender: Sender, receiver: Told) -> None:
    assert np.array_equal(np.concatenate([p for _, p, _ in sender.sent]), receiver.probabilities)  # type: ignore[arg-type]
    assert not list(receiver.flags)


def sparse(rows: int, columns: int, share: float) -> NDArray[np.bool_]:
    return RNG.random((rows, columns)) < share


MASKS: dict[str, NDArray[np.bool_]] = {
    "a single zero": np.zeros((1, 1), dtype=bool),
    "a single one": np.ones((1, 1), dtype=bool),
    "no rows": np.zeros((0, 3), dtype=bool),
    "no columns": np.zeros((3, 0), dtype=bool),
    "zeros": np.zeros((200, 150), dtype=bool),
    "ones": np.ones((200, 150), dtype=bool),
    "zeros, then ones": np.arange(30_000).reshape(200, 150) >= 15_000,
    "chequers": np.indices((120, 120)).sum(0) % 2 > 0,
    "the last alone": np.arange(20_000).reshape(1, -1) == 19_999,
    "many rows": sparse(10_000, 3, 0.1),
    "one row": sparse(1, 30_000, 0.02),
    "dead units and inputs": sparse(150, 200, 0.5) & sparse(150, 1, 0.5) & sparse(1, 200, 0.3),
    "nearly full": sparse(99, 201, 0.999),
}


@pytest.mark.parametrize("name", MASKS)
def test_of_masks(name: str) -> None:
    x, sender = MASKS[name], Sender()
    pass_mask(sender, *x.shape, x.flatten(), "mask")
    receiver = Told(sender)
    assert np.array_equal(pass_mask(receiver, *x.shape, None, ""), x.flatten())
    assert_equal_probabilities(sender, receiver)


def runs(*pairs: tuple[int, int]) -> list[int]:
    return [value for value, times in pairs for _ in range(times)]


INTEGERS: dict[str, list[int] | NDArray[np.int64]] = {
    "none": [],
    "one": [-1],
    "long runs": runs((1, 4000), (-1, 3000), (7, 2000), (1, 1000)),
    "alternating": [1, -1, 2, -2] * 2000,
    "huge": [TOP, -TOP, 2**61, -(2**61), 1, 2**31, TOP] * 20,
    "all lengths": [
        sign * (2**digits + offset) for digits in range(62) for sign in (1, -1) for offset in (0, 1)
    ],
    "all different": RNG.permutation(2000) + 1,
    "a few": RNG.choice([-3, -2, -1, 1, 2, 3], 20_000, p=[0.1, 0.1, 0.3, 0.3, 0.1, 0.1]),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_of_integers(name: str) -> None:
    values, sender, one_by_one = np.array(INTEGERS[name], dtype=np.int64), Sender(), Sender()
    pass_nonzeros(sender, len(values), values, "weights")
    receiver = Told(sender)
    assert np.array_equal(pass_nonzeros(receiver, len(values), None, ""), values)
    assert_equal_probabilities(sender, receiver)
    model = IntegerModel(one_by_one)
    for value in values.tolist():
        model.nonzero(value, "weights")
    if len(values):
        assert np.array_equal(
            *(np.concatenate([flags for flags, *_ in each.sent]) for each in (sender, one_by_one))
        )


def test_of_counts_whatever_the_contexts() -> None:
    contexts = RNG.choice([0, 3, 4, 32_767], 3000, p=[0.6, 0.3, 0.09, 0.01]).astype(np.int16)
    flags = (RNG.random(3000) < 0.2).astype(np.int32)
    counts, expected = {0: [0, 0], 3: [0, 0], 4: [0, 0], 32_767: [0, 0]}, []
    for context, flag in zip(contexts.tolist(), flags.tolist(), strict=True):
        n0, n1 = counts[context]
        expected.append((n1 + 0.5) / (n0 + n1 + 1))
        counts[context][flag] += 1
    assert np.array_equal(estimates(contexts, flags), expected)


def test_integers_without_end_are_refused() -> None:
    for values in ([1, 2**62], [-(2**62), 1], [-(2**63), 1], np.array([2**64 - 1], dtype=np.uint64)):
        with pytest.raises(ValueError, match="2\\^62"):
            pass_nonzeros(Sender(), len(values), np.asarray(values), "weights")  # type: ignore[arg-type]
