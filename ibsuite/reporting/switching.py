"""The switch code between model classes: finished runs as predictors of the same labels, in bits.

Each run's own code, a sequential one, is one predictor; the uniform code stands beside them, and the
class frequencies where a run has priced them. Which of them predicts when is mixed over, and thereby
paid for, by the prior of the switch distribution (Blier & Ollivier 2018, Appendix E.1, with the mixture in
place of the best sequence in hindsight).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ibsuite.codes import (
    Mixture,
    block_bits,
    block_mixture,
    free_minimum_bits,
    hindsight_switch_bits,
    switch_distribution,
    uniform_bits,
)
from ibsuite.record import LABELS
from ibsuite.reporting.runs import Run, refuse

Array = NDArray[np.float64]
Granularity = Literal["label", "block"]
SEQUENTIAL = ("prequential", "self_switch", "switch")
"""Codes whose predictors have seen earlier labels only."""
SAME = ("name", "num_labels", "num_classes", "labels_sha256", "order_sha256")


class Switched(NamedTuple):
    """What the switch code over some runs found."""

    fields: dict[str, Any]
    """Fields of ``record.Codelength``: charges, compared, parts, test, model information."""
    arrays: dict[str, Any]
    """Arrays of ``labels.npz``."""


def switch_runs(
    runs: Sequence[Run], granularity: Granularity = "label", settings_compared: int = 1
) -> Switched:
    """The switch code over finished runs, bits.

    The first block, the shortest of the runs', is uniform. What each run was charged for its own choices
    is charged again, since every one of them has to be sent.

    Args:
        runs: prequential and switch runs on the same labels in the same order.
        granularity: whether the predictor may switch at every label, or where all runs begin a block.
        settings_compared: sets of runs and granularities that were tried on these labels.

    Raises:
        Refusal: fewer than two runs, a run of an offline code, or other labels or another order.
    """
    if settings_compared < 1:
        refuse(f"--settings_compared must be at least 1, got {settings_compared}")
    check_same_labels(runs)
    data = runs[0].document["data"]
    n, classes = data["num_labels"], data["num_classes"]
    names, predictors = _predictors(runs, n, classes)
    first = min(run.document["parts"][0]["stop"] for run in runs)
    shared = set.intersection(*({part["start"] for part in run.document["parts"]} for run in runs))
    starts = [first, *sorted(start for start in shared if start > first)]
    relative, priced = [start - first for start in starts], predictors[:, first:]
    by_label, by_block = switch_distribution(priced), switch_over_blocks(priced, relative)
    mixture = by_label if granularity == "label" else by_block
    charges = {"first_block": uniform_bits(first, classes), "labels": mixture.bits}
    choices = math.log2(settings_compared) + math.fsum(
        run.document["charges"].get("choices", 0.0) for run in runs
    )
    if choices:
        charges["choices"] = choices
    fixed = charges["first_block"] + choices
    readings = {
        "switch_mixture_bits": by_label.bits,
        "block_switch_bits": by_block.bits,
        "block_mixture_bits": block_mixture(priced, relative).bits,
        "hindsight_switch_bits": hindsight_switch_bits(priced, relative),
        "free_minimum_bits": free_minimum_bits(priced[: len(runs)], relative),
    }
    compared = {name: fixed + bits for name, bits in readings.items()}
    compared["shortest_run_bits"] = min(run.document["total_bits"] for run in runs)
    final = runs[int(mixture.weights[: len(runs), -1].argmax())].document
    fields = {
        "charges": charges,
        "compared": compared,
        "parts": _parts(runs, names, mixture, [0, *starts, n], classes, choices),
        "model_information_bits": _model_information(final, math.fsum(charges.values())),
        "test": final.get("test"),
    }
    arrays = {
        "log2_probs": predictors.astype(np.float32),
        "names": np.array(names),
        "mixture_log2_probs": np.concatenate([np.full(first, -math.log2(classes)), mixture.log2_probs]),
        "order": _arrays(runs[0], "order"),
        "block_starts": np.array([0, *starts]),
    }
    return Switched(fields, arrays)


def switch_over_blocks(log2_probs: Array, starts: Sequence[int]) -> Mixture:
    """The switch distribution with time counted in blocks, priced label by label, bits.

    Within a block the predictors are mixed by the weights that they have when it begins, so that the
    labels' prices add up to those of the blocks.

    Args:
        log2_probs: (predictors, n).
        starts: first label of each block; starts[0] = 0.
    """
    weights = switch_distribution(-block_bits(log2_probs, starts)).weights
    bounds = pairwise([*starts, log2_probs.shape[1]])
    blocks = [
        block_mixture(log2_probs[:, start:stop], [0], prior)
        for (start, stop), prior in zip(bounds, weights.T, strict=True)
    ]
    return Mixture(
        np.concatenate([block.log2_probs for block in blocks]),
        np.concatenate([block.weights for block in blocks], axis=1),
    )


def check_same_labels(runs: Sequence[Run]) -> None:
    """Refuse runs that cannot predict the same labels one after the other."""
    if len(runs) < 2:
        refuse("a switch needs at least two finished runs; give run folders or folders of runs")
    for run in runs:
        code = run.document["code"]
        if code not in SEQUENTIAL:
            refuse(
                f"{_name(run)} is a {code} code, whose network has seen the labels that it prices; "
                "give prequential, self-switch or switch runs"
            )
        for key in SAME:
            wanted, found = runs[0].document["data"].get(key), run.document["data"].get(key)
            if found is None or found != wanted:
                refuse(
                    f"{_name(run)} and {_name(runs[0])} differ in {key} ({_short(found)}, {_short(wanted)}); "
                    "a switch needs the same labels in the same order"
                )


def _predictors(runs: Sequence[Run], n: int, classes: int) -> tuple[list[str], Array]:
    """Names, and log2-probability of each label under each run's code and the codes without inputs."""
    names, rows = [_name(run) for run in runs], [_own_code(run, n) for run in runs]
    names.append("uniform")
    rows.append(np.full(n, -math.log2(classes)))
    counting = [run for run in runs if "class frequency" in _arrays(run, "names")]
    if counting:  # uniform up to the end of the run's first block, like every run
        run = min(counting, key=lambda run: run.document["parts"][0]["stop"])
        row = list(_arrays(run, "names")).index("class frequency")
        names.append("class frequency")
        rows.append(_arrays(run, "log2_probs")[row].astype(np.float64))
    return names, np.stack(rows)


