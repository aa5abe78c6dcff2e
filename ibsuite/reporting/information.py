"""The information planes of finished runs, and embeddings of their layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ibsuite import record
from ibsuite.reporting.runs import Run, refuse, told_apart

TO_GET_IT = "run it with --trainer.callbacks+=InformationPlane"


def draw_information(runs: Sequence[Run], path: Path) -> Path:
    """Draw the layers of all runs in the information plane, bits.

    Raises:
        Refusal: A run was not watched by an ``InformationPlane``.
    """
    from ibsuite.figures import information_plane_figure

    names = told_apart(runs) if len(runs) > 1 else [""]
    found = {}
    for run, name in zip(runs, names, strict=True):
        file = run.path / record.INFORMATION
        if not file.is_file():
            refuse(f"{run.path} has no {record.INFORMATION}; {TO_GET_IT}")
        found[name] = record.read_csv(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    information_plane_figure(found).savefig(path, dpi=200)
    return path


def draw_embedding(runs: Sequence[Run], path: Path, layer: int = 1) -> Path:
    """Draw the same layer of all runs by t-SNE, side by side, in the order of beta where they have one.

    Args:
        runs: at most so many as fit side by side.
        path: the PNG.
        layer: which layer, 1 for the first.

    Raises:
        Refusal: A run has kept no representations, or not so many layers.
    """
    import numpy as np

    from ibsuite.figures import embedding_figure

    panels, names = {}, told_apart(runs)
    for run, told in sorted(zip(runs, names, strict=True), key=lambda pair: _beta(pair[0]) or 0.0):
        file = run.path / record.EMBEDDING
        if not file.is_file():
            refuse(f"{run.path} has no {record.EMBEDDING}; {TO_GET_IT} --trainer.callbacks.embedding=1000")
        with np.load(file) as arrays:
            layers = [name for name in arrays.files if name.startswith("layer ")]
            if not 1 <= layer <= len(layers):
                refuse(f"{run.path} has kept {len(layers)} layers; --layer counts them from 1")
            kept: dict[str, Any] = {"points": arrays[layers[layer - 1]], "labels": arrays["labels"]}
        beta = _beta(run)
        title = told if beta is None else f"β = {beta:g}"
        panels[f"{title}, {run.name}" if title in panels else title] = kept
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure = embedding_figure(layers[layer - 1].removeprefix("layer "), panels)
    except ValueError as error:
        refuse(str(error))
    figure.savefig(path, dpi=200)
    return path


def _beta(run: Run) -> float | None:
    """The run's ``model.beta``, if its method has one."""
    beta = run.recipe.get("model.init_args.beta")
    return float(beta) if isinstance(beta, int | float) else None
