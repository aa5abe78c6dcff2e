"""``python -m ibsuite.launch``: the blocks and seeds of a run as processes beside each other, then merged.

Only what a call needs is imported, so that ``--help`` answers at once.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ibsuite import record

OURS = {
    "--code.blocks": "it is chosen for each worker",
    "--ckpt_path": "the same command goes on with whatever is unfinished",
    "--overwrite": "remove the run folder to do it again",
    "--dry_run": "use `python -m ibsuite.fit --dry_run`, which says how much faster blocks can be apart",
}


class Job(NamedTuple):
    """A process to be run: some blocks of a seed, all of it, or the merging of its blocks."""

    run: Path
    blocks: str
    """``a:b``; empty: the whole run, or its merging."""
    cost: float
    command: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not there yet, longest first; exit code 2 with one sentence where that is not possible."""
    options, fit = _parser().parse_known_args(arguments)
    from ibsuite.cli import quiet
    from ibsuite.interface import Refusal

    quiet()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # workers end with their launcher
    try:
        if options.workers < 1:
            raise Refusal("--workers must be at least 1")
        jobs = [job for seed in options.seeds for job in plan_jobs(fit, seed, len(options.seeds))]
        return run_jobs(jobs, options.workers)
    except Refusal as refusal:
        print(f"ibsuite.launch: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ibsuite.launch: interrupted; the same command goes on", file=sys.stderr)
        return 130


def plan_jobs(fit: Sequence[str], seed: int, seeds: int) -> list[Job]:
    """What is left to do for one seed; the last job is that which makes the run folder.

    Args:
        fit: options of ``python -m ibsuite.fit``.
        seed: ``seed_everything``.
        seeds: how many seeds there are.

    Raises:
        Refusal: an option is not the user's to give, or nothing can be run beside anything else.
    """
    from ibsuite.callbacks.merging import kept_blocks
    from ibsuite.cli import SuiteCLI
    from ibsuite.interface import Refusal

    for name, instead in OURS.items():
        if any(word.split("=")[0] == name for word in fit):
            raise Refusal(f"{name} is not yours to give here: {instead}")
    options = [*fit, f"--seed_everything={seed}"]
    cli = SuiteCLI(options)
    if cli.config.threads is None:
        told = "every worker takes all cores, and bits depend on their number; give --threads=1"
        print(f"ibsuite.launch: threads is null: {told}", file=sys.stderr)
    if (cli.run / record.CODELENGTH).exists():
        print(f"{cli.run} is finished")
        return []
    data: Any = cli.datamodule
    data.prepare_data()  # once, and not by every worker
    data.setup("fit")
    apart = cli.code.ahead(data).apart
    command = (sys.executable, "-m", "ibsuite.fit", *options, "--ckpt_path=last")
    command += ("--trainer.enable_progress_bar=false",)
    if not apart:
        if seeds == 1:
            raise Refusal(
                "nothing can be run beside anything else: blocks need code.start=fresh, and there is one seed"
            )
        return [Job(cli.run, "", float("inf"), command)]
    there = (cli.run / record.BLOCKS).glob(f"*/{record.PRICED}")
    done = {number for kept in (kept_blocks(cli.run) if any(there) else ()) for number in kept.numbers}
    # A step is a pass forward and one backward, about three times the work of pricing.
    costs = {block: 3.0 * steps * data.batch_size + priced for block, (steps, priced) in apart.items()}
    jobs = [
        Job(cli.run, f"{a}:{b}", cost, (*command, f"--code.blocks={a}:{b}"))
        for a, b, cost in slices(costs, done)
    ]
    return [*jobs, Job(cli.run, "", 0.0, (sys.executable, "-m", "ibsuite.merge", str(cli.run)))]


def slices(costs: Mapping[int, float], done: set[int]) -> Iterator[tuple[int, int, float]]:
    """Slices a:b of the blocks that are not done, with their costs; none costs more than the longest block.

    Short blocks go together, for a process takes longer to start than they take to train.
    """
    longest, begun, cost = max(costs.values()), 0, 0.0
    for block, own in [*costs.items(), (max(costs) + 1, float("inf"))]:
        if begun and (block in done or cost + own > longest):
            yield begun, block, cost
            begun, cost = 0, 0.0
        if block not in done:
            begun, cost = begun or block, cost + own


class Worker:
    """A process that does a job; what it prints is kept until it ends."""

    def __init__(self, job: Job) -> None:
        self.job, self.began, self.output = job, time.monotonic(), tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(job.command, stdout=self.output, stderr=subprocess.STDOUT, text=True)

    def report(self) -> None:
        """Say how it ended: what a whole run or an error has printed, or else one line."""
        what = f"blocks {self.job.blocks}" if self.job.blocks else "the whole run"
        end = "failed" if self.process.returncode else f"{time.monotonic() - self.began:.0f} s"
        print(f"{self.job.run}: {what}, {end}", flush=True)
        if self.process.returncode or not self.job.blocks:
            self.output.seek(0)
            print(self.output.read(), file=sys.stderr if self.process.returncode else sys.stdout, flush=True)
        self.output.close()

    def end(self) -> None:
        """Wait for it to obey ``terminate``."""
        self.process.wait()
        self.output.close()


def run_jobs(jobs: Sequence[Job], workers: int) -> int:
    """Run jobs, so many at a time, longest first; a run is merged when its blocks are done.

    A job that fails ends the others as well, and its exit code is returned.
    """
    waiting = sorted(jobs, key=lambda job: -job.cost)
    running: list[Worker] = []
    try:
        while waiting or running:
            there = [*waiting, *(worker.job for worker in running)]
            ready = [job for job in waiting if job.blocks or sum(o.run == job.run for o in there) == 1]
            for job in ready[: workers - len(running)]:
                waiting.remove(job)
                running.append(Worker(job))
            for worker in [each for each in running if each.process.poll() is not None]:
                running.remove(worker)
                worker.report()
                if worker.process.returncode:
                    return worker.process.returncode
            time.sleep(0.05)
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.end()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ibsuite.launch",
        usage="%(prog)s [--workers N] [--seeds SEED...] [options of python -m ibsuite.fit]",
        description="Run the blocks of a prequential run with fresh starts, and several seeds of any run, in "
        "processes beside each other, longest first, and merge the blocks to the bits of the unbroken run.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--workers", type=int, default=2, metavar="N", help="processes at a time; default: %(default)s")
    add("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="default: 0")
    return parser


if __name__ == "__main__":
    sys.exit(main())
