"""``python -m ibsuite.merge RUN``: one run out of blocks that were trained and priced apart.

Only what a call needs is imported, so that ``--help`` and a mistyped path answer at once.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibsuite import record

if TYPE_CHECKING:
    from ibsuite.cli import SuiteCLI


def main(arguments: Sequence[str] | None = None) -> int:
    """Merge, write, draw and print; exit code 2 with one sentence where that cannot be honoured."""
    options = _parser().parse_args(arguments)
    if not options.run.is_dir():
        print(f"ibsuite.merge: {options.run} is not a folder; give runs/<experiment>/<run>", file=sys.stderr)
        return 2
    from ibsuite.cli import quiet
    from ibsuite.interface import Refusal

    quiet()
    try:
        _merge(options.run.resolve(), options.overwrite)
    except Refusal as refusal:
        print(f"ibsuite.merge: {refusal}", file=sys.stderr)
        return 2
    print(f"run: {options.run}")
    return 0


def _merge(run: Path, overwrite: bool) -> None:
    """Make the run folder that an unbroken run would have made."""
    from ibsuite.callbacks.merging import kept_blocks, merge_blocks, metrics
    from ibsuite.interface import Refusal
    from ibsuite.reporting import show_result

    if (run / record.CODELENGTH).exists() and not overwrite:
        raise Refusal(
            f"{run} is finished; read it with `python -m ibsuite.report`, or merge with --overwrite"
        )
    if (run / record.LAST).exists():
        raise Refusal(f"{run} is also being done as a whole; remove its checkpoints/ to merge its blocks")
    found = kept_blocks(run)
    cli, config = _whole(run, found[-1].folder)
    data: Any = cli.datamodule
    data.prepare_data()
    data.setup("fit")
    logged = merge_blocks(cli.code, data, found, run, config)
    for logger in cli.loggers:
        for step, row in metrics(found, logged):
            logger.log_metrics(row, step=step)
    try:
        show_result(run, cli.loggers)
    finally:
        for logger in cli.loggers:
            if hasattr(logger, "close"):
                logger.close(0)


def _whole(run: Path, blocks: Path) -> tuple["SuiteCLI", str]:
    """All that the config of some blocks names, for their whole run, and the config of that.

    Raises:
        Refusal: it is the config of another run.
    """
    import yaml

    from ibsuite.cli import SuiteCLI
    from ibsuite.interface import Refusal
    from ibsuite.restore import ONE_PROCESS

    config = yaml.safe_load((blocks / record.CONFIG).read_text())
    config["code"]["init_args"]["blocks"] = None
    text = yaml.safe_dump(config, sort_keys=False)
    place = [f"--out={run.parent.parent}", f"--experiment={run.parent.name}"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / record.CONFIG
        path.write_text(text)
        cli = SuiteCLI([f"--config={path}", *ONE_PROCESS, *place])
    if cli.run.name != run.name:
        raise Refusal(f"{blocks / record.CONFIG} is that of the run {cli.run.name}, not of {run.name}")
    return cli, text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ibsuite.merge",
        description="One run out of blocks that were trained and priced apart (--code.blocks=a:b), with the "
        "very bits of the unbroken run.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="runs/<experiment>/<run>, whose blocks/ holds all of them")
    add("--overwrite", action="store_true", help="merge once more what has been merged")
    return parser


if __name__ == "__main__":
    sys.exit(main())
