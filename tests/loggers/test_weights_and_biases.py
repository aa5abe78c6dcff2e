"""W&B gets what metrics.csv gets, in one run a fit, and never stops anything."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb

from ibsuite.fit import main
from ibsuite.loggers import WeightsAndBiases
from loggers.wandb_log import history, of_kind

SMALL = [
    "--data.num_labels=60",
    "--code.min_steps=8",
    "--code.max_steps=8",
    "--code.views=0",
    "--code.ratio=2",
]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]


def fit(out: Path, *args: str) -> Path:
    assert main([*SMALL, *QUIET, f"--out={out}", *args]) == 0
    (finished,) = out.rglob("codelength.json")
    return finished.parent


def logs(run: Path) -> list[Path]:
    return sorted(run.glob("wandb/offline-run-*/run-*.wandb"))


def table(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_offline_run_holds_bits_against_labels_sent(tmp_path: Path) -> None:
    run = fit(tmp_path)
    (log,) = logs(run)
    result = json.loads((run / "codelength.json").read_text())
    rows = [row for row in history(log) if "code/total_bits" in row]
    assert [row["labels_sent"] for row in rows] == [16, 32, 60]
    assert rows[-1]["code/total_bits"] == pytest.approx(result["total_bits"])
    axes = {metric.glob_name or metric.name: metric.step_metric for metric in of_kind(log, "metric")}
    assert axes["code/*"] == "labels_sent"
    assert any(key.startswith("code/parts") for row in history(log) for key in row)
    assert any(key.startswith("figures/prequential") for row in history(log) for key in row)
    final = {
        item.key or "/".join(item.nested_key): item.value_json
        for s in of_kind(log, "summary")
        for item in s.update
    }
    assert float(final["code/compression_ratio"]) == pytest.approx(result["compression_ratio"])
    config = {
        item.key or "/".join(item.nested_key): item.value_json
        for r in of_kind(log, "run")
        for item in r.config.update
    }
    config |= {
        i.key or "/".join(i.nested_key): i.value_json for c in of_kind(log, "config") for i in c.update
    }
    assert (
        json.loads(config["model.optimizer.lr"]) == 0.01
    )  # the name that the command line, and a sweep, has for it


def test_metrics_csv_is_its_twin(tmp_path: Path) -> None:
    run = fit(tmp_path)
    logged = [row for row in history(logs(run)[0]) if "code/total_bits" in row]
    rows = [row for row in table(run) if row.get("code/total_bits")]
    for ours, theirs in zip(rows, logged, strict=True):
        assert {key: float(ours[key]) for key in ours if ours[key]} == pytest.approx(
            {k: theirs[k] for k in ours if ours[k]}
        )


@pytest.mark.parametrize("trouble", ["broken", "absent"])
def test_trouble_with_wandb_never_stops_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise wandb.Error("no such thing")

    if trouble == "broken":
        monkeypatch.setattr(wandb, "init", fail)
    else:
        monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.warns(UserWarning, match="W&B is left out of this run"):
        run = fit(tmp_path)
    assert table(run)[-1]["code/total_bits"]


def test_no_logger_no_wandb(tmp_path: Path) -> None:
    run = fit(tmp_path, "--logger=null")
    assert not (run / "wandb").exists()
    assert table(run)


def test_a_run_that_is_gone_on_with_keeps_its_id(tmp_path: Path) -> None:
    first, again = WeightsAndBiases(), WeightsAndBiases()
    first.describe(tmp_path, "a", "b", {})
    again.describe(tmp_path, "a", "b", {})
    assert first.version == again.version
    other = WeightsAndBiases()
    other.describe(tmp_path / "other", "a", "b", {})
    assert other.version != first.version


def test_a_sweep_gives_the_id_and_locks_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "trial7")
    logger = WeightsAndBiases()
    logger.describe(tmp_path, "a", "b", {})
    assert logger.version == "trial7"


def test_offline_unless_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "login", lambda **_: False)
    assert WeightsAndBiases()._mode() == "offline"
    monkeypatch.setattr(wandb, "login", lambda **_: True)
    assert WeightsAndBiases()._mode() == "online"
    assert WeightsAndBiases(mode="disabled")._mode() == "disabled"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert WeightsAndBiases(mode="online")._mode() == "offline"
