"""Finished runs read back from their folders: tables for people, results for the repository."""

from ibsuite.reporting.bottleneck import bottleneck_numbers, plane_curves
from ibsuite.reporting.codes import compare
from ibsuite.reporting.comparison import codes_notes, codes_table, write_csv, write_markdown
from ibsuite.reporting.compressed import compressed_numbers, compressed_tables
from ibsuite.reporting.finished import show_result
from ibsuite.reporting.information import draw_embedding, draw_information
from ibsuite.reporting.intact import intact_run, intact_runs
from ibsuite.reporting.publish import publish
from ibsuite.reporting.rate_distortion import draw_rate_distortion, draw_tuning
from ibsuite.reporting.runs import Run, find_runs, load_run
from ibsuite.reporting.show import (
    draw_bottleneck,
    draw_curves,
    draw_run,
    draw_runs,
    draw_tradeoff,
    print_run,
    print_runs,
)
from ibsuite.reporting.table import blocks_table, charges_table, experiments_table, runs_table

__all__ = [
    "Run",
    "blocks_table",
    "bottleneck_numbers",
    "charges_table",
    "codes_notes",
    "codes_table",
    "compare",
    "compressed_numbers",
    "compressed_tables",
    "draw_bottleneck",
    "draw_curves",
    "draw_embedding",
    "draw_information",
    "draw_rate_distortion",
    "draw_run",
    "draw_runs",
    "draw_tradeoff",
    "draw_tuning",
    "experiments_table",
    "find_runs",
    "intact_run",
    "intact_runs",
    "load_run",
    "plane_curves",
    "print_run",
    "print_runs",
    "publish",
    "runs_table",
    "show_result",
    "write_csv",
    "write_markdown",
]
