"""Finished runs shown: their tables, in bits, on the terminal, and their figure in a file."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ibsuite import record
from ibsuite.reporting import table
from ibsuite.reporting.runs import Run, load_run, refuse


def print_runs(runs: Sequence[Run]) -> None:
    """Print one run's blocks and bill, in bits, or several runs side by side."""
    if len(runs) == 1:
        blocks = [table.blocks_table(runs[0])] if runs[0].document["parts"] else []
        tables = [*blocks, table.charges_table(runs[0])]
    else:
        tables = [table.runs_table(runs), table.experiments_table(runs)]
    console = Console(highlight=False)
    for each in tables:
        console.print(each)
        console.print()


def print_run(run: Path) -> None:
    """Print the blocks and the bill, in bits, of the finished run in this folder."""
    print_runs([load_run(run)])


def draw_runs(runs: Sequence[Run], path: Path) -> Path:
    """Write the four panels of all runs together, in bits per label, bit and ratio.

    Raises:
        Refusal: A run has no blocks.
    """
    from ibsuite.figures import prequential_figure

    several = len({run.experiment for run in runs}) > 1
    curves = {f"{run.experiment}/{run.name}" if several else run.name: run.document["parts"] for run in runs}
    empty = [name for name, parts in curves.items() if not parts or "cumulative_bits" not in parts[0]]
    if empty:
        refuse(f"{empty[0]} has no blocks to draw; the four panels are for prequential and switch codes")
    path.parent.mkdir(parents=True, exist_ok=True)
    prequential_figure(curves).savefig(path, dpi=200)
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
