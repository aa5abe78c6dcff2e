"""Rate, distortion and errors of a stochastic representation along a training and at its end."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from torch import Tensor

from ibsuite import record
from ibsuite.callbacks.pricing import PRICING_BATCH, evaluating, full_float32
from ibsuite.codes import empirical_entropy_bits, log2_probabilities
from ibsuite.interface import LabelledInputs, LabelSequence, StochasticRepresentation

Splits = Mapping[str, Mapping[str, float]]
SHOWN, SIDE = 1000, 160
"""Inputs of which a plane of two dimensions shows the Gaussians, and points along each of its axes."""


def bottleneck_figures(
    trainer: L.Trainer, module: L.LightningModule, data: LabelledInputs, rows: Tensor | None = None
) -> dict[str, float]:
    """Means over labelled inputs, bits a label and errors in percent, the same on every rank.

    I(Z;X) <= rate and I(Z;Y) >= H(Y) - distortion, with the entropy of the labels' own frequencies for H(Y).
    Both are means over a sample; on labels that were not trained on they stand for the population.

    Args:
        trainer: says which rank this is, and adds up over ranks.
        module: the method.
        data: inputs and labels.
        rows: positions of those that count; None: all.

    Returns:
        rate_bits, distortion_bits, mi_zx_upper_bits (the rate), mi_zy_lower_bits, error_one_draw_percent (of
        predictions by one draw of z, on average over the draws), error_percent (of their mean), and
        mi_zx_given_y_upper_bits where the method bounds I(X;Z|Y); nothing where it has no stochastic
        representation.
    """
    if not isinstance(module, StochasticRepresentation):
        return {}
    device, labels = module.device, data.labels
    rows = torch.arange(data.num_labels) if rows is None else rows
    readings = torch.zeros(len(rows), 5, dtype=torch.float64, device=device)
    # Parts of equal size, the same for any number of ranks: inputs may be compared with those beside them.
    parts = torch.arange(len(rows)).tensor_split(-(-len(rows) // PRICING_BATCH))
    with torch.inference_mode(), full_float32(device), evaluating(module):
        for part in parts[trainer.global_rank :: trainer.world_size]:
            some = rows[part]
            reading = module.read_bottleneck(data.inputs(some, device), labels[some].to(device))
            unknown = torch.full_like(reading.rate_bits, math.nan)
            residual = unknown if reading.residual_bits is None else reading.residual_bits
            readings[part] = torch.stack([*reading[:4], residual], 1)
    if trainer.world_size > 1:
        readings = trainer.strategy.reduce(readings, reduce_op="sum")
    rate, distortion, wrong_one_draw, wrong, mi_zx_given_y = readings.cpu().mean(0).tolist()
    entropy = empirical_entropy_bits(labels[rows], data.num_classes) / len(rows)
    found = {
        "rate_bits": rate,
        "distortion_bits": distortion,
        "mi_zx_upper_bits": rate,
        "mi_zy_lower_bits": entropy - distortion,
        "error_one_draw_percent": 100 * wrong_one_draw,
        "error_percent": 100 * wrong,
    }
    return found if math.isnan(mi_zx_given_y) else found | {"mi_zx_given_y_upper_bits": mi_zx_given_y}


def bottleneck_splits(
    trainer: L.Trainer, module: L.LightningModule, sequence: LabelSequence, rows: Tensor
) -> Splits:
    """The figures of the labels trained on, ``train``, and of those held out, ``validation``, if any.

    Args:
        trainer: of the run.
        module: the method.
        sequence: all labels.
        rows: positions of those that are trained on; what is behind them is held out.
    """
    splits = {"train": bottleneck_figures(trainer, module, sequence, rows)}
    if len(rows) < sequence.num_labels:
        held_out = torch.arange(len(rows), sequence.num_labels)
        splits["validation"] = bottleneck_figures(trainer, module, sequence, held_out)
    return splits


def bottleneck_row(splits: Splits) -> dict[str, float]:
    """The figures by their names in a curve and for loggers: ``bottleneck/[SPLIT_]NAME``."""
    return {
        f"bottleneck/{'' if split == 'train' else split + '_'}{name}": value
        for split, figures in splits.items()
        for name, value in figures.items()
    }


def report_bottleneck(
    trainer: L.Trainer,
    module: L.LightningModule,
    sequence: LabelSequence,
    rows: Tensor,
    test: Mapping[str, float],
) -> dict[str, float]:
    """Write ``bottleneck.json`` and ``representation.npz``; the row for loggers, perhaps empty.

    Args:
        trainer: of the run.
        module: the method.
        sequence: all labels.
        rows: positions of those that are trained on.
        test: figures of the test split, where it was read.
    """
    splits = {**bottleneck_splits(trainer, module, sequence, rows), "test": test}
    _write_bottleneck(trainer, module, splits)
    _write_plane(trainer, module, sequence, rows)
    return bottleneck_row(splits)


def _write_bottleneck(trainer: L.Trainer, module: L.LightningModule, splits: Splits) -> None:
    """Write ``bottleneck.json``, where there is a representation."""
    if not isinstance(module, StochasticRepresentation) or not trainer.is_global_zero:
        return
    found = record.Bottleneck(
        beta=module.beta,
        train=dict(splits["train"]),
        validation=dict(splits.get("validation") or {}) or None,
        test=dict(splits.get("test") or {}) or None,
    )
    record.write_bottleneck(Path(trainer.default_root_dir), found)


def _write_plane(
    trainer: L.Trainer, module: L.LightningModule, sequence: LabelSequence, rows: Tensor
) -> None:
    """Write ``representation.npz`` where z has two dimensions: Gaussians of some inputs, entropy of q(y|z).

    Args:
        trainer: of the run.
        module: the method.
        sequence: all labels.
        rows: positions of those that are trained on; inputs behind them are shown, where there are any.
    """
    if not isinstance(module, StochasticRepresentation) or not trainer.is_global_zero:
        return
    held_out = torch.arange(len(rows), sequence.num_labels)
    shown = (held_out if len(held_out) else rows)[:SHOWN]
    with torch.inference_mode(), full_float32(module.device), evaluating(module):
        means, factors = module.encode(sequence.inputs(shown, module.device))
        if means.shape[1] != 2:
            return
        spread = 3 * factors.square().sum(2).sqrt()
        low, high = (means - spread).amin(0), (means + spread).amax(0)
        axes = [torch.linspace(*ends, SIDE, device=means.device) for ends in zip(low, high, strict=True)]
        log2_q = log2_probabilities(module.decode(torch.cartesian_prod(*axes)))
    entropy_bits = -(log2_q.exp2() * log2_q.clamp(min=-1000)).sum(1).view(SIDE, SIDE).T
    arrays = {"means": means, "factors": factors, "x": axes[0], "y": axes[1], "entropy_bits": entropy_bits}
    path = Path(trainer.default_root_dir) / record.REPRESENTATION
    path.parent.mkdir(parents=True, exist_ok=True)
    plain: dict[str, Any] = {name: value.float().cpu().numpy() for name, value in arrays.items()}
    np.savez_compressed(path, labels=sequence.labels[shown].numpy(), **plain)
