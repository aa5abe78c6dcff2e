"""The weight stream: trained tensors as bytes, ``weights.bin``, every bit charged to a name.

The receiver knows the architecture: names of all tensors, their order and their shapes. Everything
else is in the bytes::

    weights.bin = length ─ payload ─ check
    length      bytes of payload and check together, unsigned LEB128 (7 bits a byte, least first)
    payload     the output of one range coder (``constriction.stream.queue``, 32-bit words, big endian), cut
                to the shortest bytes that decode the same when zeros stand behind them
    check       CRC-16 (CCITT polynomial, from 0, top bit first) over the architecture's line and the payload,
                big endian; the line is the JSON of [[name, [size, ...]], ...] without spaces, UTF-8

The stream is self-delimiting: ``stream_length`` says where it ends. The payload holds flags, each under a
probability that both sides derive from the flags before it (``Bernoulli(p, perfect=False)``; p is given in
``ibsuite.coding.integers`` and ``ibsuite.coding.mask``), and raw bytes at 8 bits each (``Uniform(256)``). For
each tensor, in order:

1.  its kind, an integer of the model "kind":
    1 step, 2 codebook, 3 integers, 4 float32, 5 float16, 6 bfloat16;
2.  floats (kinds 4 to 6): its values as raw bytes, little endian, row-major, and that is all;
3.  otherwise its integers, row-major: first which of them are zero (``ibsuite.coding.mask``), as a matrix of
    shape[0] rows, one row where there are fewer than two dimensions; then the others, under a fresh model;
4.  step: the difference of the step's bfloat16 bit pattern to that of the step before (0x3D80, 1/16, at
    first), as an integer of the model "step";
5.  codebook: the values of 1, 2, ... up to the greatest integer of the tensor, then those of -1, -2, ... down
    to the least. Each is a float16 whose bit pattern is read as an integer, negative where the sign bit is
    set, and sent as the difference to the value before it on its side, under the model "codebook"; the first
    of a side as the difference to the first of that side in the codebook before (±0x2C00, ±1/16, at first).

Models "kind", "step" and "codebook" live as long as the stream; a tensor's own begins with it.
"""

import json
import math
from binascii import crc_hqx
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Size, Tensor

from ibsuite.coding.integers import IntegerModel
from ibsuite.coding.mask import pass_mask
from ibsuite.coding.stream import Coder, Receiver, Sender
from ibsuite.interface import Message, Quantised

CHARGES = ("weights", "mask", "codebook", "buffers", "framing")
STEP, CODEBOOK, INTEGERS = 1, 2, 3
FLOATS = {4: torch.float32, 5: torch.float16, 6: torch.bfloat16}
Shapes = Mapping[str, tuple[int, ...] | Size]


@dataclass(frozen=True)
class WeightStream:
    """A network as bytes, and what they are for."""

    data: bytes
    """What ``weights.bin`` holds."""
    charges: dict[str, float]
    """Bits by name: ``weights`` (signs and magnitudes, raw floats), ``mask`` (which are zero), ``codebook``
    (kinds, steps, codebooks), ``buffers`` (all of the tensors named as such) and ``framing`` (length, check,
    and what whole bytes add). Their sum is 8 x the number of bytes."""


