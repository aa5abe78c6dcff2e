"""``python -m ibsuite.report RUN...``: finished runs as tables in bits, a figure, a published result.

Only what a call needs is imported, so that ``--help`` and a mistyped path answer at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibsuite.reporting import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what runs cost in bits; exit code 2 with one sentence where that cannot be honoured."""
    options = _parser().parse_args(arguments)
    for path in options.runs:
        if not path.is_dir():
            print(f"ibsuite.report: {path} is not a folder; give a run or a folder of runs", file=sys.stderr)
            return 2
    try:
        _report(options)
    except _refusal() as refusal:  # evaluated when something was raised, not before
        print(f"ibsuite.report: {refusal}", file=sys.stderr)
        return 2
    return 0


def _report(options: argparse.Namespace) -> None:
    from rich.console import Console

    from ibsuite.reporting import runs as folders
    from ibsuite.reporting import table
    from ibsuite.reporting.publish import publish

    if options.reduced is not None and options.publish is None:
        folders.refuse("--reduced describes a published result; give --publish NAME with it")
    paths = list(dict.fromkeys(run for path in options.runs for run in folders.find_runs(path)))
    finished = [path for path in paths if folders.is_finished(path)]
    if options.publish is None and finished:
        for path in paths:
            if path not in finished:
                print(f"{path} is unfinished and left out", file=sys.stderr)
        paths = finished
    runs = [folders.load_run(path) for path in paths]

    if len(runs) == 1:
        blocks = [table.blocks_table(runs[0])] if runs[0].document["parts"] else []
        tables = [*blocks, table.charges_table(runs[0])]
    else:
        tables = [table.runs_table(runs), table.experiments_table(runs)]
    console = Console(highlight=False)
    for each in tables:
        console.print(each)
        console.print()
    if options.figure is not None:
        _draw(runs, options.figure)
        print(f"figure: {options.figure}")
    if options.publish is not None:
        written = publish(paths, options.publish, options.results, options.reduced)
        print(f"result: {written}")


def _draw(runs: "Sequence[Run]", path: Path) -> None:
    """Write the four panels of all runs together."""
    from ibsuite.figures import prequential_figure
    from ibsuite.reporting.runs import refuse

    several = len({run.experiment for run in runs}) > 1
    curves = {f"{run.experiment}/{run.name}" if several else run.name: run.document["parts"] for run in runs}
    empty = [name for name, parts in curves.items() if not parts or "cumulative_bits" not in parts[0]]
    if empty:
        refuse(f"{empty[0]} has no blocks to draw; --figure is for prequential and switch codes")
    path.parent.mkdir(parents=True, exist_ok=True)
    prequential_figure(curves).savefig(path, dpi=200)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ibsuite.report", description="Finished runs, in bits.")
    runs = "a finished run, or a folder of runs: runs/<experiment>"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=runs)
    add = parser.add_argument
    add("--publish", metavar="NAME", help="write results/NAME.json; the runs differ in the seed alone")
    add("--results", type=Path, default=Path("results"), metavar="DIR", help="default: %(default)s")
    add("--reduced", metavar="WORDS", help="what the runs leave out against the full experiment")
    add("--figure", type=Path, metavar="PNG", help="draw the four panels of all runs together")
    return parser


def _refusal() -> type[Exception]:
    from ibsuite.interface import Refusal

    return Refusal


if __name__ == "__main__":
    sys.exit(main())
