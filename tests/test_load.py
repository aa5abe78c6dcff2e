"""``ibsuite.load``: of every method the network that priced the labels, without its data."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from compress_runs import compressed, trained
from torch import Tensor

import ibsuite
from ibsuite.codes import codelength_bits, log2_probabilities
from ibsuite.data import Digits
from ibsuite.fit import main as fit
from ibsuite.interface import Refusal
from ibsuite.nn import load_network
from ibsuite.python import LoadedNetwork
from ibsuite.record import read_codelength, read_csv

SHORT = ["--data.num_labels=120", "--data.batch_size=32", "--code.min_steps=25", "--code.max_steps=25",
         "--logger=null", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]  # fmt: skip
SENT = {
    "float_two_part_digits": ["--model.network.filters=[2,4]", "--code.temperatures=[0.5,1]"],
    "two_part_digits": ["--code.watched=0", "--model.network.filters=[2,4]"],
    "network_compression_digits": ["--model.network.filters=[2,4]", "--code.finetune_epochs=1"],
    "subspace_digits": ["--model.dimension=30", "--code.finetune_epochs=0"],
    "layerwise_digits": ["--code.validation_labels=20"],
    "deepvib_digits": ["--code.validation_labels=20", "--code.watched=0"],
    "ceb_digits": ["--code.validation_labels=20", "--code.watched=0"],
    "nonlinear_ib_digits": ["--code.validation_labels=20", "--code.watched=0"],
}
FAST = ("float_two_part_digits", "subspace_digits")
KINDS = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in SENT]
OTHERS = {
    "prequential_digits": ["--code.views=0", "--code.ratio=4", "--model.network=MLP",
                           "--code.temperatures=[1]"],
    "variational_digits": ["--code.draws=2", "--code.watched=0", "--model.network.filters=[2,4]"],
    "vibnet_digits": ["--code.validation_labels=20", "--code.watched=0", "--model.network.hidden=[20,10]",
                      "--data.margin=1"],
}  # fmt: skip


def made(out: Path, name: str) -> Path:
    config = "default" if name == "prequential_digits" else name
    assert fit([f"--config={config}", f"--out={out}", *SHORT, *{**SENT, **OTHERS}[name]]) == 0
    (run,) = (out / name).iterdir()
    return run


@pytest.fixture(scope="module")
def prequential(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("runs"), "prequential_digits")


@pytest.fixture
def copy(prequential: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prequential, tmp_path / prequential.name))


def raw_inputs(run: Path) -> tuple[Tensor, Tensor]:
    """Raw inputs of the run and their labels, in its order, straight from the data set."""
    order = np.load(run / "labels.npz")["order"]
    x, y = Digits().read_train()
    return x[order], y[order]


def logits_of(network: LoadedNetwork) -> tuple[Tensor, Tensor]:
    raw, labels = raw_inputs(network.run)
    with torch.no_grad():
        return network(network.prepare(raw)), labels


def check_priced(network: LoadedNetwork, draw: int = 0) -> None:
    """The logits are those that priced the labels."""
    logits, labels = logits_of(network)
    log2_probs = log2_probabilities(logits, network.temperature)[torch.arange(len(labels)), labels]
    priced = np.load(network.run / "labels.npz")["log2_probs"][draw]
    assert np.allclose(log2_probs.numpy(), priced, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_network_that_was_sent_prices_the_labels_as_it_did(tmp_path: Path, name: str) -> None:
    run = made(tmp_path, name)
    network = ibsuite.load(run)
    check_priced(network)
    check_priced(ibsuite.load(run, sent=True))
    assert not any(module.training for module in network.modules())
    assert (network.num_classes, network.input_shape) == (10, (1, 8, 8))
    assert network.classes == list(range(10))
    assert network.codelength == read_codelength(run)
    logits, labels = logits_of(network)
    accuracy = float((logits.argmax(1) == labels).double().mean())
    assert accuracy == pytest.approx(network.codelength["parts"][0]["accuracy"])
    with pytest.raises(Refusal, match="no distribution over weights"):
        network.draw(0)


def test_the_final_model_of_a_prequential_run(prequential: Path) -> None:
    network = ibsuite.load(str(prequential.parent))  # the only run in there
    assert network.run == prequential
    logits, labels = logits_of(network)
    left = network.codelength["total_bits"] - network.codelength["model_information_bits"]
    assert codelength_bits(logits, labels) == pytest.approx(left, rel=1e-4)
    with pytest.raises(Refusal, match="sends no weights"):
        ibsuite.load(prequential, sent=True)


def test_means_and_draws_of_a_distribution_over_weights(tmp_path: Path) -> None:
    network = ibsuite.load(made(tmp_path, "variational_digits"))
    means, _ = logits_of(network)
    with network.draw(7):
        drawn, _ = logits_of(network)
    with network.draw(7):
        again, _ = logits_of(network)
    assert torch.equal(drawn, again)
    assert not torch.allclose(drawn, means)
    assert torch.equal(logits_of(network)[0], means)
    sent, labels = logits_of(ibsuite.load(network.run, sent=True))
    bits = network.codelength["compared"]["sent_labels_bits"]
    assert codelength_bits(sent, labels) == pytest.approx(bits, rel=1e-4)


def test_a_pruned_network_is_small(tmp_path: Path) -> None:
    run = made(tmp_path, "vibnet_digits")
    network = ibsuite.load(run)
    assert network.input_shape == (1, 6, 6)
    whole, _ = logits_of(network)
    raw, labels = raw_inputs(run)
    data = Digits(margin=1, num_labels=120)
    x = data.inputs(torch.arange(120), torch.device("cpu"))
    assert torch.equal(network.prepare(raw), x)
    assert torch.equal(whole, load_network(run / "network")(x))
    wrong = 100 * float((whole.argmax(1) != labels)[-20:].double().mean())
    found = ibsuite.record.read_compression(run)
    assert wrong == pytest.approx(found["validation_error_percent"]["finetuned"])
    check_priced(ibsuite.load(run, sent=True))
    with pytest.raises(Refusal, match=r"give \(n, 1, 8, 8\)"):
        network.prepare(raw[:, :, 1:-1, 1:-1])


@pytest.mark.slow
def test_the_shortest_point_of_a_curve(tmp_path: Path) -> None:
    (curve,) = compressed(trained(tmp_path), "--methods", "quantise", "--objectives", "baseline")
    network = ibsuite.load(curve)
    check_priced(network)
    best = min(read_csv(curve / "curve.csv"), key=lambda row: row["total_bits"])
    logits, labels = logits_of(network)
    assert codelength_bits(logits, labels) == pytest.approx(best["label_bits"], rel=1e-4)


def test_nothing_of_the_process_changes(prequential: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    ibsuite.load(prequential)
    assert torch.equal(torch.rand(3), expected)


def test_the_package_itself_stays_light() -> None:
    code = "import sys, ibsuite; assert 'torch' not in sys.modules; assert 'load' in dir(ibsuite)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        _ = ibsuite.laod


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _no_result(run: Path) -> None:
    (run / "codelength.json").unlink()


SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "unfinished": (_no_result, "an unfinished run; finish it"),
    "no checkpoint": (lambda run: (run / "checkpoints/final.ckpt").unlink(), "has lost its"),
    "cut checkpoint": (lambda run: _cut(run / "checkpoints/final.ckpt"), "is damaged"),
    "other network": (
        lambda run: (run / "config.yaml").write_text(
            (run / "config.yaml").read_text().replace("hidden:", "widht:")
        ),
        "config.yaml cannot be built: unknown option",
    ),
    "cut result": (lambda run: _cut(run / "codelength.json"), "is not JSON"),
    "cut inputs": (lambda run: _cut(run / "inputs.json"), "has no readable inputs.json"),
    "cut config": (lambda run: (run / "config.yaml").write_text("model: ["), "config.yaml"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_run_is_refused_in_one_sentence(copy: Path, how: str) -> None:
    spoil, said = SPOILT[how]
    spoil(copy)
    with pytest.raises(Refusal, match=said) as refused:
        ibsuite.load(copy)
    assert "\n" not in str(refused.value)


def test_what_is_no_run_or_several_is_refused(prequential: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="is not a folder"):
        ibsuite.load(tmp_path / "nowhere")
    with pytest.raises(Refusal, match="holds no run"):
        ibsuite.load(tmp_path)
    for number in range(5):
        shutil.copytree(prequential, tmp_path / f"{number}-{prequential.name[2:]}")
    with pytest.raises(Refusal, match=r"holds 5 runs .* give one of them"):
        ibsuite.load(tmp_path)


def test_inputs_of_another_kind_are_refused(prequential: Path) -> None:
    network = ibsuite.load(prequential)
    raw, _ = raw_inputs(prequential)
    assert torch.equal(network.prepare(raw[:, 0].numpy()), network.prepare(raw))
    with pytest.raises(Refusal, match="from 0 to 255"):
        network.prepare(raw.float())
    with pytest.raises(Refusal, match="inputs of shape"):
        network.prepare(raw[0, 0])
