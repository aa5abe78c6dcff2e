"""Processes that others have started: torchrun, nodes, SLURM; and a cluster that wants its machines back."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ibsuite.fit import UNFINISHED, main
from ibsuite.interface import Refusal
from ibsuite.processes import launcher, match_launcher

FIT = [
    "-m",
    "ibsuite.fit",
    "--model.network=MLP",
    "--trainer.accelerator=cpu",
    "--threads=1",
    "--logger=null",
]
SHORT = ["--data.num_labels=120", "--code.min_steps=20", "--code.max_steps=20", "--code.views=1"]
SHORT += ["--code.block_ends=[40]", "--code.final_model=false"]


def settings(**given: Any) -> Any:
    """What match_launcher changes."""
    return {"devices": 1, "num_nodes": 1, **given}


@pytest.fixture
def by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes with two processes each."""
    started = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "4", "RANK": "0"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def by_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three nodes with two tasks each."""
    started = {"SLURM_NTASKS": "6", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "3", "SLURM_PROCID": "0"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)


def test_nobody_has_started_this_process() -> None:
    given = settings(devices=3)
    match_launcher(given, [])
    assert launcher() is None
    assert given == settings(devices=3)


@pytest.mark.parametrize("said", [1, "auto", -1, 2, "2"])
def test_torchrun_says_how_many_there_are(by_torchrun: None, said: Any) -> None:
    given = settings(devices=said)
    match_launcher(given, [])
    assert given == {"devices": 2, "num_nodes": 2}


def test_slurm_says_how_many_there_are(by_slurm: None) -> None:
    given = settings()
    match_launcher(given, [])
    assert given == {"devices": 2, "num_nodes": 3}


@pytest.mark.parametrize(
    ("given", "typed", "said"),
    [
        (settings(devices=4), [], "trainer.devices=4, but torchrun has started 2 processes a node"),
        (settings(), ["--trainer.devices=1"], "trainer.devices=1, but torchrun has started 2 processes"),
        (settings(devices=[0, 1, 2]), [], "trainer.devices=3, but torchrun has started 2"),
        (settings(num_nodes=3), [], "trainer.num_nodes=3, but torchrun has started 2 nodes: leave it out"),
    ],
)
def test_other_numbers_are_refused(by_torchrun: None, given: Any, typed: list[str], said: str) -> None:
    with pytest.raises(Refusal, match=r"leave it out") as refused:
        match_launcher(given, typed)
    assert said in str(refused.value)


def test_tasks_that_slurm_may_put_anywhere_are_refused(
    by_slurm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(Refusal, match=r"--ntasks-per-node=2 in place of --ntasks=6"):
        launcher()


def test_a_signal_stops_the_run_at_the_end_of_a_stretch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ibsuite.callbacks import PrequentialCode

    step = PrequentialCode.on_train_batch_end

    def stopped(self: Any, *given: Any) -> None:
        step(self, *given)
        if self.steps_done == 3:
            os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(PrequentialCode, "on_train_batch_end", stopped)
    before = signal.getsignal(signal.SIGUSR1)
    assert main([*FIT[2:], *SHORT, f"--out={tmp_path}", "--trainer.enable_progress_bar=false"]) == UNFINISHED
    assert signal.getsignal(signal.SIGUSR1) == before
    said = capsys.readouterr().err
    assert "SIGUSR1: the run stops at the end of this stretch" in said
    assert "is unfinished; go on with --ckpt_path=last" in said
    (saved,) = tmp_path.rglob("last.ckpt")
    (code,) = torch.load(saved, weights_only=True)["callbacks"].values()
    assert 3 < code["steps_done"] < 20  # a stop on the way, and not within a stretch
    assert code["stretch_steps"] == 0


def bits(folder: Path) -> float:
    """Of the one run in a folder."""
    (path,) = folder.rglob("codelength.json")
    return float(json.loads(path.read_text())["total_bits"])


def test_ranks_with_other_checkpoints_are_refused() -> None:
    from ibsuite.callbacks import SaveStretch

    strategy = SimpleNamespace(broadcast=lambda _: "last.ckpt", reduce_boolean_decision=lambda same: same)
    trainer: Any = SimpleNamespace(strategy=strategy, ckpt_path="None", default_root_dir="runs/x/0-1")
    with pytest.raises(Refusal, match="a file system that they share"):
        SaveStretch().on_fit_start(trainer, trainer)


# Processes


def start(folder: Path, command: list[str], **environment: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, *command, "--out=runs"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(*processes: subprocess.Popen[str]) -> str:
    said = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return "".join(said)


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Bits of one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert main([*FIT[2:], *SHORT, f"--out={folder}", "--trainer.enable_progress_bar=false"]) == 0
    return bits(folder)


def assert_one_run(folder: Path, said: str, alone: float, devices: int = 2) -> None:
    (path,) = folder.rglob("codelength.json")
    found = json.loads(path.read_text())
    assert found["cost"]["devices"] == devices
    assert found["total_bits"] == pytest.approx(alone, rel=1e-4)  # sums in another order while training
    assert said.count("charge") == 1  # one table


@pytest.mark.slow
def test_torchrun(tmp_path: Path, alone: float) -> None:
    run = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    assert_one_run(tmp_path, finish(start(tmp_path, [*run, *FIT, *SHORT])), alone)


@pytest.mark.slow
def test_torchrun_with_two_nodes(tmp_path: Path, alone: float) -> None:
    """Both on this machine, one process each, meeting on the loopback."""
    run = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--rdzv_id=x"]
    run += ["--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{free_port()}", "--local_addr=127.0.0.1"]
    nodes = [start(tmp_path, [*run, *FIT, *SHORT]) for _ in range(2)]
    assert_one_run(tmp_path, finish(*nodes), alone)


def slurm_task(folder: Path, rank: int, port: str, *args: str) -> subprocess.Popen[str]:
    """One task as srun starts it: two nodes with one task each."""
    started = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "digits", "SLURM_NTASKS": "2", "SLURM_NNODES": "2",
               "SLURM_NTASKS_PER_NODE": "1", "SLURM_PROCID": str(rank), "SLURM_LOCALID": "0",
               "SLURM_NODEID": str(rank), "SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
    return start(folder, [*FIT, *args], **started)


@pytest.mark.slow
def test_slurm_and_a_job_that_is_preempted(tmp_path: Path) -> None:
    """Both tasks get the signal, both end as unfinished, and the requeued job ends with the same bits."""
    many = ["--data.num_labels=400", "--code.min_steps=600", "--code.max_steps=600", "--code.views=0"]
    many += ["--code.block_ends=[200]", "--code.final_model=false"]
    port = free_port()
    finish(*(slurm_task(tmp_path / "whole", rank, port, *many) for rank in range(2)))
    port = free_port()
    tasks = [slurm_task(tmp_path / "broken", rank, port, *many, "--ckpt_path=last") for rank in range(2)]
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not list((tmp_path / "broken").rglob("last.ckpt")):
        time.sleep(0.02)
    for task in tasks:
        task.send_signal(signal.SIGTERM)
    said = "".join(task.communicate(timeout=900)[0] for task in tasks)
    assert [task.returncode for task in tasks] == [UNFINISHED] * 2, said
    assert said.count("is unfinished; go on with --ckpt_path=last") == 1
    port = free_port()
    finish(*(slurm_task(tmp_path / "broken", rank, port, *many, "--ckpt_path=last") for rank in range(2)))
    assert bits(tmp_path / "broken") == bits(tmp_path / "whole")


@pytest.mark.slow
def test_compiled_steps_from_the_command_line(tmp_path: Path, alone: float) -> None:
    """In two processes, one of which Lightning starts."""
    command = [*FIT, *SHORT, "--compile", "--config", "trainer/two_processes"]
    assert_one_run(tmp_path, finish(start(tmp_path, command)), alone)