def _own_code(run: Run, n: int) -> Array:
    log2_probs: Array = _arrays(run, "mixture_log2_probs").astype(np.float64)
    charges = run.document["charges"]
    bits = charges.get("first_block", 0.0) + charges["labels"]
    if log2_probs.shape != (n,) or not math.isclose(-log2_probs.sum(), bits, rel_tol=1e-6):
        refuse(f"{run.path / LABELS} does not add up to what the run was charged; run the experiment again")
    return log2_probs


def _arrays(run: Run, key: str) -> Any:
    try:
        with np.load(run.path / LABELS, allow_pickle=False) as arrays:
            return arrays[key]
    except (OSError, KeyError, ValueError):
        refuse(f"{run.path / LABELS} is missing or holds no {key!r}; run the experiment again")


def _parts(
    runs: Sequence[Run],
    names: Sequence[str],
    mixture: Mixture,
    bounds: Sequence[int],
    classes: int,
    choices: float,
) -> list[dict[str, Any]]:
    """Blocks that all runs share; accuracy is that of the run which weighs most when the block begins."""
    first, cumulative = bounds[1], choices
    rows = []
    for block, (start, stop) in enumerate(pairwise(bounds)):
        uniform, leader, accuracy = uniform_bits(stop - start, classes), "uniform", 1 / classes
        bits = uniform
        if block:
            bits = -float(mixture.log2_probs[start - first : stop - first].sum())
            weights = mixture.weights[:, start - first]
            leader = names[int(weights.argmax())]
            accuracy = _accuracy(runs[int(weights[: len(runs)].argmax())], start, stop)
        cumulative += bits
        rows.append(
            {
                "block": block,
                "start": start,
                "stop": stop,
                "bits": bits,
                "bits_per_label": bits / (stop - start),
                "cumulative_bits": cumulative,
                "uniform_bits": uniform,
                "ratio": cumulative / uniform_bits(stop, classes),
                "accuracy": accuracy,
                "leader": leader,
            }
        )
    return rows


def _accuracy(run: Run, start: int, stop: int) -> float:
    """Of a run on a stretch of labels, from that on its own blocks, of which only its first is cut."""
    overlaps = [
        (max(0, min(stop, part["stop"]) - max(start, part["start"])), part["accuracy"])
        for part in run.document["parts"]
    ]
    return math.fsum(labels * accuracy for labels, accuracy in overlaps) / (stop - start)


def _model_information(final: dict[str, Any], total_bits: float) -> float | None:
    """Total minus the label bits of the final model of the run that weighs most at the end."""
    own = final.get("model_information_bits")
    return None if own is None else total_bits - (final["total_bits"] - own)


def _name(run: Run) -> str:
    return f"{run.experiment}/{run.name}"


def _short(value: Any) -> str:
    return str(value)[:12]
