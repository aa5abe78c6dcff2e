"""The end of a run: its figures drawn, its tables printed, and its numbers handed to the loggers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ibsuite.reporting.compressed import compressed_numbers
from ibsuite.reporting.runs import load_run
from ibsuite.reporting.show import draw_run, print_run


def show_result(run: Path, loggers: Sequence[Any], tables: bool = True) -> None:
    """Draw the figures, hand the result to the loggers, and print the tables where they are wanted."""
    figures = draw_run(run)
    loaded = load_run(run)
    result = loaded.document
    if tables:
        print_run(run)
    if tables and result["manifest_bits"]:
        print(
            f"message: {result['measured_bits'] // 8:,} bytes; open it with `python -m ibsuite.decode {run}`"
        )
    summary = {"code/total_bits": result["total_bits"], "code/compression_ratio": result["compression_ratio"]}
    summary |= {f"code/{name}_bits": bits for name, bits in result["charges"].items()}
    if result["test"]:
        summary |= {f"test/{name}": value for name, value in result["test"].items()}
    if loaded.compression is not None:
        summary |= {
            f"compression/{name}": value for name, value in compressed_numbers(loaded.compression).items()
        }
    for logger in loggers:
        if hasattr(logger, "log_result"):
            logger.log_result(summary, result["parts"], figures)
