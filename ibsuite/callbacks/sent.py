"""Trained tensors out of a module, and into it as a receiver reads them."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from ibsuite.coding import decode_weights, stream_length
from ibsuite.interface import Message, PartlySent, Quantised, QuantisedMethod


class Sent(dict[str, Tensor]):
    """Floating-point parameters and persistent buffers by name, on the CPU; copies.

    Whole numbers (a count of batches seen) decide no prediction and are not sent.
    """

    buffers: frozenset[str]
    """Names of those that are buffers."""


def sent_tensors(module: nn.Module) -> Sent:
    """All that predictions depend on and training has changed."""
    kept = _training_only(module)
    state = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
    sent = Sent(
        {name: value.detach().cpu().clone() for name, value in state.items() if not _within(name, kept)}
    )
    sent.buffers = frozenset(sent) & {name for name, _ in module.named_buffers()}
    return sent


def _training_only(module: nn.Module) -> list[str]:
    """Names of parts that no prediction needs."""
    parts = (each for each in module.named_modules() if isinstance(each[1], PartlySent))
    return [f"{name}.{part}".lstrip(".") for name, each in parts for part in each.training_only]


def _within(name: str, parts: Collection[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """``tensor`` in a format of fewer bits; what is beyond its range takes its greatest number."""
    greatest = torch.finfo(dtype).max
    return tensor.clamp(-greatest, greatest).to(dtype)


@torch.no_grad()
def load_weights(module: nn.Module, message: Message) -> None:
    """Put the tensors of a message, as the receiver reads them, into the module."""
    if isinstance(module, QuantisedMethod):
        module.load_quantised(message)
        return
    state = module.state_dict()
    for name, sent in message.items():
        state[name].copy_(sent.values() if isinstance(sent, Quantised) else sent)


def receive_weights(module: nn.Module, data: bytes) -> None:
    """Read a module's tensors from a weight stream alone; the module is that of its config.

    Raises:
        ValueError: the bytes are cut off, altered, of another network, or more than one stream.
    """
    names = module.quantised() if isinstance(module, QuantisedMethod) else sent_tensors(module)
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items() if name in names}
    message = decode_weights(data, shapes)
    if stream_length(data) != len(data):
        raise ValueError("Bytes stand behind the weight stream.")
    load_weights(module, message)
