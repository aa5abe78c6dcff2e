"""The curve of one objective: what a network keeps of its predictions at every size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ibsuite.callbacks.offline import accuracy
from ibsuite.codes import codelength_bits
from ibsuite.coding import WeightStream, encode_weights
from ibsuite.interface import LabelledInputs, Refusal
from ibsuite.tradeoffs.network import DAMPED, UNSCALED, TrainedNetwork
from ibsuite.tradeoffs.points import Setting, message, sizes
from ibsuite.tradeoffs.readings import reading
from ibsuite.tradeoffs.retrain import Retraining

Row = dict[str, Any]


@dataclass
class Curve:
    """What was found along the settings of one objective, and the shortest description among them."""

    rows: list[Row] = field(default_factory=list)
    """One a setting: sizes, lengths in bits, readings on every split."""
    tuning: list[Row] = field(default_factory=list)
    """Readings on held-out labels for every temperature and damping that was tried."""
    alternatives: int = 1
    """How many descriptions the shortest was chosen from."""
    shortest: Row = field(default_factory=dict)
    stream: WeightStream = field(default_factory=lambda: WeightStream(b"", {}))
    """The network of that row as bytes."""
    logits: Tensor = field(default_factory=lambda: torch.empty(0))
    """Of every label under it, (n, K)."""
    test: dict[str, float] | None = None
    """Its accuracy and summed cross entropy, nll_bits, on the test split."""


def trace(
    network: TrainedNetwork,
    objective: str,
    settings: Sequence[Setting],
    temperatures: Sequence[float],
    mus: Sequence[float],
    retraining: Retraining,
    test: LabelledInputs | None,
    tell: Callable[[Row], None],
) -> Curve:
    """The curve of ``objective`` over ``settings``.

    Temperature and damping of the importance are chosen for every setting by the cross entropy of the
    held-out labels alone; test inputs are read once for each setting, by the network that was chosen.

    Args:
        network: to be compressed; it is as before afterwards.
        objective: its name.
        settings: at least one.
        temperatures: T of the softmax behind the importance that are tried.
        mus: dampings of the curvature that are tried, see ``importance``.
        retraining: of every network that was chosen, before it is read; with ``epochs`` = 0, none.
        test: inputs for published figures; None: none.
        tell: is given every row of the curve as soon as it is known.

    Raises:
        Refusal: there is something to choose, and no held-out labels to choose by.
    """
    tried = list(
        product([1.0] if objective in UNSCALED else temperatures, mus if objective in DAMPED else [0.0])
    )
    if len(tried) > 1 and not network.held_out:
        raise Refusal(
            f"{len(tried)} temperatures and dampings of {objective}, and no held-out labels to choose by: "
            "train with code.validation_labels, or give one of --temperatures and one of --mus"
        )
    labels, held_out = network.data.labels, network.data.num_labels - network.held_out
    original = network.logits(network.data)
    original_test = None if test is None else network.logits(test)
    curve = Curve(alternatives=len(settings) * len(tried))
    least = float("inf")
    for setting in settings:
        chosen, tuning = _chosen(network, objective, setting, tried, original[held_out:])
        curve.tuning += tuning
        sent = chosen.pop("message")
        if retraining.epochs:
            trained_on = torch.arange(held_out)
            sent = retraining(network.method, network.data, trained_on, sent, network.seed)
        stream, logits = encode_weights(sent, network.trained.buffers), network.logits(network.data, sent)
        model_bits, label_bits = 8 * len(stream.data), codelength_bits(logits, labels)
        row = {**setting, **chosen, **sizes(sent, network.weights), "model_bits": model_bits}
        row |= {"label_bits": label_bits, "total_bits": model_bits + label_bits}
        row["accuracy"] = accuracy(logits, labels)
        parts = {"train": slice(held_out), "validation": slice(held_out, None)}
        for name, part in parts.items():
            if len(labels[part]):
                row |= _named(name, reading(logits[part], original[part], labels[part]))
        if test is not None and original_test is not None:
            row |= _named("test", reading(network.logits(test, sent), original_test, test.labels))
        curve.rows.append(row)
        tell(row)
        if row["total_bits"] < least:
            least, curve.shortest, curve.stream = row["total_bits"], row, stream
            curve.logits = logits
            if test is not None:
                nll_bits = row["test_nll_bits"] * test.num_labels
                curve.test = {"accuracy": row["test_accuracy"], "nll_bits": nll_bits}
    network.restore()
    return curve


def _chosen(
    network: TrainedNetwork,
    objective: str,
    setting: Setting,
    tried: Sequence[tuple[float, float]],
    original: Tensor,
) -> tuple[Row, list[Row]]:
    """The choice of least cross entropy on held-out labels, and its message; and all that were tried."""
    rows = torch.arange(network.data.num_labels)[-network.held_out :]
    best, tuning, least = {}, [], float("inf")
    for temperature, mu in tried:
        sent = message(network, network.objective(objective, temperature, mu), setting)
        row = {"temperature": temperature, "mu": mu}
        if len(tried) > 1:
            logits = network.logits(network.data, sent, rows)
            read = reading(logits, original, network.data.labels[rows])
            tuning.append({**setting, **row, **_named("validation", read)})
            if read["nll_bits"] >= least:
                continue
            least = read["nll_bits"]
        best = {**row, **network.probing(objective, temperature), "message": sent}
    return best, tuning


def _named(split: str, read: dict[str, float]) -> dict[str, float]:
    return {f"{split}_{name}": value for name, value in read.items()}
