"""Writing what a run found into its folder."""

import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch

from ibsuite import record
from ibsuite.codes import class_frequency_bits, empirical_entropy_bits, uniform_bits
from ibsuite.interface import LabelSequence, PreparedInputs


def provenance(device: torch.device) -> dict[str, Any]:
    """Command, commit, versions and device of this process; asked for when a run begins.

    The clone may have moved on by the time that a run ends.
    """
    found = record.provenance()
    cuda = device.type == "cuda"
    found["versions"]["device"] = torch.cuda.get_device_name(device) if cuda else device.type.upper()
    found["versions"]["threads"] = str(torch.get_num_threads())
    return found


def training_cost(trainer: L.Trainer, seconds: float, samples_seen: int) -> dict[str, float]:
    """What a training has taken: seconds, optimiser steps, samples, devices."""
    steps, devices = float(trainer.global_step), float(trainer.world_size)
    return {
        "seconds": seconds,
        "optimiser_steps": steps,
        "samples_seen": float(samples_seen),
        "devices": devices,
    }


def write_result(
    run: Path,
    sequence: LabelSequence,
    *,
    labels: Mapping[str, Any],
    curve: Sequence[Mapping[str, Any]],
    cost: Mapping[str, float],
    **found: Any,
) -> None:
    """Write ``labels.npz``, ``curve.csv``, ``inputs.json`` and, last, ``codelength.json``.

    Args:
        run: the run folder.
        sequence: the labels that were sent.
        labels: arrays of ``labels.npz`` beside the order; ``log2_probs`` is (predictors, n), bits.
        curve: rows of ``curve.csv``.
        cost: seconds, optimiser_steps, samples_seen, devices.
        **found: other fields of ``record.Codelength``.
    """
    n, classes, known = sequence.num_labels, sequence.num_classes, sequence.labels
    arrays: dict[str, Any] = {name: np.asarray(values) for name, values in labels.items()}
    arrays["log2_probs"] = arrays["log2_probs"].astype(np.float32)
    run.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(run / record.LABELS, order=sequence.order.numpy(), **arrays)
    if curve:
        record.write_csv(run / record.CURVE, curve)
    if isinstance(sequence, PreparedInputs):
        names = getattr(sequence, "classes", None)
        names = None if names is None else np.asarray(names).tolist()
        record.write_inputs(run, {"num_classes": classes, "classes": names, **sequence.preparation})
    result = record.Codelength(
        data={
            "name": sequence.name,
            "num_labels": n,
            "num_classes": classes,
            "order_seed": sequence.order_seed,
            "order_sha256": sequence.order_sha256,
            "labels_sha256": sequence.labels_sha256,
        },
        uniform_bits=uniform_bits(n, classes),
        class_frequency_bits=class_frequency_bits(known, classes),
        empirical_entropy_bits=empirical_entropy_bits(known, classes),
        cost={"peak_memory_bytes": peak_memory_bytes(), **cost},
        **found,
    )
    record.write_codelength(run, result)


def peak_memory_bytes() -> float:
    """The most memory that this process has held, on its GPU where it used one."""
    if torch.cuda.is_initialized() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated())
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(kilobytes if sys.platform == "darwin" else kilobytes * 1024)
