"""What is known of a layer while it is trained: I(Y; L) and I(X; L + noise), on two samples."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from ibsuite.callbacks.pricing import evaluating, full_float32
from ibsuite.codes import empirical_entropy_bits
from ibsuite.information import DonskerVaradhan, Estimate, kernel_bounds, read_scores
from ibsuite.interface import LabelSequence, LayerReading, Refusal, TrainedLayerByLayer

INPUTS = 1000
"""Looked at of each sample, at most."""
EXCESS = "information/mi_yl_excess_standard_errors"
WINDOW = 3
"""Looks in a row at which a held-out I(Y; L) has to be impossible for the run to stop."""


def layer_row(module: L.LightningModule, sequence: LabelSequence, rows: Tensor) -> dict[str, float]:
    """Figures of the layer that was trained last, by their names for a curve and loggers; perhaps none.

    Every rank computes all of them.

    Args:
        module: the method.
        sequence: all labels.
        rows: positions of those that are trained on; what is behind them is held out.
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
    of_labels = _estimate([reading.label_scores for reading in known])
    found |= _fields("mi_yl", of_labels, held_out)
    if held_out:
        labels = sequence.labels[samples[1]]
        entropy_bits = empirical_entropy_bits(labels, sequence.num_classes) / len(labels)
        error = max(of_labels.standard_error_bits or 0.0, 1e-9)
        found["mi_yl_excess_standard_errors"] = (of_labels.heldout_bits - entropy_bits) / error
    of_inputs = [reading.input_scores for reading in known]
    if all(each is not None for each in of_inputs):
        found |= _fields("mi_xl", _estimate([each for each in of_inputs if each is not None]), held_out)
    bounds = kernel_bounds(last.outputs, last.noise_std)
    found |= {"mi_xl_kernel_lower_bits": bounds.lower_bits, "mi_xl_kernel_upper_bits": bounds.upper_bits}
    return {f"information/{name}": value for name, value in found.items()}


def check_information(curve: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to go on where a critic has left the possible, look after look.

    Raises:
        Refusal: held-out I(Y; L) of one layer was above H(Y) by three standard errors in each of the last
            rows of the curve.
    """
    last = curve[-WINDOW:]
    layers = {row.get("information/layer") for row in last}
    if len(last) == WINDOW and len(layers) == 1 and all(row.get(EXCESS, 0.0) > 3 for row in last):
        raise Refusal(
            f"at layer {layers.pop():.0f} the held-out I(Y; L) was above H(Y) by more than three standard "
            f"errors {WINDOW} times in a row, which cannot be: lower the learning rate of "
            "model.critic_optimizer, or take a smaller model.label_hidden"
        )


def _read(module: TrainedLayerByLayer, sequence: LabelSequence, rows: Tensor) -> LayerReading | None:
    assert isinstance(module, L.LightningModule)
    labels = sequence.labels[rows].to(module.device)
    return module.read_layer(sequence.inputs(rows, module.device), labels)


def _estimate(matrices: Sequence[Tensor]) -> Estimate:
    return read_scores(DonskerVaradhan(), [matrices[0], matrices[-1]])


def _fields(name: str, estimate: Estimate, held_out: bool) -> dict[str, float]:
    found = {f"{name}_train_bits": estimate.train_bits}
    return found | {estimate.field(name): estimate.heldout_bits} if held_out else found
