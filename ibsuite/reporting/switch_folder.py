"""The run folder of a switch code: written from finished runs, in bits, and read like any other."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ibsuite import record
from ibsuite.reporting.runs import Run, is_finished, refuse
from ibsuite.reporting.switching import Granularity, switch_runs

SUMS = ("seconds", "optimiser_steps", "samples_seen")
SHARED = ("class_frequency_bits", "empirical_entropy_bits", "uniform_bits")


def write_switch(
    runs: Sequence[Run],
    experiment: Path,
    granularity: Granularity = "label",
    settings_compared: int = 1,
    overwrite: bool = False,
) -> Path:
    """Write ``<experiment>/<seed>-<eight hex digits of what was mixed>``; returns it.

    What the runs cost to train counts as cost of the switch, and edits that one of them was made with
    mark it as well. Its seed is that of the first run.

    Raises:
        Refusal: the runs cannot be mixed, or the switch is there already.
    """
    began = time.monotonic()
    switched = switch_runs(runs, granularity, settings_compared)
    seed = runs[0].seed
    settings = {
        "runs": [f"{run.experiment}/{run.name.removeprefix(f'{run.seed}-')}" for run in runs],
        "granularity": granularity,
        "settings_compared": settings_compared,
    }
    seeds = [run.seed - seed for run in runs]
    text = json.dumps([settings, seeds], sort_keys=True)
    folder = experiment / f"{seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if is_finished(folder) and not overwrite:
        refuse(f"{folder} is finished; read it with `python -m ibsuite.report {folder}`, or give --overwrite")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = {"experiment": experiment.name, "seed_everything": seed, "switch": settings}
    (folder / record.CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
    np.savez_compressed(folder / record.LABELS, **switched.arrays)
    record.write_csv(folder / record.CURVE, switched.fields["parts"])
    first = runs[0].document
    codelength = record.Codelength(
        code="switch",
        data=first["data"],
        **{name: first[name] for name in SHARED},
        **switched.fields,
        cost=_cost(runs, time.monotonic() - began),
        seed=seed,
        **_provenance(runs),
    )
    record.write_codelength(folder, codelength)
    return folder


def _cost(runs: Sequence[Run], seconds: float) -> dict[str, float]:
    costs = [run.document.get("cost", {}) for run in runs]
    total = {key: math.fsum(cost.get(key, 0.0) for cost in costs) for key in SUMS}
    total["seconds"] += seconds
    return {**total, "devices": max(cost.get("devices", 1.0) for cost in costs)}


def _provenance(runs: Sequence[Run]) -> dict[str, Any]:
    found = record.provenance()
    devices = {run.document.get("versions", {}).get("device") for run in runs} - {None}
    if devices:
        found["versions"]["device"] = ", ".join(sorted(devices))
    edited = any(str(run.document.get("git_commit")).endswith("+changes") for run in runs)
    if edited and found["git_commit"] and not found["git_commit"].endswith("+changes"):
        found["git_commit"] += "+changes"
    return found
