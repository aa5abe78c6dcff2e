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

1.  its kind, an integer of the model "kind": 1 step, 2 codebook, 3 integers, 4 float32, 5 float16,
    6 bfloat16, 7 sparse float32, 8 sparse float16, 9 sparse bfloat16;
2.  floats (kinds 4 to 6): its values as raw bytes, little endian, row-major, and that is all;
3.  otherwise which of its entries are zero (``ibsuite.coding.mask``), as a matrix of shape[0] rows, one row
    where there are fewer than two dimensions;
4.  sparse floats (kinds 7 to 9): the others as raw bytes, as in 2, and that is all;
5.  otherwise the others, row-major, as integers under a fresh model;
6.  step: the difference of the step's bfloat16 bit pattern to that of the step before (0x3D80, 1/16, at
    first), as an integer of the model "step";
7.  codebook, of 65,536 entries at most: the values of 1, 2, ... up to the greatest integer of the tensor,
    then those of -1, -2, ... down to the least. Each is a float16 whose bit pattern is read as an integer,
    negative where the sign bit is set, and sent as the difference to the value before it on its side, under
    the model "codebook"; the first of a side as the difference to the first of that side in the codebook
    before (±0x2C00, ±1/16, at first).

Models "kind", "step" and "codebook" live as long as the stream; a tensor's own begins with it.

Floats are sent as sparse where mask and others are certainly shorter than all of them. Zeros are what
equals 0.0: -0.0, which a mask leaves where a weight was negative, comes back as 0.0 then.
"""

import json
import math
from binascii import crc_hqx
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Size, Tensor

from ibsuite.coding.integers import IntegerModel, pass_nonzeros
from ibsuite.coding.mask import mask_bits_at_most, pass_mask
from ibsuite.coding.stream import Coder, Receiver, Sender
from ibsuite.interface import Message, Quantised

CHARGES = ("weights", "mask", "codebook", "buffers", "framing")
STEP, CODEBOOK, INTEGERS = 1, 2, 3
FLOATS = {4: torch.float32, 5: torch.float16, 6: torch.bfloat16}
SPARSE = 3  # what the kind of sparse floats has on top of that of floats
MAX_CODEBOOK = 2**16  # as many as there are float16 numbers
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
        if kind > max(FLOATS) + SPARSE:
            raise ValueError(f"The weight stream gives {name!r} an unknown kind, {kind}.")
        entries = sent.symbols if isinstance(sent, Quantised) else sent
        size = Size(shape).numel()
        present = np.ones(size, dtype=bool)
        if kind not in FLOATS:
            rows = shape[0] if len(shape) > 1 else 1
            nonzero = None if entries is None else (entries != 0).cpu().numpy().flatten()
            present = pass_mask(self.coder, rows, size // rows if rows else 0, nonzero, mask)
        others = None if entries is None else entries.detach().cpu().flatten()[torch.from_numpy(present)]
        if dtype := FLOATS.get(kind) or FLOATS.get(kind - SPARSE):
            return self._floats(dtype, present, others, weights).reshape(shape)
        grid = np.zeros(size, dtype=np.int64)
        values = None if others is None else others.numpy()
        grid[present] = pass_nonzeros(self.coder, int(present.sum()), values, weights)
        integers = torch.from_numpy(grid).reshape(shape)
        if kind == INTEGERS:
            return integers
        if kind == STEP:
            change = None
            if isinstance(sent, Quantised):
                change = _patterns(torch.tensor([sent.step], dtype=torch.bfloat16))[0] - self.step
            self.step += self.steps.signed(change, header)
            return Quantised(integers, float(_from_patterns([self.step], torch.bfloat16)))
        book = sent.codebook if isinstance(sent, Quantised) else None
        return Quantised(integers, 1.0, self._codebook(name, grid, book, header))

    def _floats(
        self, dtype: torch.dtype, present: NDArray[np.bool_], sent: Tensor | None, charge: str
    ) -> Tensor:
        """Pass on floats, zeros where none is ``present``."""
        value = None if sent is None else sent.view(torch.uint8).numpy().tobytes()
        data = self.coder.raw(int(present.sum()) * dtype.itemsize, value, charge)
        tensor = torch.zeros(len(present), dtype=dtype)
        if data:
            tensor[torch.from_numpy(present)] = torch.frombuffer(bytearray(data), dtype=dtype)
        return tensor

    def _codebook(self, name: str, integers: NDArray[np.int64], sent: Tensor | None, charge: str) -> Tensor:
        low, high = int(integers.min(initial=0)), int(integers.max(initial=0))
        if high - low >= MAX_CODEBOOK:
            raise ValueError(f"The weight stream holds an integer of {name!r} beyond any codebook.")
        patterns, values = [0] * (high - low + 1), None if sent is None else _patterns(sent)
        for side, end in ((1, high), (-1, -low)):
            for place in range(1, end + 1):
                at = side * place - low
                before = self.first[side] if place == 1 else patterns[at - side]
                change = None if values is None else values[at] - before
                patterns[at] = before + self.codebooks.signed(change, charge)
                if place == 1:
                    self.first[side] = patterns[at]
        return _from_patterns(patterns, torch.float16)


def _patterns(values: Tensor) -> list[int]:
    """Bit patterns of 16-bit floats, (n,), as signed integers, in the order of the values."""
    bits = values.cpu().view(torch.int16).numpy().astype(np.int64)
    return np.where(bits >= 0, bits, -0x8000 - bits).tolist()


def _from_patterns(patterns: list[int], dtype: torch.dtype) -> Tensor:
    """The 16-bit floats of bit patterns, (n,)."""
    if max(map(abs, patterns)) >= 0x8000:
        raise ValueError("The weight stream holds a step or a codebook entry that is not a number.")
    bits = [pattern if pattern >= 0 else -0x8000 - pattern for pattern in patterns]
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
                zeros, size = int((sent == 0).sum()), sent.numel()
                sparse = mask_bits_at_most(zeros, size) < 8 * dtype.itemsize * zeros
                return kind + SPARSE if sparse else kind
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
    if high - low >= MAX_CODEBOOK:
        raise ValueError(f"Codebook of {name!r} has more than {MAX_CODEBOOK:,} entries; use a step.")
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
    """What ``encode_weights`` was given, every number equal to what it was.

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
