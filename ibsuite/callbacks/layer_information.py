"""What is known of a layer while it is trained: I(Y; L) and I(X; L + noise), on two samples."""

import math
from collections.abc import Sequence

import lightning.pytorch as L
import torch
from torch import Tensor

from ibsuite.callbacks.pricing import evaluating, full_float32
from ibsuite.information import DonskerVaradhan, Estimate, kernel_bounds, read_scores
from ibsuite.interface import LabelSequence, LayerReading, Refusal, TrainedLayerByLayer
from ibsuite.units import nats_to_bits

INPUTS = 1000
"""Looked at of each sample, at most."""


def layer_row(module: L.LightningModule, sequence: LabelSequence, rows: Tensor) -> dict[str, float]:
    """Figures of the layer that was trained last, by their names for a curve and loggers; perhaps none.

    Every rank computes all of them.

    Args:
        module: the method.
        sequence: all labels.
        rows: positions of those that are trained on; what is behind them is held out.

    Raises:
        Refusal: a value is not finite.
    """
    if not isinstance(module, TrainedLayerByLayer):
        return {}
    samples = [rows[:INPUTS], torch.arange(len(rows), sequence.num_labels)[:INPUTS]]
    held_out = len(samples[1]) >= 2
    with full_float32(module.device), evaluating(module):
        readings = [_read(module, sequence, sample) for sample in samples[: 1 + held_out]]
    last = readings[-1]
    if last is None:
        return {}
    known = [reading for reading in readings if reading is not None]
    found = {"layer": float(last.layer)}
    # All pairs, as in training: with a label's own among them the value never exceeds the sample's H(Y).
    of_labels = [_all_pairs_bits(reading.label_scores) for reading in known]
    found |= {"mi_yl_train_bits": of_labels[0]} | ({"mi_yl_bits": of_labels[1]} if held_out else {})
    of_inputs = [reading.input_scores for reading in known]
    if all(each is not None for each in of_inputs):
        found |= _fields("mi_xl", _estimate([each for each in of_inputs if each is not None]), held_out)
    if wrong := [name for name, value in found.items() if not math.isfinite(value)]:
        raise Refusal(
            f"{wrong[0]} of layer {last.layer} is not finite: lower the rate of model.critic_optimizer"
        )
    bounds = kernel_bounds(last.outputs, last.noise_std)
    found |= {"mi_xl_kernel_lower_bits": bounds.lower_bits, "mi_xl_kernel_upper_bits": bounds.upper_bits}
    return {f"information/{name}": value for name, value in found.items()}


def _read(module: TrainedLayerByLayer, sequence: LabelSequence, rows: Tensor) -> LayerReading | None:
    assert isinstance(module, L.LightningModule)
    labels = sequence.labels[rows].to(module.device)
    return module.read_layer(sequence.inputs(rows, module.device), labels)


def _all_pairs_bits(scores: Tensor) -> float:
    """Donsker-Varadhan value of every input with every label, bits."""
    return nats_to_bits(DonskerVaradhan()(scores.diagonal(), scores).value)


def _estimate(matrices: Sequence[Tensor]) -> Estimate:
    return read_scores(DonskerVaradhan(), [matrices[0], matrices[-1]])


def _fields(name: str, estimate: Estimate, held_out: bool) -> dict[str, float]:
    found = {f"{name}_train_bits": estimate.train_bits}
    return found | {estimate.field(name): estimate.heldout_bits} if held_out else found
