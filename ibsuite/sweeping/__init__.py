"""Sweeps without a server: the file that W&B's agents take, its trials, and how they are run."""

from ibsuite.sweeping.description import Sweep, read_sweep
from ibsuite.sweeping.trials import any_failed, run_trials, trials_table

__all__ = ["Sweep", "any_failed", "read_sweep", "run_trials", "trials_table"]
