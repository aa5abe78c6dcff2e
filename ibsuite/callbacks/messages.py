"""Trained tensors as messages, and the shortest of several."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import lightning.pytorch as L

from ibsuite.callbacks.description import Description
from ibsuite.callbacks.offline import OfflineCode, accuracy
from ibsuite.callbacks.sent import load_weights
from ibsuite.codes import codelength_bits, label_log2_probs
from ibsuite.coding import WeightStream, encode_weights
from ibsuite.interface import Message, Refusal


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
        logits=logits,
    )


def check_temperatures(temperatures: Sequence[float]) -> list[float]:
    """The temperatures as a list, or a Refusal."""
    if not temperatures or any(t <= 0 for t in temperatures):
        raise Refusal(f"code.temperatures must be positive, got {list(temperatures)}")
    return list(temperatures)
