"""``python -m ibsuite.sweep FILE``: a sweep of configs/sweep without a server, one trial after another.

The file is one that ``wandb sweep`` takes. Only what a call needs is imported, so that ``--help`` and a
mistyped path answer at once.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the trials that are missing, print all, report; exit code 2 with one sentence where refused."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    report = given[given.index("--report") + 1 :] if "--report" in given else None
    options = _parser().parse_args(given[: given.index("--report")] if report is not None else given)
    from ibsuite.interface import Refusal

    try:
        from ibsuite.sweeping import any_failed, read_sweep, run_trials, trials_table
    except ModuleNotFoundError as error:
        print(
            f"ibsuite.sweep: {error.name} is missing; install it with pip install 'ibsuite[sweep]'",
            file=sys.stderr,
        )
        return 2
    try:
        sweep = read_sweep(options.sweep)
        study = run_trials(sweep, Path(options.out), options.count, options.seeds, options.wandb)
    except Refusal as error:
        print(f"ibsuite.sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ibsuite.sweep: interrupted; the same command goes on", file=sys.stderr)
        return 130
    from rich.console import Console

    Console().print(trials_table(sweep, study))
    if report is not None:
        runs = str(Path(options.out) / sweep.experiment)
        reported = subprocess.run([sys.executable, "-m", "ibsuite.report", runs, *report], check=False)
        if reported.returncode:
            return reported.returncode
    return int(any_failed(study))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ibsuite.sweep",
        description="A sweep of configs/sweep without a server; the same command goes on with it.",
        epilog="--report OPTION... at the end: hand the runs to python -m ibsuite.report, with these options",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("sweep", metavar="FILE", help="a file that wandb sweep takes, or the name of a packaged one")
    add("--count", type=int, metavar="N", help="at most so many trials now; default: all that are missing")
    add("--seeds", type=int, nargs="+", default=[0], metavar="S",
        help="run every setting with each of them; its metric is their mean; default: 0")  # fmt: skip
    add("--out", default="runs", metavar="DIR", help="folder of all experiments; default: %(default)s")
    add("--wandb", action="store_true", help="a W&B run for every run, offline unless you are logged in")
    return parser


if __name__ == "__main__":
    sys.exit(main())
