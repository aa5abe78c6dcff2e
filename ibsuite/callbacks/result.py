"""Writing what a prequential run found into its folder."""

import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ibsuite import record
from ibsuite.callbacks.predictions import Predictions
from ibsuite.codes import class_frequency_bits, empirical_entropy_bits, uniform_bits


def provenance(device: torch.device) -> dict[str, Any]:
    """Command, commit, versions and device of this process; asked for when a run begins.

    The clone may have moved on by the time that a run ends.
    """
    found = record.provenance()
    cuda = device.type == "cuda"
    found["versions"]["device"] = torch.cuda.get_device_name(device) if cuda else device.type.upper()
    found["versions"]["threads"] = str(torch.get_num_threads())
    return found


def write_result(
    run: Path, predictions: Predictions, cost: dict[str, float], seed: int, provenance: dict[str, Any]
) -> None:
    """Write ``labels.npz``, ``curve.csv`` and, last, ``codelength.json``."""
    sequence, n = predictions.sequence, predictions.sequence.num_labels
    _write_labels(run / record.LABELS, predictions)
    record.write_csv(run / record.CURVE, predictions.rows)
    result = record.Codelength(
        code="prequential" if predictions.mixture_name is None else "self_switch",
        data={
            "name": sequence.name,
            "num_labels": n,
            "num_classes": sequence.num_classes,
            "order_seed": sequence.order_seed,
            "order_sha256": sequence.order_sha256,
            "labels_sha256": sequence.labels_sha256,
        },
        uniform_bits=uniform_bits(n, sequence.num_classes),
        class_frequency_bits=class_frequency_bits(sequence.labels, sequence.num_classes),
        empirical_entropy_bits=empirical_entropy_bits(sequence.labels, sequence.num_classes),
        charges=predictions.charges,
        compared=predictions.compared(),
        parts=predictions.rows,
        test=predictions.test,
        cost={**cost, "peak_memory_bytes": _peak_memory_bytes()},
        seed=seed,
        **provenance,
    )
    if predictions.final_label_bits is not None:
        result.model_information_bits = result.total_bits - predictions.final_label_bits
    record.write_codelength(run, result)


def _write_labels(path: Path, predictions: Predictions) -> None:
    """Every predictor's log2-probability of every label, so that runs can be mixed later."""
    first = np.full((len(predictions.names), predictions.first), -np.log2(predictions.num_classes))
    mixed = np.concatenate([first[0], predictions.mixture().log2_probs])
    np.savez_compressed(
        path,
        log2_probs=np.concatenate([first, predictions.log2_probs], axis=1).astype(np.float32),
        names=np.array(predictions.names),
        mixture_log2_probs=mixed,
        order=predictions.sequence.order.numpy(),
        block_starts=np.array([row["start"] for row in predictions.rows]),
        model_sha256=np.array(predictions.model_hashes),
    )


def _peak_memory_bytes() -> float:
    if torch.cuda.is_initialized() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated())
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(kilobytes if sys.platform == "darwin" else kilobytes * 1024)
