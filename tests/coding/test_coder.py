import itertools

import numpy as np
import pytest

from ibsuite.coding.stream import Receiver, Sender

P = [0.1, 0.5, 0.9, 0.98]


def send(flags: list[int], probabilities: list[float]) -> Sender:
    sender = Sender()
    for flag, p in zip(flags, probabilities, strict=True):
        sender.flag(p, flag, "flags")
    return sender


def test_flags_and_bytes_come_back_in_their_order() -> None:
    rng = np.random.default_rng(0)
    sender, script = Sender(), []
    for _ in range(50):
        if rng.random() < 0.3:
            script.append((len(data := rng.bytes(int(rng.integers(0, 9)))), data))
            sender.raw(*script[-1], "bytes")
        else:
            script.append((p := float(rng.uniform(0.001, 0.999)), int(rng.random() < p)))
            sender.flag(*script[-1], "flags")
    receiver = Receiver(sender.payload())
    for what, value in script:
        if isinstance(value, bytes):
            assert receiver.raw(what, None, "") == value
        else:
            assert receiver.flag(what, None, "") == value


def test_charges_are_minus_log2_of_the_probabilities() -> None:
    sender = send([1, 0, 0], [0.25, 0.5, 0.875])
    sender.raw(3, b"abc", "bytes")
    assert sender.charges() == pytest.approx({"flags": 2 + 1 + 3, "bytes": 24})


@pytest.mark.parametrize("flags", list(itertools.product([0, 1], repeat=4)))
def test_nothing_shorter_would_do(flags: tuple[int, ...]) -> None:
    payload = send(list(flags), P).payload()
    receiver = Receiver(payload)
    assert [receiver.flag(p, None, "") for p in P] == list(flags)
    for length in range(len(payload)):
        for other in itertools.product(range(256), repeat=length):
            receiver = Receiver(bytes(other))
            assert [receiver.flag(p, None, "") for p in P] != list(flags)


@pytest.mark.parametrize("byte", [0x00, 0x7F, 0x80, 0xFF])
@pytest.mark.parametrize("flags", [(), (0,), (1, 1, 0, 0), (0, 1, 1, 1)])
@pytest.mark.parametrize("count", [1, 3, 4, 9, 2000])
def test_long_ends_are_cut_and_carried_where_they_can_be(
    byte: int, flags: tuple[int, ...], count: int
) -> None:
    sender = send(list(flags), P[: len(flags)])
    sender.raw(count, bytes([byte]) * count, "bytes")

    def readable(payload: bytes) -> bool:
        receiver = Receiver(payload)
        try:
            found = [receiver.flag(p, None, "") for p in P[: len(flags)]]
            return found == list(flags) and receiver.raw(count, None, "") == bytes([byte]) * count
        except AssertionError:
            return False

    payload = sender.payload()
    assert readable(payload)
    if payload:
        cut = payload[:-1]
        above = (int.from_bytes(cut, "big") + 1).to_bytes(len(payload), "big")[1:]
        assert not readable(cut)
        assert not readable(above)
    assert len(payload) <= count + 2


def test_bytes_exceed_the_ideal_length_by_little() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0.01, 0.5, 20_000)
    sender = send((rng.random(20_000) < p).astype(int).tolist(), p.tolist())
    ideal = sender.charges()["flags"]
    assert ideal - 1 < 8 * len(sender.payload()) < 1.001 * ideal + 16


def test_nothing_costs_nothing() -> None:
    assert Sender().payload() == b""
