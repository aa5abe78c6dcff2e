"""``ibsuite.code``: own arrays, networks and modules, from Python, into the same run folders."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_modules import Mine, Plain, Tokens

import ibsuite
from ibsuite.compress import main as compress
from ibsuite.data import Digits
from ibsuite.decode import main as decode
from ibsuite.interface import Refusal
from ibsuite.nn.given import kept_parameters, network_sha256
from ibsuite.report import main as report

N = 60
FEW: dict[str, Any] = {
    "code.min_steps": 12,
    "code.max_steps": 12,
    "data.batch_size": 16,
    "trainer.enable_progress_bar": False,
    "trainer.accelerator": "cpu",
}
CODES = ("two_part", "prequential", "network_compression", "subspace", "variational")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    x, y = Digits().read_train()
    return x[:N].flatten(1).float().numpy(), y[:N].numpy()


FAST = CODES[:2]


@pytest.mark.parametrize("code", [c if c in FAST else pytest.param(c, marks=pytest.mark.slow) for c in CODES])
def test_every_code_takes_a_network(arrays: Any, code: str) -> None:
    network = Plain(4)
    before = torch.nn.utils.parameters_to_vector(network.parameters()).clone()
    result = ibsuite.code(*arrays, network, code=code, options=FEW)
    assert result.total_bits == pytest.approx(sum(result.charges.values()))
    assert result.uniform_bits == pytest.approx(N * np.log2(10))
    assert result.compression_ratio == result.total_bits / result.uniform_bits
    assert result.codelength == json.loads((result.run / "codelength.json").read_text())
    assert result.run.parent == Path(f"runs/own_{code}")
    assert f"{N} labels in" in str(result)
    after = torch.nn.utils.parameters_to_vector(network.parameters())
    assert torch.equal(before, after)  # it is a copy that learns
    loaded = ibsuite.load(result.run, network)
    logits = loaded(loaded.prepare(arrays[0]))
    assert torch.equal(result.network(result.network.prepare(arrays[0])), logits)
    assert not torch.equal(logits, network(loaded.prepare(arrays[0])))


def test_a_module_says_itself_how_it_is_trained(arrays: Any) -> None:
    result = ibsuite.code(*arrays, Mine(4), code="two_part", options=FEW)
    assert result.codelength["parts"][0]["steps"] == 12
    logits = result.network(result.network.prepare(arrays[0]))
    accuracy = float((logits.argmax(1).numpy() == arrays[1]).mean())
    assert accuracy == pytest.approx(result.codelength["parts"][0]["accuracy"])
    with pytest.raises(Refusal, match="needs a method that trains coordinates"):
        ibsuite.code(*arrays, Mine(4), code="subspace", options=FEW)


def test_the_same_call_reads_what_is_there(arrays: Any) -> None:
    first = ibsuite.code(*arrays, Plain(4), code="two_part", options=FEW)
    stamp = (first.run / "codelength.json").stat().st_mtime_ns
    again = ibsuite.code(*arrays, Plain(4), code="two_part", options=FEW)  # drawn otherwise: all the same
    assert (again.run, again.codelength) == (first.run, first.codelength)
    assert (first.run / "codelength.json").stat().st_mtime_ns == stamp


@pytest.mark.slow
def test_another_call_is_another_run(arrays: Any, tmp_path: Path) -> None:
    given = {"code": "two_part", "options": FEW}
    first = ibsuite.code(*arrays, Plain(4), **given)
    others = [
        ibsuite.code(*arrays, Plain(5), **given).run,
        ibsuite.code(*arrays, Plain(4), seed=1, **given).run,
        ibsuite.code(*arrays, Plain(4), order_seed=1, **given).run,
        ibsuite.code(arrays[0] + 1, arrays[1], Plain(4), **given).run,
    ]
    assert len({first.run, *others}) == 5
    assert len(list((tmp_path / "data" / "own").glob("tensors-*.npz"))) == 2  # two sets, kept once
    stamp = (first.run / "codelength.json").stat().st_mtime_ns
    repeated = ibsuite.code(*arrays, Plain(4), overwrite=True, **given)
    assert (repeated.run, repeated.charges) == (first.run, first.charges)
    assert (first.run / "codelength.json").stat().st_mtime_ns > stamp


def test_torch_tensors_strings_and_a_test_split(arrays: Any) -> None:
    x = torch.from_numpy(arrays[0]).bfloat16()
    y = np.array([f"class {label}" for label in arrays[1]])
    result = ibsuite.code(x, y, code="two_part", x_test=x[:20], y_test=y[:20], options=FEW)
    assert result.network.classes == sorted(set(y))
    assert 0 <= result.codelength["test"]["accuracy"] <= 1


def test_nothing_of_the_process_changes(arrays: Any) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    network, threads = Plain(4), torch.get_num_threads()
    torch.manual_seed(5)
    ibsuite.code(*arrays, network, code="two_part", options=FEW)
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads


def test_a_parameter_that_nothing_draws_is_told(arrays: Any) -> None:
    network = Tokens()
    assert kept_parameters(network) == ["token"]
    assert network_sha256(network) != network_sha256(Tokens())  # their tokens differ
    assert network_sha256(Plain()) == network_sha256(Plain())
    with pytest.warns(UserWarning, match="nothing draws token of Tokens anew"):
        ibsuite.code(*arrays, network, code="two_part", options=FEW)


def test_other_programs_read_the_runs_and_say_what_they_cannot(
    arrays: Any, capsys: pytest.CaptureFixture
) -> None:
    network = Plain(4)
    run = ibsuite.code(*arrays, network, code="two_part", options=FEW).run
    assert report([str(run)]) == 0
    for main in (decode, compress):
        assert main([str(run)]) == 2
        assert "the network of this run, Plain, was given from Python" in capsys.readouterr().err
    with pytest.raises(Refusal, match="was given from Python"):
        ibsuite.load(run)
    with pytest.raises(Refusal, match="another network than the Plain of the run"):
        ibsuite.load(run, Plain(5))
    text = (run / "codelength.json").read_text() + (run / "config.yaml").read_text()
    assert str(Path.home()) not in text


def test_what_cannot_be_used_is_refused(arrays: Any, tmp_path: Path) -> None:
    x, y = arrays
    with pytest.raises(Refusal, match="no config file 'two_prat'; did you mean"):
        ibsuite.code(x, y, code="two_prat")
    with pytest.raises(Refusal, match=r"unknown option 'code.max_stepz'"):
        ibsuite.code(x, y, options={"code.max_stepz": 3})
    with pytest.raises(Refusal, match="has shape"):
        ibsuite.code(x[:-1], y, options=FEW)
    with pytest.raises(Refusal, match="NaN or infinite"):
        ibsuite.code(x * np.nan, y, options=FEW)
    (tmp_path / "readonly").write_text("a file")
    os.environ["IBSUITE_DATA"] = str(tmp_path / "readonly")
    with pytest.raises(Refusal, match="cannot be kept"):
        ibsuite.code(x, y, options=FEW)
