"""What stochastic representations know, read from finished runs: points of the information plane."""

from collections.abc import Mapping, Sequence
from typing import Any

from ibsuite.figures import PlanePoint
from ibsuite.reporting.runs import Run, by_seed

HELD_OUT = ("test", "validation")
"""The first that all runs of an experiment have is what they are told by."""


def bottleneck_numbers(document: Mapping[str, Any]) -> dict[str, float]:
    """Beta, bits a label and errors in percent by their names with unit, ``SPLIT_NAME``.

    Args:
        document: ``bottleneck.json``.
    """
    found = {"beta": document["beta"]}
    for split in ("train", "validation", "test"):
        found |= {f"{split}_{name}": value for name, value in (document[split] or {}).items()}
    return found


def plane_curves(runs: Sequence[Run]) -> dict[str, dict[str, list[list[PlanePoint]]]]:
    """Of every experiment with representations its curves by split: the one trained on, and one held out."""
    experiments: dict[str, list[list[Run]]] = {}
    for group in by_seed([run for run in runs if run.bottleneck is not None]):
        experiments.setdefault(group[0].experiment, []).append(group)
    curves = {}
    for name, groups in experiments.items():
        documents = [[run.bottleneck or {} for run in group] for group in groups]
        known = [s for s in HELD_OUT if all(each[s] for seeds in documents for each in seeds)]
        curves[name] = {
            split: [[_point(each, split) for each in seeds] for seeds in documents]
            for split in ("train", *known[:1])
        }
    return curves


def _point(document: Mapping[str, Any], split: str) -> PlanePoint:
    figures = document[split]
    return PlanePoint(document["beta"], *(figures[name] for name in PlanePoint._fields[1:]))
