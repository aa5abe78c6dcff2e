"""The run folder of one curve: written from a trained run, and read like any other run."""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ibsuite import record
from ibsuite.callbacks.label_message import write_message
from ibsuite.callbacks.result import write_result
from ibsuite.codes import label_log2_probs, log2_probabilities
from ibsuite.coding import integer_probabilities
from ibsuite.interface import LabelSequence, Refusal
from ibsuite.tradeoffs.curve import Curve


def curve_folder(
    source: Path, out: Path, name: str, settings: Mapping[str, Any]
) -> tuple[Path, dict[str, Any]]:
    """``<out>/<experiment>_<name>/<seed>-<eight hex digits of what decides the curve>``, and its config.

    Args:
        source: folder of the trained run, ``<experiment>/<seed>-<digest>``.
        out: folder of all experiments.
        name: method and objective.
        settings: all that decides the curve.

    Raises:
        Refusal: the folder of the run has another name.
    """
    seed, _, digest = source.resolve().name.partition("-")
    if not (seed.isdecimal() and digest):
        raise Refusal(f"{source} is not named <seed>-<digest>, as a run is; give it its old name back")
    trained = source.resolve().parent.name
    experiment = f"{trained}_{name}"
    compress = {"network": f"{trained}/{digest}", **settings}
    text = json.dumps(compress, sort_keys=True)
    folder = out / experiment / f"{seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return folder, {"experiment": experiment, "seed_everything": int(seed), "compress": compress}


def begin_curve(folder: Path, source: Path, config: Mapping[str, Any]) -> None:
    """Make the folder anew, with its config and that of the network, ``source.yaml``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / record.CONFIG).write_text(yaml.safe_dump(dict(config), sort_keys=False))
    shutil.copyfile(source / record.CONFIG, folder / record.SOURCE)


def write_curve(
    folder: Path,
    source: Path,
    curve: Curve,
    data: LabelSequence,
    settings_compared: int,
    seconds: float,
    provenance: Mapping[str, Any],
) -> None:
    """Write the curve, and ``codelength.json`` and ``message/`` of the shortest description.

    Training counts as cost; log2 of how many settings were compared is charged.

    Args:
        folder: begun by ``begin_curve``.
        source: of the trained run.
        curve: what was found.
        data: the labels.
        settings_compared: by the training and by hand, beside those of the curve.
        seconds: that the curve took.
        provenance: command, commit and versions.
    """
    message = write_message(
        folder,
        data,
        "network_compression",
        integer_probabilities(log2_probabilities(curve.logits)),
        provenance,
        config=folder / record.SOURCE,
        weights=curve.stream.data,
    )
    if curve.tuning:
        record.write_csv(folder / record.TUNING, curve.tuning)
    best, n = curve.shortest, data.num_labels
    charges = {**curve.stream.charges, "labels": best["label_bits"]}
    choices = math.log2(curve.alternatives) + math.log2(settings_compared)
    if choices:
        charges["choices"] = choices
    trained = record.read_codelength(source)
    cost = {key: trained["cost"][key] for key in ("optimiser_steps", "samples_seen")}
    log2_probs = label_log2_probs(curve.logits, data.labels)[None].numpy()
    write_result(
        folder,
        data,
        code="network_compression",
        charges=charges,
        parts=[{"start": 0, "stop": n, "bits": best["label_bits"], "bits_per_label": best["label_bits"] / n,
                "accuracy": best["accuracy"], "steps": 0}],
        curve=curve.rows,
        labels={"log2_probs": log2_probs, "names": ["shortest"]},
        model_information_bits=math.fsum(charges.values()) - best["label_bits"],
        test=curve.test,
        cost={**cost, "seconds": trained["cost"]["seconds"] + seconds, "devices": 1.0},
        seed=trained["seed"],
        **message,
        **provenance,
    )  # fmt: skip
