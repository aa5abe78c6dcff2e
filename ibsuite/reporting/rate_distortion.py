"""Curves of compressed networks read back: tables of what is left of their predictions, and figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from ibsuite import record
from ibsuite.reporting.runs import Run, refuse
from ibsuite.reporting.table import plain_table

Rows = list[dict[str, Any]]
Curves = dict[str, dict[str, list[Rows]]]
"""By method and objective, the rows of every seed."""
SETTINGS = ("kept", "clusters", "step")
PUBLISHED = ("accuracy", "top5_accuracy", "nll_bits", "loss_distortion", "kl_bits")
"""Readings that go into a published result."""
SHOWN = {"accuracy": ("accuracy, %", 100.0, 2, max), "nll_bits": ("cross entropy, bits a label", 1.0, 4, min)}
"""Readings that are printed: what they are, factor, digits, and which of several is best."""


def networks(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of ``python -m ibsuite.compress`` by the experiment that has trained their networks.

    Where an experiment has trained with several settings, its name is followed by their digest.
    """
    digests: dict[str, dict[str, list[Run]]] = {}
    for run in runs:
        if "compress.network" in run.recipe:
            experiment, _, digest = str(run.recipe["compress.network"]).partition("/")
            digests.setdefault(experiment, {}).setdefault(digest, []).append(run)
    return {
        experiment if len(several) == 1 else f"{experiment}/{digest}": members
        for experiment, several in digests.items()
        for digest, members in several.items()
    }


def curves(runs: Sequence[Run], file: str = record.CURVE) -> Curves:
    """The curves of some runs of one network; those that differ in the seed alone are seeds of one curve.

    Args:
        runs: of ``python -m ibsuite.compress``.
        file: ``curve.csv``, or ``tuning.csv``: runs in which nothing was tuned are left out.

    Raises:
        Refusal: two runs of one method and objective were made with different options.
    """
    found: Curves = {}
    told: dict[tuple[str, str], dict[str, Any]] = {}
    for run in runs:
        if not (run.path / file).is_file():
            continue
        options = {key: value for key, value in run.recipe.items() if key.startswith("compress.")}
        method, objective = options["compress.method"], _objective(run)
        first = told.setdefault((method, objective), options)
        if differ := [key for key in {**first, **options} if first.get(key) != options.get(key)]:
            other = f"another {differ[0].removeprefix('compress.')}"
            refuse(f"{run.path} was made with {other} than runs before it; report them apart")
        found.setdefault(method, {}).setdefault(objective, []).append(record.read_csv(run.path / file))
    return found


def _objective(run: Run) -> str:
    """The objective of a curve, and what its experiment is called beside: ``baseline_network``."""
    objective, method = run.recipe["compress.objective"], run.recipe["compress.method"]
    _, _, beside = str(run.recipe["experiment"]).rpartition(f"_{method}_{objective}")
    return f"{objective}{beside}"


def read_split(found: Curves) -> str:
    """The split that is shown: test where every curve has read it, else held-out labels, else all others."""
    every = [seeds for objectives in found.values() for seeds in objectives.values()]
    rows = [row for seeds in every for each in seeds for row in each]
    splits = ("test", "validation", "train")
    return next(name for name in splits if all(row.get(f"{name}_nll_bits") is not None for row in rows))


def curves_tables(runs: Sequence[Run]) -> list[Table]:
    """Means over seeds for every setting, objectives side by side; the best of a row is bold."""
    tables = []
    for network, members in networks(runs).items():
        found = curves(members)
        split = read_split(found)
        for method, objectives in found.items():
            tables += [_table(f"{network}, {method}", objectives, split, reading) for reading in SHOWN]
    return tables


def _table(title: str, objectives: Mapping[str, list[Rows]], split: str, reading: str) -> Table:
    said, factor, digits, best = SHOWN[reading]
    seeds = max(len(each) for each in objectives.values())
    table = plain_table(f"{title}: {split} {said}" + (f"; mean of {seeds} seeds" if seeds > 1 else ""))
    table.add_column("setting", no_wrap=True)
    for objective in objectives:
        table.add_column(objective.replace("_", "\n"), justify="right", no_wrap=True)
    for place, row in enumerate(next(iter(objectives.values()))[0]):
        key = f"{split}_{reading}"
        means = [factor * fmean(rows[place][key] for rows in each) for each in objectives.values()]
        written, least = [f"{mean:.{digits}f}" for mean in means], f"{best(means):.{digits}f}"
        cells = [f"[bold]{cell}[/bold]" if cell == least and len(means) > 1 else cell for cell in written]
        table.add_row(", ".join(f"{name} {value:g}" for name, value in _setting(row)), *cells)
    return table


def draw_rate_distortion(runs: Sequence[Run], path: Path) -> Path:
    """Draw the curves of one network: accuracy, cross entropy, d and d~ over size.

    Raises:
        Refusal: No run is one of ``python -m ibsuite.compress``, or they are of several networks.
    """
    from ibsuite.figures import compression_curves_figure

    found = curves(_one_network(runs))
    path.parent.mkdir(parents=True, exist_ok=True)
    compression_curves_figure(found, read_split(found)).savefig(path, dpi=200)
    return path


def draw_tuning(runs: Sequence[Run], path: Path) -> Path:
    """Draw accuracy and cross entropy of held-out labels over temperature and damping.

    Raises:
        Refusal: Nothing was tuned, or the runs are of several networks or methods.
    """
    from ibsuite.figures import tuning_figure

    found = curves(_one_network(runs), record.TUNING)
    if len(found) != 1:
        refuse("give curves of one method that had several --temperatures or --mus to choose from")
    (objectives,) = found.values()
    path.parent.mkdir(parents=True, exist_ok=True)
    tuning_figure(objectives).savefig(path, dpi=200)
    return path


def curve_numbers(run: Run) -> dict[str, float]:
    """The points of a curve by names with unit: ``kept_0.05_test_nll_bits``; nothing for other runs.

    Of every point its size, its total and the readings on the split that is shown.
    """
    if "compress.network" not in run.recipe:
        return {}
    rows, found = record.read_csv(run.path / record.CURVE), dict[str, float]()
    split = read_split({"": {"": [rows]}})
    for row in rows:
        setting = "_".join(f"{key}_{value:g}" for key, value in _setting(row))
        names = ["model_bits", "total_bits", *(f"{split}_{name}" for name in PUBLISHED)]
        found |= {f"{setting}_{name}": row[name] for name in names if type(row.get(name)) is float}
    return found


def _one_network(runs: Sequence[Run]) -> list[Run]:
    found = networks(runs)
    if len(found) != 1:
        refuse(
            "give curves of one network, made by python -m ibsuite.compress"
            + (f"; these are of {', '.join(found)}" if found else "; none of these runs is one")
        )
    return next(iter(found.values()))


def _setting(row: Mapping[str, Any]) -> list[tuple[str, float]]:
    return [(key, row[key]) for key in SETTINGS if row.get(key) is not None]
