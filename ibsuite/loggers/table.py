"""``metrics.csv``: W&B's twin, readable without W&B."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from ibsuite.record import write_csv

STEP = "trainer/global_step"


class MetricsTable(Logger):
    """Every logged scalar, one row a call, in ``<run>/metrics.csv``.

    A resumed run goes on in the same table; rows of steps that it does again are replaced.

    Args:
        path: of the table.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.columns: list[str] = [STEP]

    name = "metrics"
    version = ""

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Keep what an earlier process wrote before ``step``."""
        if self.path.exists():
            with self.path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row[STEP]) <= step]
            self.columns = list(dict.fromkeys([*self.columns, *(key for row in self.rows for key in row)]))
            self._rewrite()

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add one row."""
        row = {STEP: step or 0, **metrics}
        new = [key for key in row if key not in self.columns]
        self.rows.append(row)
        if new or not self.path.exists():
            self.columns += new
            self._rewrite()
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` holds them."""

    def _rewrite(self) -> None:
        write_csv(self.path, ({key: row.get(key, "") for key in self.columns} for row in self.rows))
