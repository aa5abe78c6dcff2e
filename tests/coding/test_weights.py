import hashlib

import numpy as np
import pytest
import torch
from torch import Size, Tensor

from ibsuite.coding import decode_weights, encode_weights, stream_length, weight_bits
from ibsuite.interface import Message, Quantised


def shapes(message: Message) -> dict[str, Size]:
    return {
        name: (sent if isinstance(sent, Tensor) else sent.symbols).shape for name, sent in message.items()
    }


def grid(*symbols: int, shape: tuple[int, ...] | None = None, step: float = 0.125) -> Quantised:
    tensor = torch.tensor(symbols, dtype=torch.int64)
    return Quantised(tensor if shape is None else tensor.reshape(shape), step)


def book(symbols: Tensor, seed: int = 0) -> Quantised:
    low, high = (min(0, int(f(symbols))) if symbols.numel() else 0 for f in (torch.amin, lambda s: -s.amax()))
    values = torch.randn(1 - low - high, generator=torch.Generator().manual_seed(seed)).half().sort().values
    values[-low] = 0
    return Quantised(symbols, 1.0, values)


def assert_same(a: Message, b: Message) -> None:
    assert list(a) == list(b)
    for name in a:
        x, y = a[name], b[name]
        if isinstance(x, Quantised):
            assert isinstance(y, Quantised)
            assert torch.equal(x.symbols, y.symbols)
            assert x.step == y.step
            assert (x.codebook is None) == (y.codebook is None)
            if x.codebook is not None and y.codebook is not None:
                assert torch.equal(x.codebook, y.codebook)
        else:
            assert isinstance(y, Tensor)
            assert x.dtype == y.dtype
            assert torch.equal(x, y)


MIXED: dict[str, Tensor | Quantised] = {
    "raw": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "half": torch.tensor([1.0, -2.0]).half(),
    "grid": grid(0, 1, -1, 0, 0, 7, shape=(2, 3)),
    "brain": torch.tensor(3.0).bfloat16(),
    "book": book(torch.tensor([[0, 1], [2, -1]])),
    "positive": book(torch.tensor([3, 1])),
    "negative": book(torch.tensor([-3, -1]), seed=2),
    "count": torch.tensor(1234),
    "finer": grid(2**31, -(2**31), 1, step=2.0**-20),
    "empty": torch.empty(0, 3),
    "nothing": grid(shape=(0, 3)),
    "no columns": grid(shape=(3, 0)),
    "no entries": book(torch.empty(0, dtype=torch.int64)),
    "zeros": grid(0, 0, 0, 0, shape=(2, 1, 1, 2)),
    "only zero": book(torch.zeros(3, dtype=torch.int64)),
    "scalar": grid(-5, shape=()),
    "coarse": grid(1, step=float(torch.finfo(torch.bfloat16).max)),
    "tiny": grid(1, step=2.0**-130),
}


@pytest.mark.parametrize("name", MIXED)
def test_every_kind_of_tensor_comes_back(name: str) -> None:
    message = {name: MIXED[name]}
    assert_same(message, decode_weights(encode_weights(message).data, shapes(message)))


@pytest.mark.parametrize("message", [MIXED, {}], ids=["mixed", "empty"])
def test_a_message_comes_back_and_its_charges_sum_to_its_size(message: Message) -> None:
    stream = encode_weights(message, buffers=[name for name in ("half", "book") if name in message])
    assert_same(message, decode_weights(stream.data + b"labels", shapes(message)))
    assert stream_length(stream.data + b"labels") == len(stream.data)
    assert set(stream.charges) == {"weights", "mask", "codebook", "buffers", "framing"}
    assert sum(stream.charges.values()) == 8 * len(stream.data)
    assert weight_bits(message) == pytest.approx(8 * len(stream.data) - stream.charges["framing"])
    assert 20 < stream.charges["framing"] < 56


def numbers(count: int, modulus: int) -> list[int]:
    """Numbers that look random, the same everywhere."""
    state, found = 1, []
    for _ in range(count):
        state = (1103515245 * state + 12345) % 2**31
        found.append((state >> 16) % modulus)
    return found


def test_bytes_are_those_of_the_first_version() -> None:
    symbols = torch.tensor([max(0, k - 12) * (-1) ** k for k in numbers(40 * 30, 20)]).reshape(40, 30)
    values = (torch.arange(-7, 7) * 0.125).half()
    message: dict[str, Tensor | Quantised] = {
        "grid": Quantised(symbols, 0.0625),
        "book": Quantised(symbols[:20], 1.0, values),
        "count": torch.tensor([10**k * (-1) ** k for k in range(19)]),
        "coarse": grid(0, 1, -5, step=3.0),
        "raw": torch.tensor([1.0, -2.5, 0.1]),
        "half": torch.tensor([[1.0], [-2.5]]).half(),
        "brain": torch.tensor(3.0).bfloat16(),
    }
    data = encode_weights(message).data
    assert len(data) == 648
    digest = "91a10eedc6eb85efff4b39d25d428a184c904a331234e22915bbb2a9f3a1752f"
    assert hashlib.sha256(data).hexdigest() == digest


