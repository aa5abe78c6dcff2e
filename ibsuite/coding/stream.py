"""One range coder for a whole message: who sends flags and bytes, and who receives them.

A model is written once, as a walk over the message that asks a coder for every flag: the sender is
told the flag and returns it, the receiver is not and finds it in the bytes. Both see the same
probabilities, made by the same lines of code from what has gone before. Where there are many flags, the
sender, who knows them all, finds their probabilities at once.
"""

from collections import defaultdict
from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

BERNOULLI = constriction.stream.model.Bernoulli
IMPERFECT = False  # how probabilities become integers: the coder's faster way
FLAGS = BERNOULLI(None, IMPERFECT)
BYTES = constriction.stream.model.Uniform(256)


def shortest_bytes(coder: constriction.stream.queue.RangeEncoder) -> bytes:
    """The shortest bytes from which ``range_decoder`` reads what was encoded, zeros standing behind them.

    The coder ends in some point of an interval, any of which would do. Cutting that point, or the next
    one above it on the coarser grid, gives a point of the interval as long as there is one so short.
    """
    # The interval is told by its width and by the last 64 bits of its lower end, which end two words
    # behind ``position``; the bits before them are those of the point, less a carry.
    position, (lower, width) = coder.pos()
    size = 4 * (position + 2)
    point = int.from_bytes(coder.get_compressed().astype(">u4").tobytes().ljust(size, b"\0"), "big")
    low = point - (point - lower) % 2**64
    for grid in (256**length for length in range(1, 9)):  # the width is less than 2^64
        cut = point // grid * grid
        if cut >= low:
            point = cut
        elif cut + grid < low + width:
            point = cut + grid
        else:
            break
    return point.to_bytes(size, "big").rstrip(b"\0")


def range_decoder(data: bytes) -> constriction.stream.queue.RangeDecoder:
    """A decoder of big-endian bytes with zeros behind them."""
    words = np.frombuffer(data + bytes(12 - len(data) % 4), ">u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)


class Coder(Protocol):
    """What a model needs of either end."""

    def flag(self, probability: float, value: int | None, charge: str) -> int:
        """Pass on a flag that is 1 with ``probability``; ``value`` is None where it is not yet known."""

    def raw(self, count: int, value: bytes | None, charge: str) -> bytes:
        """Pass on ``count`` bytes, 8 bits each."""


class Sender:
    """Notes flags and bytes down, with what they cost; bytes are made at the end, in one go."""

    def __init__(self) -> None:
        self.sent: list[tuple[NDArray[np.int32], NDArray[np.float64] | None, str]] = []

    def flag(self, probability: float, value: int | None, charge: str) -> int:
        """Note a flag."""
        assert value is not None
        self.flags(np.array([probability]), np.array([value], np.int32), charge)
        return value

    def flags(self, probabilities: NDArray[np.float64], values: NDArray[np.int32], charge: str) -> None:
        """Note flags, (n,), each with its probability."""
        self.sent.append((values, probabilities, charge))

    def raw(self, count: int, value: bytes | None, charge: str) -> bytes:
        """Note bytes."""
        assert value is not None
        self.sent.append((np.frombuffer(value, np.uint8).astype(np.int32), None, charge))
        return value

    def charges(self) -> dict[str, float]:
        """Ideal length of what was sent under each name: sum of -log2 p, float64, bits."""
        charges: defaultdict[str, float] = defaultdict(float)
        for values, p, charge in self.sent:
            bits = 8 * len(values) if p is None else -np.log2(np.where(values, p, 1 - p)).sum()
            charges[charge] += float(bits)
        return dict(charges)

    def payload(self) -> bytes:
        """The shortest bytes from which a receiver reads what was sent, zeros standing behind them."""
        coder = constriction.stream.queue.RangeEncoder()
        for values, p, _ in self.sent:
            coder.encode(values, BYTES) if p is None else coder.encode(values, FLAGS, p)
        return shortest_bytes(coder)


class Receiver:
    """Finds flags and bytes in what a sender has made."""

    def __init__(self, data: bytes) -> None:
        self.decode = range_decoder(data).decode

    def flag(self, probability: float, value: int | None, charge: str) -> int:
        """The next flag."""
        return self.decode(BERNOULLI(probability, IMPERFECT))

    def raw(self, count: int, value: bytes | None, charge: str) -> bytes:
        """The next bytes."""
        return self.decode(BYTES, count).astype(np.uint8).tobytes() if count else b""
