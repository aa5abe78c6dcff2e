"""python -m ibsuite.fit: train a method and price labels with it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ibsuite import record
from ibsuite.manual import manual

if TYPE_CHECKING:
    from ibsuite.callbacks.estimate import Estimate
    from ibsuite.cli import SuiteCLI


UNFINISHED = 75
"""Exit code of a run that was stopped and can be gone on with; EX_TEMPFAIL of sysexits.h."""


def main(args: list[str] | None = None) -> int:
    """Run one experiment; the process's exit code: 0; 1: an error; 2: a refusal; 75: it was stopped."""
    args = sys.argv[1:] if args is None else args
    if {"-h", "--help"} & set(args):
        print(manual())
        return 0
    from torch import distributed

    from ibsuite.callbacks import NotFinite
    from ibsuite.cli import is_rank_zero, quiet
    from ibsuite.interface import Refusal

    quiet()
    try:
        return _fit(args)
    except (Refusal, NotFinite) as error:
        if is_rank_zero() or distributed.is_initialized():  # before that all processes refuse alike
            print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, Refusal) else 1


def _fit(args: list[str] | None) -> int:
    from ibsuite.callbacks.estimate import estimate
    from ibsuite.cli import SuiteCLI, is_rank_zero

    cli = SuiteCLI(args)
    if cli.config.dry_run:
        _show_plan(estimate(cli.model, cli.datamodule, cli.code), cli.run)
        return 0
    record.announce(cli.run)
    if cli.nothing_to_do:
        return _tell_again(cli)
    finished = carry_out(cli)
    if not finished and is_rank_zero():
        print(f"{cli.run} is unfinished; go on with --ckpt_path=last", file=sys.stderr)
    return 0 if finished else UNFINISHED


def carry_out(cli: "SuiteCLI", show: bool = True) -> bool:
    """Do the run that ``cli`` names, or go on with it; whether it is finished.

    Args:
        cli: parsed and built.
        show: print its tables.
    """
    from ibsuite.cli import is_rank_zero

    checkpoint = cli.prepare_run_folder()
    if checkpoint:
        for logger in cli.loggers:
            if hasattr(logger, "resume"):
                logger.resume(_steps_done(checkpoint))
    for logger in cli.loggers:
        if hasattr(logger, "begin"):
            logger.begin()
    finished = False
    try:
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True)
        finished = bool(cli.code.finished)
        if is_rank_zero() and finished:
            _show(cli, show)
    finally:
        for logger in cli.loggers:
            if cli.asked_to_stop and hasattr(logger, "preempted"):
                logger.preempted()
            if hasattr(logger, "close"):
                logger.close(0 if finished else 1)
    return finished


def _tell_again(cli: "SuiteCLI") -> int:
    """Show the result of a finished run, also to loggers that may never have got it."""
    from ibsuite.cli import is_rank_zero

    if is_rank_zero():
        for logger in cli.loggers:
            if hasattr(logger, "begin"):
                logger.begin()
        _show(cli, True)
        for logger in cli.loggers:
            if hasattr(logger, "close"):
                logger.close(0)
        print(f"{cli.run} was finished already")
    return 0


def _show_plan(estimate: "Estimate", run: Path) -> None:
    """Print what a run would do."""
    rows = estimate.ahead.rows
    print(f"{'training':<14}{'on labels':>10}   {'prices':<24}{'steps':>8}")
    for name, labels, prices, steps in rows:
        print(f"{name:<14}{labels:>10}   {prices:<24}{steps:>8}")
    steps = sum(steps for *_, steps in rows)
    minutes, megabytes = estimate.seconds / 60, estimate.disk_bytes / 1e6
    print(f"{steps} steps of a network with {estimate.parameters} parameters: about {minutes:.1f} minutes")
    print(f"on this CPU, and {megabytes:.1f} MB in {run}; nothing has been trained or written")
    if len(estimate.apart) > 1:
        longest = max(estimate.apart.values())
        last = " (the final model)" if rows[-1][0] == "final model" else ""
        print(
            f"blocks {min(estimate.apart)} to {max(estimate.apart)}{last} need nothing of each other; apart,"
        )
        print(f"at most {estimate.seconds / longest:.2f} times as fast: {longest / 60:.1f} minutes")


def _steps_done(checkpoint: str) -> int:
    import torch

    return int(torch.load(checkpoint, weights_only=True, map_location="cpu")["global_step"])


def _show(cli: "SuiteCLI", show: bool) -> None:
    """Hand over the result, or say what is to be done with blocks that were done apart."""
    from ibsuite.reporting import show_result

    if cli.run == cli.whole:
        show_result(cli.run, cli.loggers, show)
    elif show:
        print(
            f"{cli.run}: when all blocks are there, `python -m ibsuite.merge {cli.whole}` makes a run of them"
        )


if __name__ == "__main__":
    sys.exit(main())
