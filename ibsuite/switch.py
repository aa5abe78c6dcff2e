"""``python -m ibsuite.switch RUN RUN...``: the switch code between model classes, from finished runs.

Only what a call needs is imported, so that ``--help`` and a mistyped path answer at once.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, draw and print the switch code; exit code 2 with one sentence where that cannot be honoured."""
    options = _parser().parse_args(arguments)
    for path in options.runs:
        if not path.is_dir():
            print(f"ibsuite.switch: {path} is not a folder; give a run or a folder of runs", file=sys.stderr)
            return 2
    from ibsuite.interface import Refusal
    from ibsuite.reporting import draw_run, find_runs, load_run, print_run
    from ibsuite.reporting.switch_folder import write_switch

    try:
        paths = dict.fromkeys(run.resolve() for path in options.runs for run in find_runs(path))
        runs = [load_run(path) for path in paths]
        folder = options.out / options.experiment
        run = write_switch(runs, folder, options.granularity, options.settings_compared, options.overwrite)
    except Refusal as refusal:
        print(f"ibsuite.switch: {refusal}", file=sys.stderr)
        return 2
    draw_run(run)
    print_run(run)
    print(f"run: {run}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ibsuite.switch",
        description="The switch code between model classes: a mixture over finished runs on the same labels.",
    )
    runs = "a finished run, or a folder of runs: runs/<experiment>"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=runs)
    add = parser.add_argument
    grain = "where the predictor may switch: at every label, or where all runs begin a block; default: label"
    add("--granularity", choices=("label", "block"), default="label", help=grain)
    tried = "sets of runs and granularities that were tried on these labels; log2 of it is charged"
    add("--settings_compared", type=int, default=1, metavar="N", help=tried)
    add("--experiment", default="switch", metavar="NAME", help="folder of the new run; default: %(default)s")
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="default: %(default)s")
    add("--overwrite", action="store_true", help="do a finished switch again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