class _Walk:
    """The one description of the payload: what is asked of the coder, in which order."""

    def __init__(self, coder: Coder, buffers: Collection[str]) -> None:
        self.coder, self.buffers = coder, buffers
        self.kinds, self.steps, self.codebooks = (IntegerModel(coder) for _ in range(3))
        self.step = 0x3D80
        self.first = {1: 0x2C00, -1: -0x2C00}

    def tensor(
        self, name: str, shape: tuple[int, ...], sent: Tensor | Quantised | None
    ) -> Tensor | Quantised:
        """Pass on one tensor; ``sent`` is None for the receiver."""
        in_buffer = name in self.buffers
        header, mask, weights = ("buffers",) * 3 if in_buffer else ("codebook", "mask", "weights")
        kind = self.kinds.natural(None if sent is None else _kind(name, sent), header)
        if kind in FLOATS:
            return self._floats(FLOATS[kind], shape, sent, weights)
        if kind > max(FLOATS):
            raise ValueError(f"The weight stream gives {name!r} an unknown kind, {kind}.")
        symbols = sent.symbols if isinstance(sent, Quantised) else sent
        rows = shape[0] if len(shape) > 1 else 1
        size = Size(shape).numel()
        values = None if symbols is None else symbols.flatten().tolist()
        present = pass_mask(self.coder, rows, size // rows if rows else 0, values, mask)
        model = IntegerModel(self.coder)
        grid = [
            model.nonzero(None if values is None else values[place], weights) if flag else 0
            for place, flag in enumerate(present)
        ]
        integers = torch.tensor(grid, dtype=torch.int64).reshape(shape)
        if kind == INTEGERS:
            return integers
        if kind == STEP:
            change = None
            if isinstance(sent, Quantised):
                change = _pattern(torch.tensor(sent.step, dtype=torch.bfloat16)) - self.step
            self.step += self.steps.signed(change, header)
            return Quantised(integers, float(_float(self.step, torch.bfloat16)))
        book = sent.codebook if isinstance(sent, Quantised) else None
        return Quantised(integers, 1.0, self._codebook(grid, book, header))

    def _floats(
        self, dtype: torch.dtype, shape: tuple[int, ...], sent: Tensor | Quantised | None, charge: str
    ) -> Tensor:
        value = None
        if isinstance(sent, Tensor):
            value = sent.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        data = self.coder.raw(Size(shape).numel() * dtype.itemsize, value, charge)
        if not data:
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)

    def _codebook(self, integers: list[int], sent: Tensor | None, charge: str) -> Tensor:
        low, high = min(0, *integers, 0), max(0, *integers, 0)
        patterns = [0] * (high - low + 1)
        for side, end in ((1, high), (-1, -low)):
            for place in range(1, end + 1):
                at = side * place - low
                before = self.first[side] if place == 1 else patterns[at - side]
                change = None if sent is None else _pattern(sent[at]) - before
                patterns[at] = before + self.codebooks.signed(change, charge)
                if place == 1:
                    self.first[side] = patterns[at]
        return torch.stack([_float(pattern, torch.float16) for pattern in patterns])


def _pattern(value: Tensor) -> int:
    """Bit pattern of a 16-bit float as a signed integer, in the order of the values."""
    bits = int(value.view(torch.int16)) & 0xFFFF
    return bits if bits < 0x8000 else 0x8000 - bits


def _float(pattern: int, dtype: torch.dtype) -> Tensor:
    """The 16-bit float of a bit pattern, a tensor without dimensions."""
    if abs(pattern) >= 0x8000:
        raise ValueError("The weight stream holds a step or a codebook entry that is not a number.")
    bits = pattern if pattern >= 0 else abs(pattern) - 0x8000
    return torch.tensor(bits, dtype=torch.int16).view(dtype)


def _kind(name: str, sent: Tensor | Quantised) -> int:
    """Kind of a tensor, all that can be wrong with it being checked on the way."""
    if isinstance(sent, Tensor):
        if not sent.is_floating_point() and not sent.is_complex():
            return INTEGERS
        for kind, dtype in FLOATS.items():
            if sent.dtype == dtype:
                if not sent.isfinite().all():
                    raise ValueError(f"{name!r} holds a weight that is not finite; it cannot be sent.")
                return kind
        raise ValueError(f"{name!r} is {sent.dtype}; send float32, float16, bfloat16 or integers.")
    symbols, step, codebook = sent
    if symbols.dtype != torch.int64:
        raise ValueError(f"Symbols of {name!r} are {symbols.dtype}; they must be int64.")
    if codebook is None:
        if not 0 < step < math.inf or float(torch.tensor(step, dtype=torch.bfloat16)) != step:
            raise ValueError(f"Step of {name!r} is {step}; it must be a positive bfloat16 number.")
        return STEP
    low, high = (int(symbols.amin()), int(symbols.amax())) if symbols.numel() else (0, 0)
    low, high = min(low, 0), max(high, 0)
    if codebook.dtype != torch.float16 or codebook.shape != (high - low + 1,):
        raise ValueError(
            f"Codebook of {name!r} must hold float16 values of the integers {low} to {high} and no others."
        )
    if not codebook.isfinite().all() or codebook[-low] != 0:
        raise ValueError(f"Codebook of {name!r} must be finite, and 0.0 for the integer 0.")
    return CODEBOOK


