"""Run what the tables and figures of the five papers need, one experiment and seed after another.

    python scripts/reproduce.py                                   all tables and figures: needs and costs
    python scripts/reproduce.py description_length/table_1_mnist  run what is not there yet, and publish it
    python scripts/reproduce.py vibnet subspace_mnist --seeds 0   a whole paper, or single experiments
    python scripts/reproduce.py all --fits 150 --minutes 150      what fits a CPU, 150 minutes of it

Whatever is finished is left alone, and what was interrupted goes on where it was, so that the same command
is given again until it says that everything is there. Results go to ``--results``, one JSON for each
experiment; ``python -m ibsuite.report --papers --results DIR`` prints them beside the papers.
"""

import argparse
import math
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ibsuite.reporting.formats import MISSING, format_seconds
from ibsuite.reporting.papers import Experiment, Paper, read_papers, read_result, seconds_per_seed
from ibsuite.reporting.table import plain_table

MEASURED = Path(__file__).parent.parent / "results"
GPU_STEP_SECONDS = 0.005
"""A step of these small networks on a GPU, mostly waiting for launches: a guess, not a measurement."""


def main(arguments: Sequence[str] | None = None) -> int:
    """List, or run what is named; 0 when all of it is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", nargs="*", metavar="NAME", help="table or figure, paper, experiment, or all")
    add("--seeds", type=int, nargs="+", metavar="SEED", help="default: those of the experiment")
    add(
        "--fits",
        type=float,
        default=math.inf,
        metavar="MIN",
        help="leave out seeds that take longer on a CPU",
    )
    add(
        "--minutes",
        type=float,
        default=math.inf,
        metavar="MIN",
        help="stop after so long; the same again goes on",
    )
    add("--results", type=Path, default=Path("runs/results"), metavar="DIR", help="default: %(default)s")
    add("--dry_run", action="store_true", help="print the commands")
    options = parser.parse_args(arguments)
    papers = read_papers()
    if not options.what:
        overview(papers, options.results)
        return 0
    try:
        wanted = experiments_of(papers, options.what)
    except KeyError as error:
        parser.error(
            f"{error.args[0]} is no table, figure, paper or experiment; without arguments all are listed"
        )
    until = time.monotonic() + 60 * options.minutes
    for experiment in wanted:
        seconds = cost_seconds(experiment)
        if options.fits < math.inf and (seconds is None or seconds > 60 * options.fits):
            known = format_seconds(seconds) if seconds else "its time is not known"
            print(f"{experiment.name} is left out: {known}")
        elif not reproduce(
            experiment, options.seeds or experiment.seeds, options.results, until, options.dry_run
        ):
            return 1
    return 0


def overview(papers: Iterable[Paper], results: Path) -> None:
    """Print every table and figure with its experiments and what they cost."""
    console = Console()
    for paper in papers:
        table = plain_table(paper.title)
        table.add_column("table or figure, and what it needs", no_wrap=True)
        for header in ("seeds", "CPU, each", "GPU, each", "there"):
            table.add_column(header, justify="right", no_wrap=True)
        for entry in paper.entries:
            table.add_row(entry.name, style="bold")
            for name in dict.fromkeys(row.ours for row in entry.rows if row.ours):
                experiment = paper.experiments[name]
                steps, seconds = planned_steps(experiment), cost_seconds(experiment)
                done = read_result(results, name) or read_result(MEASURED, name)
                table.add_row(
                    f"  {name}",
                    str(len(experiment.seeds)),
                    format_seconds(seconds) if seconds else experiment.needs or MISSING,
                    format_seconds(steps * GPU_STEP_SECONDS) if steps else MISSING,
                    MISSING
                    if done is None
                    else "reduced"
                    if str(done.get("scale", "")).startswith("reduced")
                    else "yes",
                )
        console.print(table)
    waits = "5 ms a step, for which small networks wait at least"
    console.print(f"CPU: as measured for results/, or planned. GPU: not measured; {waits}.")


def experiments_of(papers: Sequence[Paper], names: Iterable[str]) -> list[Experiment]:
    """The experiments that are named by themselves, their table or their paper, each behind what it needs."""
    found: dict[str, Experiment] = {}

    def put(known: Mapping[str, Experiment], name: str) -> None:
        if known[name].after:
            put(known, known[name].after)
        found.setdefault(name, known[name])

    for name in names:
        tables = [(paper, entry) for paper in papers for entry in paper.entries if entry.name == name]
        whole = [paper for paper in papers if name in ("all", paper.name)]
        alone = [paper for paper in papers if name in paper.experiments]
        if not (tables or whole or alone):
            raise KeyError(name)
        for paper in alone:
            put(paper.experiments, name)
        for paper in whole:
            for each in paper.experiments:
                put(paper.experiments, each)
        for paper, entry in tables:
            for row in entry.rows:
                if row.ours:
                    put(paper.experiments, row.ours)
    return list(found.values())


def reproduce(
    experiment: Experiment, seeds: Sequence[int], results: Path, until: float, dry_run: bool
) -> bool:
    """Run and publish what is missing of an experiment; whether all of it is there now."""
    result = results / f"{experiment.name}.json"
    there = whole_result(experiment, results)
    if there is not None and set(seeds) <= set(there.get("seeds") or seeds):
        print(f"{experiment.name}: {result} is there")
        return True
    for words in commands(experiment, seeds, result):
        print(shlex.join(["python", *words]), flush=True)
        if not dry_run and not run(words, until):
            return False
    return True


def commands(experiment: Experiment, seeds: Sequence[int], result: Path) -> list[list[str]]:
    """The command lines of an experiment, without the interpreter: its runs, and the publication."""
    publish = ["-m", "ibsuite.report", *(f"runs/{experiment.name}/{seed}-*" for seed in seeds)]
    publish += ["--publish", experiment.name, "--results", str(result.parent)]
    publish += ["--reduced", experiment.reduced] if experiment.reduced else []
    if experiment.command:
        words = shlex.split(experiment.command.replace("{result}", str(result)))[1:]
        return [words] if "{result}" in experiment.command else [words, publish]
    options = shlex.split(experiment.options or f"--config {experiment.name}")
    fit = ["-m", "ibsuite.fit", *options, "--logger=null", "--ckpt_path=last"]
    return [*([*fit, f"--seed_everything={seed}"] for seed in seeds), publish]


def run(words: Sequence[str], until: float) -> bool:
    """Run one command until the time is up, when it is interrupted as by Ctrl-C; whether it is done."""
    found = [sorted(map(str, Path().glob(word))) if word.endswith("-*") else [word] for word in words]
    process = subprocess.Popen([sys.executable, *(word for each in found for word in each)])
    try:
        process.wait(None if until == math.inf else max(1.0, until - time.monotonic()))
        return process.returncode == 0
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    except KeyboardInterrupt:  # the terminal has told the process as well
        pass
    process.wait()
    print("stopped; the same command goes on", file=sys.stderr)
    return False


def whole_result(experiment: Experiment, results: Path) -> dict[str, Any] | None:
    """The published result; None where there is none, or one that was cut down and should not have been."""
    found = read_result(results, experiment.name)
    cut = found is not None and str(found.get("scale", "")).startswith("reduced")
    return None if cut and not experiment.reduced else found


def cost_seconds(experiment: Experiment) -> float | None:
    """Seconds of one seed on a CPU: as published here, else as estimated; None where nobody knows."""
    measured = seconds_per_seed(whole_result(experiment, MEASURED))
    return measured or (60 * experiment.minutes if experiment.minutes else None)


def planned_steps(experiment: Experiment) -> float | None:
    """Optimiser steps of one seed."""
    if experiment.steps:
        return experiment.steps
    figures = (read_result(MEASURED, experiment.name) or {}).get("figures") or {}
    return figures["optimiser_steps"]["mean"] if "optimiser_steps" in figures else None


if __name__ == "__main__":
    sys.exit(main())
