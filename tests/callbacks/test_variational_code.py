"""The variational code: an expectation over draws, and its standard error."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from offline_runs import code_of, document, method_of

from ibsuite.callbacks.receiving import receive_two_part
from ibsuite.coding import Manifest
from ibsuite.data import Digits
from ibsuite.interface import Refusal
from ibsuite.methods import Variational, VariationalSubspace
from ibsuite.nn import MLP, ConjugateGaussian, FixedGaussian, LearnedGaussian, ScaleMixture


def variational(prior: Any) -> Variational:
    return Variational(MLP((1, 8, 8), 10, (8,)), prior, optimizer=lambda p: torch.optim.Adam(p, lr=0.02))


def test_more_draws_are_the_same_length_more_exactly(fit: Callable[..., Any], tmp_path: Path) -> None:
    for draws in (4, 64):
        fit(code=code_of("variational", draws=draws), method=method_of("variational"), folder=str(draws))
    few, many = (document(tmp_path / str(draws)) for draws in (4, 64))
    assert few["charges"]["kl"] == many["charges"]["kl"]
    error = few["standard_error_bits"]
    assert 0 < many["standard_error_bits"] < error
    assert abs(few["total_bits"] - many["total_bits"]) < 5 * error
    stored = [np.load(tmp_path / str(draws) / "labels.npz")["log2_probs"] for draws in (4, 64)]
    np.testing.assert_array_equal(stored[0], stored[1][:4])  # draws are numbered


def test_a_prior_with_settings_is_charged_and_a_fixed_one_is_not(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    fit(code=code_of("variational"), method=method_of("variational"), folder="learned")
    fit(code=code_of("variational"), method=variational(FixedGaussian(0.2)), folder="fixed")
    assert document(tmp_path / "learned")["charges"]["prior"] == 8 * 4
    assert document(tmp_path / "fixed")["charges"]["prior"] == 0


def test_the_error_of_a_sampled_kl_is_inside_the_standard_error(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    code = fit(code=code_of("variational", draws=3), method=variational(ScaleMixture()))
    found = document(tmp_path / "run")
    labels = -np.load(tmp_path / "run" / "labels.npz")["log2_probs"].astype(float).sum(1)
    alone = labels.std(ddof=1) / 3**0.5
    assert found["standard_error_bits"] > alone
    method = code.sequence.trainer.lightning_module
    errors = [method.divergence(64, seed).standard_error_bits for seed in range(4)]
    kl_error = (found["standard_error_bits"] ** 2 - alone**2) ** 0.5
    assert kl_error == pytest.approx(np.mean(errors), rel=0.5)


def test_labels_are_below_uniform(fit: Callable[..., Any], tmp_path: Path) -> None:
    """Everything charged, 400 digits, seed 0."""
    data, steps = Digits(num_labels=400, batch_size=32), {"min_steps": 400, "max_steps": 400}
    fit(data, code_of("variational", **steps), method_of("variational"))
    found = document(tmp_path / "run")
    assert found["total_bits"] < 0.8 * found["uniform_bits"]


def test_one_draw_has_no_standard_error() -> None:
    with pytest.raises(Refusal, match=r"code\.draws must be at least 2, for a standard error; got 1"):
        code_of("variational", draws=1)


def send(fit: Callable[..., Any], run: Path, method: Any, **settings: Any) -> Any:
    """A run with a config, as the command line makes them; it leaves a message."""
    run.mkdir(parents=True, exist_ok=True)
    config = {"seed_everything": 0, "threads": 1, "data": {}, "model": {}, "code": {}, "trainer": {}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return fit(code=code_of("variational", **settings), method=method, folder=run.name)


def subspace() -> VariationalSubspace:
    return VariationalSubspace(
        MLP((1, 8, 8), 10, (8,)), 40, LearnedGaussian(), optimizer=lambda p: torch.optim.Adam(p, lr=0.05)
    )


METHODS: dict[str, Callable[[], Any]] = {
    "learned": lambda: method_of("variational"),
    "learned per output": lambda: variational(LearnedGaussian("output")),
    "learned per input": lambda: variational(LearnedGaussian("input")),
    "fixed": lambda: variational(FixedGaussian(0.2)),
    "centred": lambda: method_of("variational", center="initialisation"),
    "subspace": subspace,
}


@pytest.mark.parametrize("name", METHODS)
def test_a_receiver_finds_labels_and_weights_from_the_message_alone(
    fit: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    code = send(fit, tmp_path / "run", METHODS[name]())
    sequence, found = code.sequence, document(tmp_path / "run")
    sent = found["compared"]
    kl_bits, prior_bits = found["charges"]["kl"], found["charges"]["prior"]
    assert sent["sent_weights_bits"] <= prior_bits + 1.25 * kl_bits + 64
    files = [(tmp_path / "run" / "message" / f"{each}.bin").stat().st_size for each in ("weights", "labels")]
    assert 8 * files[0] == sent["sent_weights_bits"]
    assert 8 * files[1] == pytest.approx(sent["sent_labels_bits"], abs=16, rel=1e-3)
    assert found["measured_bits"] == 8 * sum(files)
    manifest = Manifest.from_bytes((tmp_path / "run" / "message" / "manifest.json").read_bytes())
    torch.manual_seed(1234)
    receiver, another = METHODS[name](), code_of("variational", seed=code.seed)
    labels = receive_two_part(another, receiver, sequence, manifest, tmp_path / "run")
    assert torch.equal(labels, sequence.labels)


def test_the_method_is_left_as_it_was_trained(fit: Callable[..., Any], tmp_path: Path) -> None:
    method = method_of("variational")
    send(fit, tmp_path / "run", method)
    drawn = method_of("variational")
    code_of("variational").receive(drawn, (tmp_path / "run" / "message" / "weights.bin").read_bytes())
    q = method.standardised()
    assert q is not None
    assert method.divergence(2, 0).kl_bits == document(tmp_path / "run")["charges"]["kl"]
    assert len(q.settings) == document(tmp_path / "run")["charges"]["prior"] / 8
    assert not torch.equal(method.network.layers[1].weight, drawn.network.layers[1].weight)


@pytest.mark.parametrize("prior", [ScaleMixture(), ConjugateGaussian()])
def test_a_prior_of_other_weights_leaves_a_bound(fit: Callable[..., Any], tmp_path: Path, prior: Any) -> None:
    send(fit, tmp_path / "run", variational(prior))
    assert not (tmp_path / "run" / "message").exists()
    found = document(tmp_path / "run")
    assert found["measured_bits"] is None
    assert "sent_labels_bits" not in found["compared"]
    with pytest.raises(ValueError, match="the prior of this method is not one"):
        code_of("variational").receive(variational(prior), b"..")


@pytest.mark.slow
def test_a_variational_message_opens_in_a_fresh_process(tmp_path: Path) -> None:
    def process(*arguments: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "IBSUITE_DATA": str(tmp_path / "data")}
        command = [sys.executable, "-W", "ignore", "-m", *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    short = ["--data.num_labels=300", "--code.max_steps=200", "--code.watched=0", "--logger=null"]
    process("ibsuite.fit", "--config", "variational_digits", *short, "--trainer.enable_progress_bar=false")
    (run,) = (tmp_path / "runs" / "variational_digits").iterdir()
    process("ibsuite.decode", str(run), "--out", "found", "--no_progress")
    assert (np.load(tmp_path / "found" / "labels.npy") == Digits(num_labels=300).labels.numpy()).all()
