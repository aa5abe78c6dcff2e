"""Offline codes on two ranks: one run, one result, and ranks that agree about every choice."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ibsuite.nn import load_network

pytestmark = pytest.mark.slow

SMALL = [
    "--data.num_labels=120",
    "--data.batch_size=16",
    "--trainer.accelerator=cpu",
    "--threads=1",
    "--logger=null",
    "--code.min_steps=30",
    "--code.max_steps=30",
]
CODES = {
    # Batch normalisation: each rank's buffers are its own until they are shared.
    "network_compression_digits": ["--model.network=ConvNet", "--model.network.widths=[4]"],
    # The network gets other layers in the middle, whose gradients have to be reduced as well.
    "vibnet_digits": [
        "--code.validation_labels=20",
        "--model.gamma=0.01",
        "--model.network=ConvNet",
        "--model.network.widths=[6,6]",
        "--model.layer_gammas=[0.02,0.02,0.02,0.02]",
    ],
    # Each rank draws noise for its own share of a batch.
    "deepvib_digits": ["--code.validation_labels=20", "--code.watched=2"],
    # Critics look at pairs across ranks, and gradients are added up by hand.
    "layerwise_digits": ["--code.validation_labels=20", "--code.watched=4"],
    "variational_digits": ["--code.draws=3", "--code.watched=1"],
}


def run(folder: Path, *args: str) -> tuple[dict[str, Any], str]:
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "ibsuite.fit", *args, *SMALL],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.rglob("codelength.json")
    return json.loads(path.read_text()), done.stdout


@pytest.mark.parametrize("config", CODES)
def test_two_processes_are_one_run(tmp_path: Path, config: str) -> None:
    args = ["--config", config, *CODES[config]]
    two, said = run(tmp_path / "two", *args, "--config", "trainer/two_processes")
    again, _ = run(tmp_path / "again", *args, "--config", "trainer/two_processes")
    one, _ = run(tmp_path / "one", *args)
    assert two["cost"]["devices"] == 2
    assert said.count("charge") == 1  # one table
    assert two["charges"] == again["charges"]
    assert two["total_bits"] == math.fsum(two["charges"].values())
    # Ranks draw noise, and normalise batches, on their own: the training is another one.
    assert two["total_bits"] == pytest.approx(one["total_bits"], rel=0.25)
    assert two["charges"].get("choices") == one["charges"].get("choices")


TRAIN_ON = """
import sys
from pathlib import Path
import lightning.pytorch as L
import torch
from ibsuite.data import Digits
from ibsuite.methods import CrossEntropy
from ibsuite.nn import load_network, save_network

if __name__ == "__main__":
    network = load_network(sys.argv[1])
    method = CrossEntropy(network, lambda p: torch.optim.Adam(p, lr=1e-3), warmup=0.0)
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )
    trainer.fit(method, datamodule=Digits(num_labels=120, batch_size=16))
    if trainer.is_global_zero:
        save_network(method.network, Path("again"))
"""


def test_a_saved_network_trains_on_under_ddp(tmp_path: Path) -> None:
    arguments = ["--config", "vibnet_digits", *CODES["vibnet_digits"]]
    run(tmp_path / "run", *arguments)
    (folder,) = tmp_path.rglob("network")
    (tmp_path / "train_on.py").write_text(TRAIN_ON)
    done = subprocess.run(
        [sys.executable, "train_on.py", str(folder)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    before, after = load_network(folder).state_dict(), load_network(tmp_path / "again").state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
