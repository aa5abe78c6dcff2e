"""The real ``wandb sweep`` and ``wandb agent`` through a whole sweep of small trials, on the loopback."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ibsuite.fit import UNFINISHED
from sweeps.stand_in import StandIn

pytestmark = pytest.mark.slow

SMALL = [
    "--data.num_labels=256",
    "--code.min_steps=20",
    "--code.max_steps=20",
    "--code.views=0",
    "--code.ratio=2",
    "--code.final_model=false",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
]
COMMAND = ["${env}", "${interpreter}", "-m", "${program}", *SMALL, "--ckpt_path=last", "${args}"]
BIN = Path(sys.executable).parent
COUNT = 3


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.close()


def wandb(server: StandIn, folder: Path, *args: str) -> subprocess.Popen[str]:
    """W&B's own program, in a process of its own."""
    path = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [str(BIN / "wandb"), *args],
        cwd=folder,
        env={**os.environ, **path, **server.environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return said


def children_of(run: str) -> list[int]:
    """Processes that the agent has started for a trial, by the id in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"WANDB_RUN_ID={run}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes()
                found += [int(entry.name)] * (b"ibsuite.fit" in command)
        except OSError:
            continue
    return found


def test_a_whole_sweep(tmp_path: Path, stand_in: StandIn) -> None:
    """Three trials, the second on two processes and the first killed in the middle and queued again."""
    trials: list[dict[str, Any]] = [
        {"model.optimizer.lr": 0.01, "code.settings_compared": 256 * COUNT, "data.view_augment": None},
        {"model.optimizer.lr": 0.003, "code.settings_compared": 256 * COUNT, "trainer.devices": 2},
        {"model": {"optimizer": {"lr": 0.001}}, "code.settings_compared": 256 * COUNT, "_wandb": {"a": 1}},
    ]
    stand_in.trials = trials
    stand_in.queue = [("run", f"trial{i}", trial) for i, trial in enumerate(trials)]
    text = {"program": "ibsuite.fit", "command": COMMAND, "method": "grid", "run_cap": COUNT,
            "metric": {"name": "code/total_bits", "goal": "minimize"},
            "parameters": {"model.optimizer.lr": {"values": [0.01, 0.003, 0.001]}}}  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(text))
    assert "me/ibsuite/s" in finished(
        wandb(stand_in, tmp_path, "sweep", "--project", "ibsuite", "sweep.yaml")
    )
    killed: list[int] = []

    def kill_once() -> None:
        deadline = time.monotonic() + 600
        while not killed and time.monotonic() < deadline:
            time.sleep(0.02)
            if list(tmp_path.rglob("last.ckpt")):
                killed.extend(children_of("trial0"))
        stand_in.requeue("trial0")
        for process in killed:
            os.kill(process, signal.SIGKILL)

    threading.Thread(target=kill_once, daemon=True).start()
    said = finished(wandb(stand_in, tmp_path, "agent", "me/ibsuite/s"))
    assert killed, said
    # The count is respected: three runs, and one more process for the trial that was killed.
    assert stand_in.dealt[:2] == [("run", "trial0"), ("resume", "trial0")]
    assert sorted(stand_in.dealt) == [("resume", "trial0"), *(("run", f"trial{i}") for i in range(COUNT))]
    assert set(stand_in.runs) == {f"trial{i}" for i in range(COUNT)}, "one W&B run a trial"
    results = [json.loads(path.read_text()) for path in tmp_path.rglob("codelength.json")]
    assert len(results) == COUNT, "one run folder a trial"
    choices = [result["charges"]["choices"] for result in results]
    assert choices == pytest.approx([math.log2(256 * COUNT)] * COUNT)
    assert sorted(result["cost"]["devices"] for result in results) == [1, 1, 2]
    totals = {run: stand_in.runs[run]["summary"]["code/total_bits"] for run in stand_in.runs}
    assert sorted(totals.values()) == pytest.approx(sorted(result["total_bits"] for result in results))
    for run, rows in stand_in.rows.items():
        blocks = [row["labels_sent"] for row in rows if "labels_sent" in row]
        assert blocks == sorted(set(blocks)), f"{run} logs each block once"
        assert blocks[-1] == 256
        last = [row["code/total_bits"] for row in rows if "code/total_bits" in row][-1]
        assert last == pytest.approx(totals[run])
        assert [row["_step"] for row in rows] == list(range(len(rows))), "no value was dropped"
    assert {run: codes[-1] for run, codes in stand_in.exit_codes.items()} == dict.fromkeys(stand_in.runs, 0)


def test_an_agent_does_not_overrun_its_own_count(tmp_path: Path, stand_in: StandIn) -> None:
    """One trial on two processes and no more, though the sweep has others; still one run."""
    stand_in.trials = [{"model.optimizer.lr": lr, "trainer.devices": 2} for lr in (0.01, 0.003, 0.001)]
    stand_in.queue = [("run", f"trial{i}", trial) for i, trial in enumerate(stand_in.trials)]
    text = {"program": "ibsuite.fit", "command": COMMAND, "method": "grid",
            "parameters": {"model.optimizer.lr": {"values": [0.01, 0.003, 0.001]}}}  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(text))
    finished(wandb(stand_in, tmp_path, "sweep", "--project", "ibsuite", "sweep.yaml"))
    said = finished(wandb(stand_in, tmp_path, "agent", "--count", "1", "me/ibsuite/s"))
    assert set(stand_in.runs) == {"trial0"}, said
    assert len(list(tmp_path.rglob("codelength.json"))) == 1


@pytest.mark.parametrize("stopped", [True, False])
def test_a_trial_that_is_terminated(tmp_path: Path, stand_in: StandIn, stopped: bool) -> None:
    """By the server: it stays stopped. By somebody else: it asks to be queued again. Never exit code 0."""
    environment = {**os.environ, **stand_in.environment, "OMP_NUM_THREADS": "1",
                   "WANDB_RUN_ID": "trial0", "WANDB_SWEEP_ID": "s"}  # fmt: skip
    long = [
        word.replace("max_steps=20", "max_steps=1000").replace("min_steps=20", "min_steps=1000")
        for word in SMALL
    ]
    trial = subprocess.Popen([sys.executable, "-m", "ibsuite.fit", *long, "--ckpt_path=last"],
                             cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE,
                             stdout=subprocess.DEVNULL)  # fmt: skip
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not stand_in.rows.get("trial0"):
        time.sleep(0.1)
    if stopped:
        stand_in.stopped.add("trial0")
    trial.terminate()
    if stopped:  # as agents do
        with contextlib.suppress(subprocess.TimeoutExpired):
            trial.communicate(timeout=30)
        trial.kill()
    _, said = trial.communicate(timeout=120)
    assert trial.returncode != 0
    assert ("trial0" in stand_in.preempting) == (not stopped)
    if not stopped:
        assert trial.returncode == UNFINISHED, said
        assert "go on with --ckpt_path=last" in said
        assert stand_in.exit_codes["trial0"] == [1]
