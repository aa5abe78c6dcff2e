"""An unbroken run against its blocks on two workers: processor seconds, wall-clock seconds, and equal bits.

    python scripts/benchmark_blocks.py [digits mnist] [--json results/benchmark_blocks.json]

Two runs with fresh starts, one thread a process: all 1,797 digits, and 3,000 labels of MNIST. The unbroken
run is timed, then its blocks by two workers as ``ibsuite.launch`` schedules them, and their merging. Other
work on the machine changes wall-clock times and hardly processor times, so the speed-up is also computed
from the processor seconds of each process, start-up and merging included, placed on two machines as they
were scheduled, and on a machine for each.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ibsuite.launch import plan_jobs, run_jobs
from ibsuite.record import read_codelength

FRESH = ["--code.start=fresh", "--code.ratio=2", "--threads=1", "--logger=null"]
RUNS = {
    "digits": ["--code.views=1", "--code.min_steps=10", "--code.max_steps=2000", "--code.epochs=15"],
    "mnist": [
        *("--config", "prequential_mnist", "--data.num_labels=3000", "--code.members=1", "--code.views=0"),
        *("--code.first_block=8", "--code.min_steps=10", "--code.epochs=12"),
    ],
}


def timed(command: Sequence[str]) -> dict[str, float]:
    """Wall-clock and processor seconds of one process."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_seconds": time.monotonic() - began, "cpu_seconds": cpu}


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last of some jobs ends that are begun in this order, so many at a time."""
    free = [0.0] * workers
    for each in seconds:
        first = free.index(min(free))
        free[first] += each
    return max(free)


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Do one run both ways."""
    options = [*RUNS[name], *FRESH]
    fit = [sys.executable, "-m", "ibsuite.fit", *options, "--trainer.enable_progress_bar=false"]
    whole = timed([*fit, f"--out={folder / 'whole'}"])
    jobs = plan_jobs([*options, f"--out={folder / 'apart'}"], 0, 1)
    files = [folder / f"{i}.json" for i in range(len(jobs))]
    own = (sys.executable, __file__, "--process")
    began = time.monotonic()
    wrapped = [
        job._replace(command=(*own, str(file), *job.command)) for job, file in zip(jobs, files, strict=True)
    ]
    assert run_jobs(wrapped, 2) == 0
    wall = time.monotonic() - began
    cpu = [json.loads(file.read_text())["cpu_seconds"] for file in files]
    (done,) = (folder / "whole").glob("*/*")
    merged = jobs[-1].run
    bits = [read_codelength(run)["total_bits"] for run in (done, merged)]
    streams = [(run / "message" / "labels.bin").read_bytes() for run in (done, merged)]
    longest_first = [c for _, c in sorted(zip(jobs, cpu, strict=True), key=lambda pair: -pair[0].cost)][:-1]
    costs = [job.cost for job in jobs[:-1]]
    return {
        "options": " ".join(options),
        "total_bits": bits,
        "same_bits": bits[0] == bits[1] and streams[0] == streams[1],
        "blocks_of_a_process": [job.blocks for job in jobs[:-1]],
        "cpu_seconds_of_a_process": cpu,
        "unbroken_cpu_seconds": whole["cpu_seconds"],
        "speed_up_bound_by_steps": sum(costs) / max(costs),
        "speed_up_two_workers_cpu": whole["cpu_seconds"] / (makespan(longest_first, 2) + cpu[-1]),
        "speed_up_a_machine_each_cpu": whole["cpu_seconds"] / (max(longest_first) + cpu[-1]),
        "unbroken_wall_seconds": whole["wall_seconds"],
        "two_workers_wall_seconds": wall,
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", default=list(RUNS))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    figures = {}
    for name in args.runs:
        with tempfile.TemporaryDirectory() as folder:
            figures[name] = measure(name, Path(folder))
        print(name, json.dumps(figures[name], indent=2), flush=True)
    if args.json:
        command = f"python scripts/benchmark_blocks.py {' '.join(args.runs)}"
        document = {"command": command, "cores": os.cpu_count(), "figures": figures}
        args.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--process"]:
        Path(sys.argv[2]).write_text(json.dumps(timed(sys.argv[3:])))
    else:
        main()