def _send(message: Message, buffers: Collection[str]) -> Sender:
    if unknown := sorted(set(buffers) - message.keys()):
        raise ValueError(f"Buffers {', '.join(unknown)} are not in the message.")
    sender = Sender()
    walk = _Walk(sender, buffers)
    for name, sent in message.items():
        walk.tensor(name, (sent if isinstance(sent, Tensor) else sent.symbols).shape, sent)
    return sender


def _charges(sender: Sender) -> dict[str, float]:
    """Bits by name, in units of 2^-20 bit: such numbers add up without rounding."""
    sent = {name: round(bits * 2**20) / 2**20 for name, bits in sender.charges().items()}
    return dict.fromkeys(CHARGES[:-1], 0.0) | sent


def weight_bits(message: Message) -> float:
    """Ideal length of a message, bits: all charges of its stream without ``framing``; makes no bytes."""
    return sum(_charges(_send(message, ())).values())


def _check(shapes: Shapes, payload: bytes) -> bytes:
    line = json.dumps([[name, list(shape)] for name, shape in shapes.items()], separators=(",", ":"))
    return crc_hqx(line.encode() + payload, 0).to_bytes(2, "big")


def encode_weights(message: Message, buffers: Collection[str] = ()) -> WeightStream:
    """A message as bytes.

    Args:
        message: Tensors in the receiver's order; integer tensors other than ``Quantised`` come back as int64.
        buffers: Names of the tensors that are charged under ``buffers``; changes no byte.

    Raises:
        ValueError: A tensor is not finite, of another type, or its codebook or step is not what
            ``Quantised`` says; ``buffers`` names something else.
    """
    sender = _send(message, buffers)
    payload = sender.payload()
    shapes = {
        name: (sent if isinstance(sent, Tensor) else sent.symbols).shape for name, sent in message.items()
    }
    body = payload + _check(shapes, payload)
    length, prefix = len(body), bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    data = bytes([*prefix, length]) + body
    charges = _charges(sender)
    return WeightStream(data, {**charges, "framing": 8.0 * len(data) - sum(charges.values())})


def _span(data: bytes) -> tuple[int, int]:
    """Where the payload begins and where the stream ends; checked against the data."""
    length = 0
    for place, byte in enumerate(data[:9]):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            stop = place + 1 + length
            if length < 2 or stop > len(data):
                break
            return place + 1, stop
    raise ValueError("The weight stream is cut off, or these bytes are not one.")


def stream_length(data: bytes) -> int:
    """Number of bytes of the weight stream with which ``data`` begins.

    Raises:
        ValueError: There are fewer bytes than the stream says.
    """
    return _span(data)[1]


def decode_weights(data: bytes, shapes: Shapes) -> dict[str, Tensor | Quantised]:
    """What ``encode_weights`` was given, exactly.

    Args:
        data: Begins with a weight stream; what stands behind it is not read.
        shapes: Names and shapes of all tensors, in the sender's order.

    Raises:
        ValueError: The bytes are cut off, altered, or of another architecture (told by 16 bits: one
            alteration in 65,536 goes unseen).
    """
    start, stop = _span(data)
    payload = data[start : stop - 2]
    if data[stop - 2 : stop] != _check(shapes, payload):
        raise ValueError("The weight stream was altered, or belongs to another architecture.")
    walk = _Walk(Receiver(payload), ())
    try:
        return {name: walk.tensor(name, tuple(shape), None) for name, shape in shapes.items()}
    except AssertionError:  # how the range coder says that no sender makes such bytes
        raise ValueError("The weight stream holds what no sender has written.") from None
