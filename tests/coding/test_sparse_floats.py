"""Pruned floats: which are zero, and the others as they are."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ibsuite.coding import decode_weights, encode_weights
from ibsuite.coding.integers import IntegerModel, pass_nonzeros
from ibsuite.coding.mask import pass_mask
from ibsuite.coding.stream import Sender
from ibsuite.coding.weights import CODEBOOK, _check
from ibsuite.interface import Message, Quantised

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
DRAWS = torch.Generator().manual_seed(0)


def pruned(*shape: int, dtype: torch.dtype = torch.float32, kept: float = 0.2) -> Tensor:
    """A share of ``kept`` entries between 1 and 2 or -1 and -2; the others are zero."""
    draws = torch.rand((3, *shape), generator=DRAWS)
    return ((draws[0] < kept) * (1 + draws[1]) * (draws[2] - 0.5).sign()).to(dtype)


def received(message: dict[str, Tensor]) -> Any:
    data = encode_weights(message).data
    return decode_weights(data, {name: tensor.shape for name, tensor in message.items()})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (3, 0), (50,), (20, 30), (4, 3, 5, 5)])
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.99, 1.0])
def test_they_come_back(dtype: torch.dtype, shape: tuple[int, ...], kept: float) -> None:
    message = {"w": pruned(*shape, dtype=dtype, kept=kept), "after": torch.tensor([1.5])}
    back = received(message)
    for name, sent in message.items():
        assert back[name].dtype == sent.dtype
        assert back[name].shape == sent.shape
        assert torch.equal(back[name], sent)


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_that_is_not_zero_costs_its_format_and_each_that_is_next_to_nothing(dtype: torch.dtype) -> None:
    tensor = pruned(100, 200, dtype=dtype, kept=0.1)
    stream = encode_weights({"w": tensor})
    assert sum(stream.charges.values()) == 8 * len(stream.data)
    assert stream.charges["weights"] == 8 * dtype.itemsize * int((tensor != 0).sum())
    assert 0.45 < stream.charges["mask"] / tensor.numel() < 0.52  # a share of 0.1 has an entropy of 0.47 bits
    zeros = encode_weights({"w": torch.zeros(100, 200, dtype=dtype)})
    assert zeros.charges["weights"] == 0
    assert len(zeros.data) < 50


def test_buffers_are_charged_as_such() -> None:
    message = {"w": pruned(10, 10), "b": pruned(10, 10)}
    plain, named = encode_weights(message), encode_weights(message, ["b"])
    assert plain.data == named.data
    assert sum(named.charges.values()) == 8 * len(named.data)
    assert named.charges["mask"] < plain.charges["mask"]
    assert named.charges["buffers"] > 32 * int((message["b"] != 0).sum())


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_zeros_all_is_as_before(dtype: torch.dtype) -> None:
    tensor = pruned(30, 20, dtype=dtype, kept=1.0)
    stream = encode_weights({"w": tensor})
    assert stream.charges["mask"] == 0
    assert stream.charges["weights"] == 8 * dtype.itemsize * tensor.numel()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 2, 10, 100, 1000, 10_000])
def test_no_tensor_gets_longer_by_its_zeros(dtype: torch.dtype, size: int) -> None:
    """But for the kind itself: two bits for a stream's first number of 8 or 9 more than for 5 or 6."""
    for zeros in {0, 1, 2, size // 100, size // 20, size // 2, size - 1, size} & set(range(size + 1)):
        tensor = torch.ones(size, dtype=dtype)
        tensor[torch.randperm(size, generator=DRAWS)[:zeros]] = 0
        charges = encode_weights({"w": tensor}).charges
        plain = encode_weights({"w": torch.ones_like(tensor)}).charges
        assert charges["mask"] + charges["weights"] <= plain["weights"]
        assert charges["codebook"] <= plain["codebook"] + 2


def test_negative_zeros_come_back_as_zeros() -> None:
    tensor = -pruned(40, 40).abs()
    assert torch.signbit(tensor[tensor == 0]).all()
    back = received({"w": tensor})["w"]
    assert torch.equal(back, tensor)
    assert not torch.signbit(back[back == 0]).any()
    assert encode_weights({"w": tensor}).data == encode_weights({"w": tensor + 0.0}).data


def test_tensors_that_are_trained_or_not_contiguous_can_be_sent() -> None:
    tensor = pruned(12, 20).T.requires_grad_()
    assert torch.equal(received({"w": tensor})["w"], tensor)


ALL_KINDS: dict[str, Tensor | Quantised] = {
    "sparse": pruned(6, 8),
    "half": pruned(5, 5, dtype=torch.float16),
    "brain": pruned(30, dtype=torch.bfloat16),
    "dense": pruned(4, kept=1.0),
    "grid": Quantised(torch.arange(-6, 6).reshape(3, 4) // 2, 0.125),
    "book": Quantised(torch.tensor([[0, 1, 0], [2, 0, -1]]), 1.0, torch.tensor([-1.5, 0.0, 0.5, 1.0]).half()),
    "count": torch.tensor(7),
    "last": pruned(7, 9, kept=0.5),
}


def altered(payload: bytes, rng: np.random.Generator) -> bytes:
    """One of several things that can happen to bytes."""
    place, kind = int(rng.integers(len(payload))), rng.integers(5)
    if kind == 0:
        return payload[:place]
    if kind == 1:
        return payload[:place] + rng.bytes(len(payload) - place)
    if kind == 2:
        return payload[:place] + payload[place + 1 :]
    if kind == 3:
        return payload[:place] + b"\xff" * int(rng.integers(1, 9)) + payload[place + 1 :]
    return payload[:place] + bytes([payload[place] ^ 1 << int(rng.integers(8))]) + payload[place + 1 :]


def test_alterations_are_refused_and_behind_the_check_nothing_else_is_raised() -> None:
    """Those of 600 that differ; the check is then made to fit, and what is read is a message or a refusal."""
    message: Message = ALL_KINDS
    shapes = {
        name: (sent.symbols if isinstance(sent, Quantised) else sent).shape for name, sent in message.items()
    }
    data, rng, refused = encode_weights(message).data, np.random.default_rng(0), 0
    head = 2 if data[0] >= 0x80 else 1
    payload = data[head:-2]
    assert head == 2
    for _ in range(600):
        other = altered(payload, rng)
        if other == payload:
            continue
        length = len(other) + 2
        front = bytes([length & 0x7F | 0x80, length >> 7])
        with pytest.raises(ValueError, match="weight stream"):
            decode_weights(front + other + data[-2:], shapes)
        try:
            found = decode_weights(front + other + _check(shapes, other), shapes)
        except ValueError:
            refused += 1
        else:
            assert {
                name: (t.symbols if isinstance(t, Quantised) else t).shape for name, t in found.items()
            } == shapes
    assert 0 < refused < 600


def test_every_cut_is_refused() -> None:
    data = encode_weights({"w": pruned(6, 8)}).data
    for length in range(len(data)):
        with pytest.raises(ValueError, match="cut off"):
            decode_weights(data[:length], {"w": (6, 8)})


def test_unknown_kinds_are_refused() -> None:
    for kind in (10, 11, 1000):
        sender = Sender()
        IntegerModel(sender).natural(kind, "codebook")
        payload = sender.payload()
        body = payload + _check({"w": (2,)}, payload)
        with pytest.raises(ValueError, match=f"unknown kind, {kind}"):
            decode_weights(bytes([len(body)]) + body, {"w": (2,)})


def test_codebooks_without_end_are_refused_by_both_ends() -> None:
    top = 2**16
    huge = Quantised(torch.tensor([top]), 1.0, torch.zeros(top + 1).half())
    with pytest.raises(ValueError, match="65,536 entries"):
        encode_weights({"w": huge})
    sender = Sender()
    IntegerModel(sender).natural(CODEBOOK, "")
    pass_mask(sender, 1, 1, np.array([True]), "")
    pass_nonzeros(sender, 1, np.array([2**61]), "")
    payload = sender.payload()
    body = payload + _check({"w": (1,)}, payload)
    with pytest.raises(ValueError, match="beyond any codebook"):
        decode_weights(bytes([len(body)]) + body, {"w": (1,)})