@pytest.mark.parametrize("seed", range(20))
def test_random_messages_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    message: dict[str, Tensor | Quantised] = {}
    for name in "abcd":
        shape = tuple(rng.integers(0, 6, rng.integers(0, 5)).tolist())
        symbols = torch.tensor(rng.laplace(0, 10.0 ** rng.integers(-1, 3), shape)).round().long()
        step = float(torch.tensor(10.0 ** rng.uniform(-4, 1)).bfloat16())
        message[name] = book(symbols, seed) if rng.random() < 0.5 else Quantised(symbols, step)
    assert_same(message, decode_weights(encode_weights(message).data, shapes(message)))


def test_buffers_are_charged_as_such_and_change_no_byte() -> None:
    plain, named = encode_weights(MIXED), encode_weights(MIXED, ["half", "grid"])
    assert plain.data == named.data
    assert plain.charges["buffers"] == 0
    assert named.charges["buffers"] > 32
    assert named.charges["weights"] < plain.charges["weights"] - 32


def test_the_length_in_front_has_as_many_bytes_as_it_takes() -> None:
    for size, prefix in ((1, 1), (31, 1), (32, 2), (5000, 3)):
        data = encode_weights({"w": torch.ones(size)}).data
        assert stream_length(data) == len(data)
        assert 4 * size + prefix + 2 <= len(data) <= 4 * size + prefix + 5


def test_independent_integers_cost_their_entropy() -> None:
    symbols = np.random.default_rng(0).laplace(0, 0.7, (40, 250)).round().astype(int)
    counts = np.unique(symbols, return_counts=True)[1] / symbols.size
    entropy = -symbols.size * float((counts * np.log2(counts)).sum())
    charges = encode_weights({"w": grid(*symbols.flatten().tolist(), shape=(40, 250))}).charges
    assert entropy < sum(charges.values()) < 1.01 * entropy


def test_equal_steps_are_sent_once() -> None:
    once = encode_weights({"0": grid(1)}).charges["codebook"]
    often = encode_weights({str(i): grid(1) for i in range(10)}).charges["codebook"]
    assert once < 20
    assert often < once + 10


def test_every_altered_byte_and_every_cut_is_noticed() -> None:
    data = encode_weights(MIXED).data
    rng = np.random.default_rng(0)
    for place in range(len(data)):
        altered = bytearray(data)
        altered[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(ValueError, match="weight stream"):
            decode_weights(bytes(altered), shapes(MIXED))
        with pytest.raises(ValueError, match="cut off"):
            decode_weights(data[:place], shapes(MIXED))
        with pytest.raises(ValueError, match="weight stream"):
            decode_weights(data[:place] + data[place + 1 :], shapes(MIXED))


def test_another_architecture_is_noticed() -> None:
    message = {"a": grid(1, 2, 3, 4, shape=(2, 2)), "b": grid(0, 1)}
    data = encode_weights(message).data
    for foreign in (
        {"a": (4,), "b": (2,)},
        {"b": (2,), "a": (2, 2)},
        {"a": (2, 2)},
        {"a": (2, 2), "c": (2,)},
    ):
        with pytest.raises(ValueError, match="another architecture"):
            decode_weights(data, foreign)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (torch.tensor([1.0, float("nan")]), "not finite"),
        (torch.tensor([1.0, float("inf")]).half(), "not finite"),
        (torch.tensor([1.0], dtype=torch.float64), "float64"),
        (Quantised(torch.tensor([1], dtype=torch.int32), 0.5), "int64"),
        (grid(1, step=0.0), "bfloat16"),
        (grid(1, step=-0.5), "bfloat16"),
        (grid(1, step=float("inf")), "bfloat16"),
        (grid(1, step=0.1), "bfloat16"),
        (Quantised(torch.tensor([1]), 1.0, torch.tensor([0.0, 1.0, 2.0]).half()), "0 to 1"),
        (Quantised(torch.tensor([1]), 1.0, torch.tensor([0.0, 1.0])), "float16"),
        (Quantised(torch.tensor([1]), 1.0, torch.tensor([0.5, 1.0]).half()), "0.0 for the integer 0"),
        (Quantised(torch.tensor([1]), 1.0, torch.tensor([0.0, torch.inf]).half()), "finite"),
    ],
)
def test_what_cannot_be_sent_is_named(sent: Tensor | Quantised, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refusal:
        encode_weights({"fine": torch.ones(1), "layer.weight": sent})
    assert "'layer.weight'" in str(refusal.value)


def test_unknown_buffers_are_named() -> None:
    with pytest.raises(ValueError, match="elsewhere"):
        encode_weights(MIXED, ["half", "elsewhere"])
