"""Trained tensors as messages: out of a method, into it, and the shortest of several."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from ibsuite.callbacks.description import Description
from ibsuite.callbacks.offline import OfflineCode, accuracy
from ibsuite.codes import codelength_bits, label_log2_probs
from ibsuite.coding import WeightStream, encode_weights
from ibsuite.interface import Message, PartlySent, Quantised, QuantisedMethod, Refusal


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


def describe_shortest(
    code: OfflineCode,
    trainer: L.Trainer,
    module: L.LightningModule,
    messages: Iterable[tuple[Mapping[str, Any], Message]],
    buffers: Collection[str],
    temperatures: Sequence[float],
    head: WeightStream | None = None,
) -> Description:
    """The shortest two-part description among several messages, bits; the method is left as it says.

    Each message is loaded as a receiver would read it, and the labels are priced under just that. Its
    tensors stand in the order of ``module.state_dict()``.

    Args:
        code: prices.
        trainer: of the run.
        module: takes the messages in turn.
        messages: what each was made with, and the message.
        buffers: names of the tensors that are buffers.
        temperatures: the logits are divided by the best of these; counted as alternatives.
        head: what the receiver has to read before any of the messages.
    """
    head = head or WeightStream(b"", {})
    labels, rows, order = code.sequence.labels, [], list(module.state_dict())
    best_total, best = float("inf"), None
    for settings, given in messages:
        message = {name: given[name] for name in order if name in given}  # as the receiver expects them
        stream = encode_weights(message, buffers=buffers)
        load_weights(module, message)
        logits = code.price(trainer, module, code.sequence)
        priced = {t: codelength_bits(logits, labels, t) for t in temperatures}
        temperature = min(priced, key=priced.__getitem__)
        model_bits, label_bits = 8 * len(head.data + stream.data), priced[temperature]
        found = {"model_bits": model_bits, "label_bits": label_bits, "total_bits": model_bits + label_bits}
        rows.append({**settings, **found, "temperature": temperature, "accuracy": accuracy(logits, labels)})
        if model_bits + label_bits < best_total:
            best_total, best = model_bits + label_bits, (message, stream, logits, temperature, label_bits)
    assert best is not None
    message, stream, logits, temperature, label_bits = best
    load_weights(module, message)
    return Description(
        charges={
            **{name: bits + head.charges.get(name, 0.0) for name, bits in stream.charges.items()},
            "labels": label_bits,
        },
        log2_probs=label_log2_probs(logits, labels, temperature)[None],
        accuracy=accuracy(logits, labels),
        alternatives=len(rows) * len(temperatures),
        temperature=temperature,
        curve=rows,
        weights=head.data + stream.data,
    )


def check_temperatures(temperatures: Sequence[float]) -> list[float]:
    """The temperatures as a list, or a Refusal."""
    if not temperatures or any(t <= 0 for t in temperatures):
        raise Refusal(f"code.temperatures must be positive, got {list(temperatures)}")
    return list(temperatures)
