"""Modules and networks that a user wrote go through the codes that only need a classifier."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_modules
import pytest
import torch
from lightning.pytorch import LightningModule
from own_modules import Mine, Plain, Short
from small_runs import small_code

from ibsuite.callbacks import TwoPartCode
from ibsuite.callbacks.pricing import check_logits
from ibsuite.data import Digits
from ibsuite.fit import main as fit_main
from ibsuite.interface import Classifier, Refusal
from ibsuite.methods import CrossEntropy
from ibsuite.methods.own import PlannedTrainer, as_classifier
from ibsuite.record import read_codelength, read_csv

SHORT = ["--data.num_labels=60", "--data.batch_size=16", "--logger=null", "--trainer.accelerator=cpu",
         "--trainer.enable_progress_bar=false", "--code.min_steps=12", "--code.max_steps=12"]  # fmt: skip


@pytest.fixture(autouse=True)
def _planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.Trainer", PlannedTrainer)


def test_a_module_becomes_a_classifier_and_stays_what_it_is() -> None:
    module = Mine()
    same = as_classifier(module)
    assert same is module
    assert isinstance(module, Classifier)
    assert isinstance(module, Mine)
    assert type(module).__name__ == "Mine"
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(module.logits(x), module(x))
    assert as_classifier(module) is module  # once is enough


def test_its_beginning_is_drawn_by_torchs_generator_alone() -> None:
    module = as_classifier(Mine())
    states = []
    for seed in (3, 3, 4):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(7.0)
        torch.manual_seed(seed)
        module.reset_parameters()
        states.append(torch.nn.utils.parameters_to_vector(module.parameters()).detach())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    assert not any((state == 7).any() for state in states)


def test_own_reset_parameters_have_the_last_word() -> None:
    class Zero(Short):
        def reset_parameters(self) -> None:
            torch.nn.init.zeros_(self.weights.weight)

    module = as_classifier(Zero())
    module.reset_parameters()
    assert not module.weights.weight.any()
    assert module.weights.bias.any()


@pytest.mark.parametrize("kind", [Mine, Short])
def test_it_is_trained_as_it_says_for_every_block(fit: Callable[..., Any], kind: Any) -> None:
    module = as_classifier(kind())
    code = fit(method=module, code=small_code())
    steps = [training.steps for training in code.trainings]
    assert all(row["bits"] > 0 for row in code.priced.predictions.rows)
    if isinstance(module, Mine):
        assert (module.begun, module.steps) == (1, sum(steps))
        assert module.planned[-len(steps) :] == steps  # its schedule is as long as each training


def test_the_same_training_as_by_our_own_method(fit: Callable[..., Any], tmp_path: Path) -> None:
    """One network, one optimiser, one seed: one codelength, whoever computes the mean loss."""

    class Same(Short):
        def __init__(self) -> None:
            super().__init__()
            self.weights = Plain()  # type: ignore[assignment]

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.01)

    ours = CrossEntropy(Plain(), lambda p: torch.optim.Adam(p, lr=0.01), warmup=0, decay="constant")
    bits = {}
    for name, method in {"own": as_classifier(Same()), "ours": ours}.items():
        fit(method=method, code=TwoPartCode(min_steps=20, max_steps=20), folder=name)
        bits[name] = read_codelength(tmp_path / name)["charges"]["labels"]
    assert bits["own"] == pytest.approx(bits["ours"], rel=1e-4)


REFUSED: dict[str, tuple[Any, str]] = {
    "by hand": (own_modules.ByHand, "steps its optimisers itself"),
    "no optimiser": (own_modules.NoOptimiser, "NoOptimiser has no configure_optimizers"),
    "epochs": (own_modules.Epochs, "has a schedule by epochs"),
    "no loss": (own_modules.NoLoss, "must return the loss"),
    "probabilities": (own_modules.Probabilities, "Probabilities gives probabilities"),
    "random": (own_modules.Random, "gives other logits the next time"),
    "narrow": (own_modules.Narrow, r"Narrow gives \(2, 9\) .* logits are \(2, 10\)"),
    "shape": (lambda: torch.nn.Linear(63, 10), "Linear cannot take inputs of shape"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_cannot_be_coded_is_refused_in_one_sentence(fit: Callable[..., Any], how: str) -> None:
    make, said = REFUSED[how]
    module = make()

    def run() -> None:
        fit(method=as_classifier(module) if isinstance(module, LightningModule) else CrossEntropy(module))

    with pytest.raises(Refusal, match=said) as refused:
        run()
    assert "\n" not in str(refused.value)


def test_looking_at_the_logits_draws_nothing(fit: Callable[..., Any]) -> None:
    data, method = Digits(num_labels=20), CrossEntropy(own_modules.Plain())
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    check_logits(method, data)
    assert torch.equal(torch.rand(2), expected)
    assert method.training


def test_a_module_goes_by_its_import_path_on_the_command_line(tmp_path: Path) -> None:
    given = ["--config=float_two_part_digits", "--model=own_modules.Mine", "--model.width=4", *SHORT]
    assert fit_main([*given, f"--out={tmp_path}"]) == 0
    (run,) = (tmp_path / "float_two_part_digits").iterdir()
    assert read_codelength(run)["parts"][0]["steps"] == 12
    assert "width: 4" in (run / "config.yaml").read_text()


@pytest.mark.parametrize("name", ["two_part", pytest.param("network_compression", marks=pytest.mark.slow)])
def test_configs_for_own_arrays_run(tmp_path: Path, name: str) -> None:
    x, y = Digits().read_train()
    np.savez(tmp_path / "a.npz", X=x[:60].flatten(1).float().numpy(), y=y[:60].numpy())
    given = [f"--config=own/{name}", f"--data.path={tmp_path / 'a.npz'}", "--model.network.hidden=[4]"]
    assert fit_main([*given, *SHORT, f"--out={tmp_path}"]) == 0
    (run,) = (tmp_path / f"own_{name}").iterdir()
    assert read_codelength(run)["data"]["num_labels"] == 60
    assert read_csv(run / "curve.csv")
