"""A W&B run that is gone on with holds every row once, whatever the killed process could still send."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ibsuite.loggers import MetricsTable, WeightsAndBiases
from sweeps.stand_in import StandIn


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    server = StandIn()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_RUN_ID", "trial0")
    yield server
    server.close()


def log(folder: Path, steps: list[int], gone_on_from: int | None = None) -> None:
    """One process: a row at each step, to the table and to W&B."""
    table, logger = MetricsTable(folder / "metrics.csv"), WeightsAndBiases()
    logger.describe(folder, "a", "b", {"model.beta": 0.1})
    if gone_on_from is not None:
        table.resume(gone_on_from)
        logger.resume(gone_on_from)
    logger.begin()
    for step in steps:
        for each in (table, logger):
            each.log_metrics({"code/total_bits": 100.0 - step}, step=step)
    logger.close(0 if 20 in steps else 1)


@pytest.mark.parametrize("sent", [3, 1])
def test_each_row_once(tmp_path: Path, stand_in: StandIn, sent: int) -> None:
    """Saved at step 10, killed after step 15, of which the server had got all rows, or the first alone."""
    log(tmp_path, [5, 10, 15])
    rows = stand_in.rows["trial0"]
    assert [row["trainer/global_step"] for row in rows] == [5, 10, 15]
    del rows[sent:]
    stand_in.runs["trial0"]["summary"] = dict(rows[-1])
    log(tmp_path, [15, 20], gone_on_from=10)  # step 15 is done again
    assert [row["trainer/global_step"] for row in rows] == [5, 10, 15, 20]
    assert [row["code/total_bits"] for row in rows] == [95, 90, 85, 80]
    assert [row["_step"] for row in rows] == [0, 1, 2, 3]  # W&B drops what goes back
    assert stand_in.exit_codes["trial0"] == [1, 0]


def test_killed_before_anything_was_logged(tmp_path: Path, stand_in: StandIn) -> None:
    log(tmp_path, [])
    log(tmp_path, [15, 20], gone_on_from=10)
    assert [row["trainer/global_step"] for row in stand_in.rows["trial0"]] == [15, 20]
