"""The command line in processes of its own: two ranks, Ctrl-C, kill -9, going on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from loggers.wandb_log import of_kind

pytestmark = pytest.mark.slow

FIT = [
    sys.executable,
    "-m",
    "ibsuite.fit",
    "--data.num_labels=120",
    "--trainer.accelerator=cpu",
    "--threads=1",
]
SHORT = ["--code.min_steps=30", "--code.max_steps=30", "--code.views=1", "--code.ratio=2"]


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*FIT, *SHORT, *args],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def result(folder: Path) -> tuple[Path, dict[str, Any]]:
    (path,) = folder.rglob("codelength.json")
    return path.parent, json.loads(path.read_text())


def test_two_processes_are_one_run(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    finish(start(tmp_path / "one", "--model.network=MLP"))
    said = finish(start(tmp_path / "two", "--model.network=MLP", "--config", "trainer/two_processes"))
    one, two = result(tmp_path / "one")[1], result(tmp_path / "two")[1]
    assert two["cost"]["devices"] == 2
    assert two["total_bits"] == pytest.approx(
        one["total_bits"], rel=1e-4
    )  # sums in another order while training
    assert said.count("charge") == 1  # one table
    assert len(list((tmp_path / "two").rglob("offline-run-*"))) == 1  # one W&B run


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_anywhere_and_gone_on_with(tmp_path: Path, how: signal.Signals) -> None:
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    finish(start(tmp_path / "whole"))
    broken = start(tmp_path / "broken")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list((tmp_path / "broken").rglob("last.ckpt")):
        time.sleep(0.02)
    broken.send_signal(how)
    broken.communicate(timeout=60)
    assert broken.returncode != 0
    ids = {path.read_text() for path in (tmp_path / "broken").rglob("wandb/run_id")}
    finish(start(tmp_path / "broken", "--ckpt_path=last"))
    run, gone_on = result(tmp_path / "broken")
    assert gone_on["total_bits"] == result(tmp_path / "whole")[1]["total_bits"]
    assert {path.read_text() for path in run.rglob("run_id")} == ids
    logs = run.glob("wandb/offline-run-*/run-*.wandb")  # of a killed process, perhaps an empty one
    assert {record.run_id for log in logs for record in of_kind(log, "run")} == ids
