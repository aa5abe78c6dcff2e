"""G9, G10: a prequential message is as short as was said, and opens in another process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from messages import digits, receive, send
from small_runs import small_code, small_method

from ibsuite.callbacks.label_message import parameters_sha256
from ibsuite.coding import Manifest
from ibsuite.data import Digits
from ibsuite.interface import Refusal

TEN_STEPS = ["--data.num_labels=120", "--code.min_steps=10", "--code.max_steps=12", "--code.ratio=2.0",
             "--code.views=1", "--code.temperatures=[0.5,1.0]", "--logger=null",
             "--trainer.enable_progress_bar=false"]  # fmt: skip


def manifest_of(run: Path) -> Manifest:
    return Manifest.from_bytes((run / "message" / "manifest.json").read_bytes())


@pytest.mark.parametrize("mixture", ["switch", "block", None])
@pytest.mark.parametrize("random_labels", [0.0, 1.0])
def test_g9_payload_is_what_was_estimated(
    fit: Callable[..., Any], tmp_path: Path, mixture: str | None, random_labels: float
) -> None:
    plain: dict[str, Any] = {} if mixture else {"stops": [1.0], "temperatures": [1.0]}
    data = Digits(batch_size=64, random_labels=random_labels)
    send(fit, tmp_path / "run", data, small_code(mixture=mixture, min_steps=40, max_steps=40, **plain))
    document = json.loads((tmp_path / "run" / "codelength.json").read_text())
    payload, estimated = document["measured_bits"], document["total_bits"]
    assert payload <= estimated + 64 + 0.001 * estimated
    assert payload >= estimated - 8  # or the estimate charges too much


def test_g9_planted_violation_an_estimate_that_left_a_block_out(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    send(fit, tmp_path / "run", Digits(num_labels=400, batch_size=64))
    document = json.loads((tmp_path / "run" / "codelength.json").read_text())
    estimated = document["total_bits"] - document["parts"][-1]["bits"]
    assert document["measured_bits"] > estimated + 64 + 0.001 * estimated


def test_g10_parameters_at_the_end_are_those_of_the_sender(fit: Callable[..., Any], tmp_path: Path) -> None:
    method = small_method()
    send(fit, tmp_path / "run", method=method)
    sent = manifest_of(tmp_path / "run").final_sha256
    found = receive(fit, tmp_path / "run")
    received = found.sequence.trainer.lightning_module
    assert parameters_sha256(received) == parameters_sha256(method) == sent
    assert all(torch.equal(a, b) for a, b in zip(received.parameters(), method.parameters(), strict=True))


def test_g10_planted_violation_a_receiver_who_trains_otherwise(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    """Blocks may still come out where only the last training differs; the hash tells."""

    def last_training_differs(*args: Any) -> Digits:
        data = digits()
        fill = data.fill

        def wrong(start: int, labels: torch.Tensor) -> None:
            fill(start, labels)
            if start + len(labels) == data.num_labels:
                data.augment = None

        data.fill = wrong  # type: ignore[method-assign]
        return data

    send(fit, tmp_path / "run")
    with pytest.raises(Refusal, match="parameters at the end are not those"):
        receive(fit, tmp_path / "run", data=last_training_differs)


def process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh process with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "IBSUITE_DATA": str(folder / "data")}
    command = [sys.executable, "-W", "ignore", "-m", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_g9_g10_in_fresh_processes(tmp_path: Path, devices: int) -> None:
    ranks = [f"--trainer.devices={devices}", "--trainer.accelerator=cpu"]
    sent = process(tmp_path, "ibsuite.fit", *TEN_STEPS, *ranks)
    assert sent.returncode == 0, sent.stderr
    (run,) = (tmp_path / "runs" / "prequential_digits").iterdir()
    for again in ("a", "b"):
        found = process(tmp_path, "ibsuite.decode", str(run), "--out", again, "--no_progress")
        assert found.returncode == 0, found.stderr
        labels = np.load(tmp_path / again / "labels.npy")
        assert (labels == Digits(num_labels=120).labels.numpy()).all()
