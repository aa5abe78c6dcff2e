"""Finished runs read back from their folders: tables for people, results for the repository."""

from ibsuite.reporting.publish import publish
from ibsuite.reporting.runs import Run, find_runs, load_run
from ibsuite.reporting.table import blocks_table, charges_table, experiments_table, runs_table

__all__ = [
    "Run",
    "blocks_table",
    "charges_table",
    "experiments_table",
    "find_runs",
    "load_run",
    "publish",
    "runs_table",
]
