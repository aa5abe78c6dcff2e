"""One range coder for a whole message: who sends flags and bytes, and who receives them.

A model is written once, as a walk over the message that asks a coder for every flag: the sender is
told the flag and returns it, the receiver is not and finds it in the bytes. Both see the same
probabilities, made by the same lines of code from what has gone before.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

BERNOULLI = constriction.stream.model.Bernoulli
BYTES = constriction.stream.model.Uniform(256)


class Coder(Protocol):
    """What a model needs of either end."""

    def flag(self, probability: float, value: int | None, charge: str) -> int:
        """Pass on a flag that is 1 with ``probability``; ``value`` is None where it is not yet known."""

    def raw(self, count: int, value: bytes | None, charge: str) -> bytes:
        """Pass on ``count`` bytes, 8 bits each."""


class Sender:
    """Notes flags and bytes down, with what they cost; bytes are made at the end, in one go."""

    def __init__(self) -> None:
        self.flags: list[int] = []
        self.probabilities: list[float] = []
        self.names: list[str] = []
        self.raws: list[tuple[int, bytes, str]] = []

    def flag(self, probability: float, value: int | None, charge: str) -> int:
        """Note a flag."""
        assert value is not None
        self.flags.append(value)
        self.probabilities.append(probability)
        self.names.append(charge)
        return value

    def raw(self, count: int, value: bytes | None, charge: str) -> bytes:
        """Note bytes."""
        assert value is not None
        self.raws.append((len(self.flags), value, charge))
        return value

    def charges(self) -> dict[str, float]:
        """Ideal length of what was sent under each name: sum of -log2 p, float64, bits."""
        flags, p = np.array(self.flags, dtype=bool), np.array(self.probabilities)
        bits = -np.log2(np.where(flags, p, 1 - p))
        names, inverse = np.unique(np.array(self.names, dtype=str), return_inverse=True)
        charges: defaultdict[str, float] = defaultdict(float)
        charges.update(zip(names.tolist(), np.bincount(inverse, bits, len(names)).tolist(), strict=True))
        for _, value, charge in self.raws:
            charges[charge] += 8.0 * len(value)
        return dict(charges)

    def _segments(self) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float64] | None]]:
        """Flags with their probabilities, and bytes, in the order in which they were sent."""
        flags, p, start = np.array(self.flags, np.int32), np.array(self.probabilities), 0
        for stop, value, _ in [*self.raws, (len(flags), b"", "")]:
            if stop > start:
                yield flags[start:stop], p[start:stop]
            if value:
                yield np.frombuffer(value, np.uint8).astype(np.int32), None
            start = stop

    def payload(self) -> bytes:
        """The shortest bytes from which a receiver reads what was sent, zeros standing behind them.

        The coder ends in some point of an interval that would do. Cutting that point, or the next one
        above it on the coarser grid, gives a point of the interval as long as there is one so short.
        """
        segments = list(self._segments())
        coder = constriction.stream.queue.RangeEncoder()
        for symbols, p in segments:
            coder.encode(symbols, BYTES) if p is None else coder.encode(symbols, BERNOULLI(perfect=False), p)
        best: bytes = coder.get_compressed().astype(">u4").tobytes()

        def readable(data: bytes) -> bool:
            receiver = Receiver(data)
            try:
                return all(np.array_equal(receiver.read(len(symbols), p), symbols) for symbols, p in segments)
            except AssertionError:  # what the coder raises where no message could go on like this
                return False

        while best:
            cut = best[:-1]
            above = (int.from_bytes(cut, "big") + 1).to_bytes(len(cut) + 1, "big")
            candidates = [cut, above[1:]] if above[0] == 0 else [cut]
            shorter = next((data for data in candidates if readable(data)), None)
            if shorter is None:
                break
            best = shorter
        return best


class Receiver:
    """Finds flags and bytes in what a sender has made."""

    def __init__(self, data: bytes) -> None:
        words = np.frombuffer(data + bytes(12 - len(data) % 4), ">u4").astype(np.uint32)
        self.coder = constriction.stream.queue.RangeDecoder(words)

    def flag(self, probability: float, value: int | None, charge: str) -> int:
        """The next flag."""
        return int(self.coder.decode(BERNOULLI(probability, perfect=False)))

    def raw(self, count: int, value: bytes | None, charge: str) -> bytes:
        """The next bytes."""
        return bytes(self.read(count, None).astype(np.uint8)) if count else b""

    def read(self, count: int, probabilities: NDArray[np.float64] | None) -> NDArray[np.int32]:
        """The next flags under known probabilities, or the next bytes where there are none."""
        if probabilities is None:
            return self.coder.decode(BYTES, count)
        return self.coder.decode(BERNOULLI(perfect=False), probabilities)
