"""Finished runs shown: their tables, in bits, on the terminal, and their figure in a file."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ibsuite import record
from ibsuite.reporting import table
from ibsuite.reporting.codes import compare
from ibsuite.reporting.comparison import codes_notes, codes_panel, codes_table
from ibsuite.reporting.runs import Run, by_seed, load_run, refuse, told_apart


def print_runs(runs: Sequence[Run]) -> None:
    """Print one run's blocks and bill, in bits, or several runs and one table of all their codes."""
    console = Console(highlight=False)
    if len(runs) == 1:
        blocks = [table.blocks_table(runs[0])] if len(runs[0].document["parts"]) > 1 else []
        tables = [*blocks, table.charges_table(runs[0])]
    else:
        several_seeds = len(by_seed(runs)) < len(runs)
        tables = [table.runs_table(runs), *([table.experiments_table(runs)] if several_seeds else [])]
    for each in tables:
        console.print(each)
        console.print()
    for comparison in compare(runs) if len(runs) > 1 else []:
        console.print(codes_table(comparison))
        console.print()
        for note in codes_notes(comparison):
            console.print(note, markup=False)
        console.print()


def print_run(run: Path) -> None:
    """Print the blocks and the bill, in bits, of the finished run in this folder."""
    print_runs([load_run(run)])


def draw_runs(runs: Sequence[Run], path: Path) -> Path:
    """Draw all runs together, in bits: the four panels where all were sent in blocks, else their bills."""
    several = len({run.experiment for run in runs}) > 1
    path.parent.mkdir(parents=True, exist_ok=True)
    if all("cumulative_bits" in (run.document["parts"] or [{}])[0] for run in runs):
        from ibsuite.figures import prequential_figure

        names = [f"{run.experiment}/{run.name}" if several else run.name for run in runs]
        curves = {name: run.document["parts"] for name, run in zip(names, runs, strict=True)}
        prequential_figure(curves).savefig(path, dpi=200)
    else:
        from ibsuite.figures import codes_figure

        codes_figure([codes_panel(comparison) for comparison in compare(runs)]).savefig(path, dpi=200)
    return path


def draw_curves(runs: Sequence[Run], path: Path) -> Path:
    """Draw the codelengths of all runs along their trainings, in kbit.

    Raises:
        Refusal: A run was not watched along its training, or the runs have different numbers of labels.
    """
    from ibsuite.figures import training_figure

    curves = {}
    for run, name in zip(runs, told_apart(runs), strict=True):
        rows = record.read_csv(run.path / record.CURVE) if (run.path / record.CURVE).is_file() else []
        curves[name] = [row for row in rows if row.get("epoch") is not None]
        if not curves[name]:
            refuse(f"{run.path} was not watched along its training; run it with --code.watched=20")
    uniform = {run.document["uniform_bits"] for run in runs}
    if len(uniform) > 1:
        refuse("the runs send different numbers of labels; draw those of one data set together")
    path.parent.mkdir(parents=True, exist_ok=True)
    training_figure(curves, uniform.pop()).savefig(path, dpi=200)
    return path


def draw_run(run: Path) -> Path:
    """Write the figure of the finished run in this folder, named after its code, to its ``figures/``."""
    loaded = load_run(run)
    found = loaded.document
    if "cumulative_bits" in (found["parts"] or [{}])[0]:
        return draw_runs([loaded], run / record.FIGURES / "prequential.png")
    from ibsuite.figures import offline_figure

    path = run / record.FIGURES / f"{found['code']}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    curve = record.read_csv(run / record.CURVE) if (run / record.CURVE).is_file() else []
    offline_figure(found["charges"], curve, found["uniform_bits"]).savefig(path, dpi=200)
    return path
