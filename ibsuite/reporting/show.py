"""Finished runs shown: their tables, in bits, on the terminal, and their figure in a file."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ibsuite import record
from ibsuite.refusal import Refusal
from ibsuite.reporting import table
from ibsuite.reporting.bottleneck import plane_curves
from ibsuite.reporting.codes import compare
from ibsuite.reporting.comparison import codes_notes, codes_panel, codes_table
from ibsuite.reporting.compressed import compressed_tables, tradeoff_printed, tradeoff_settings
from ibsuite.reporting.information import draw_information
from ibsuite.reporting.rate_distortion import curves_tables, draw_rate_distortion, draw_tuning, networks
from ibsuite.reporting.runs import Run, by_seed, load_run, refuse, told_apart
from ibsuite.reporting.spread import spread_tables


def print_runs(runs: Sequence[Run]) -> None:
    """Print one run's blocks and bill, in bits, or several runs and one table of all their codes.

    What is left of the networks that runs have compressed has a table of its own.
    """
    console = Console(highlight=False)
    if len(runs) == 1:
        blocks = [table.blocks_table(runs[0])] if len(runs[0].document["parts"]) > 1 else []
        tables = [*blocks, table.charges_table(runs[0])]
    else:
        several_seeds = len(by_seed(runs)) < len(runs)
        tables = [table.runs_table(runs), *([table.experiments_table(runs)] if several_seeds else [])]
        tables += spread_tables(runs)
    for each in tables:
        console.print(each)
        console.print()
    for compressed, notes in compressed_tables(runs):
        console.print(compressed)
        console.print()
        for note in notes:
            console.print(note, markup=False)
        console.print()
    for curve in curves_or_sentence(runs):
        console.print(curve)
        console.print()
    for comparison in compare(runs) if len(runs) > 1 else []:
        console.print(codes_table(comparison))
        console.print()
        for note in codes_notes(comparison):
            console.print(note, markup=False)
        console.print()


def curves_or_sentence(runs: Sequence[Run]) -> list[Table | str]:
    """Tables of the curves of compressed networks; where they share none a sentence that says why."""
    try:
        return [*curves_tables(runs)]
    except Refusal as refusal:
        return [f"No table of compressed networks: {refusal}"]


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


def draw_tradeoff(runs: Sequence[Run], path: Path) -> Path:
    """Draw the errors of compressed networks against their sizes in percent and multiply-accumulates.

    Raises:
        Refusal: No run has compressed a network.
    """
    from ibsuite.figures import tradeoff_figure

    experiments = tradeoff_settings(runs)
    if not experiments:
        refuse(f"no run has a {record.COMPRESSION}: none of them has compressed a network")
    path.parent.mkdir(parents=True, exist_ok=True)
    tradeoff_figure(experiments, tradeoff_printed(runs)).savefig(path, dpi=200)
    return path


def draw_bottleneck(runs: Sequence[Run], path: Path) -> Path:
    """Draw errors of representations over the price of their rate, and their bits in the information plane.

    Raises:
        Refusal: No run has a stochastic representation.
    """
    from ibsuite.figures import bottleneck_figure

    curves = plane_curves(runs)
    if not curves:
        refuse(f"no run has a {record.BOTTLENECK}: none of them has a stochastic representation (DeepVIB)")
    path.parent.mkdir(parents=True, exist_ok=True)
    bottleneck_figure(curves).savefig(path, dpi=200)
    return path


def draw_run(run: Path) -> list[Path]:
    """Write the figures of the finished run in this folder to its ``figures/``.

    The first is named after its code, or ``rate_distortion.png`` where it is a curve of compressed networks,
    with ``tuning.png`` where there was a choice behind it; ``compression.png`` follows where a network was
    compressed, ``information_plane.png`` where its layers were watched, and ``representation.png`` where a
    stochastic representation has two dimensions.
    """
    loaded = load_run(run)
    found, folder = loaded.document, run / record.FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    curve = record.read_csv(run / record.CURVE) if (run / record.CURVE).is_file() else []
    if networks([loaded]):
        drawn = [draw_rate_distortion([loaded], folder / "rate_distortion.png")]
        if (run / record.TUNING).is_file():
            drawn.append(draw_tuning([loaded], folder / "tuning.png"))
    elif "cumulative_bits" in (found["parts"] or [{}])[0]:
        drawn = [draw_runs([loaded], folder / "prequential.png")]
    else:
        from ibsuite.figures import offline_figure

        drawn = [folder / f"{found['code']}.png"]
        offline_figure(found["charges"], curve, found["uniform_bits"]).savefig(drawn[0], dpi=200)
    if loaded.compression is not None:
        from ibsuite.figures import compression_figure

        drawn.append(folder / "compression.png")
        compression_figure(loaded.compression, curve).savefig(drawn[-1], dpi=200)
    if (run / record.INFORMATION).is_file():
        drawn.append(draw_information([loaded], folder / "information_plane.png"))
    if loaded.bottleneck is not None and (run / record.REPRESENTATION).is_file():
        import numpy as np

        from ibsuite.figures import representation_figure

        drawn.append(folder / "representation.png")
        split = "train" if loaded.bottleneck["validation"] is None else "validation"
        figures = loaded.bottleneck[split]
        title = (
            f"β = {loaded.bottleneck['beta']:g}: {split} error {figures['error_percent']:.2f} %, "
            f"I(Z;X) ≤ {figures['mi_zx_upper_bits']:.1f} bits"
        )
        with np.load(run / record.REPRESENTATION) as arrays:
            representation_figure(dict(arrays), title).savefig(drawn[-1], dpi=200)
    return drawn
