"""What an offline code describes is the moving average of the weights, where it keeps one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from offline_runs import code_of, document, method_of, outcome
from torch import Tensor

from ibsuite.callbacks import offline
from ibsuite.interface import Refusal
from ibsuite.record import read_csv


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of six steps, so that a run of a hundred labels has some."""
    monkeypatch.setattr(offline, "SHORTEST_STRETCH", 6)


class Twin(L.Callback):
    """Weights after every step, and their moving average by the formula."""

    def __init__(self, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.mean: dict[str, Tensor] = {}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if not self.steps:
            self.mean = {name: p.detach().double() for name, p in pl_module.named_parameters()}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, parameter in pl_module.named_parameters():
            self.mean[name] = decay * self.mean[name] + (1 - decay) * parameter.detach().double()


def test_the_average_is_described(fit: Callable[..., Any], tmp_path: Path) -> None:
    method, twin = method_of("floats"), Twin(0.9)
    fit(
        code=code_of("floats", formats=["float32"], averaging=0.9, watched=1),
        method=method,
        callbacks=(twin,),
    )
    for name, parameter in method.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), twin.mean[name], rtol=1e-5, atol=1e-6)
    (watched, described) = read_csv(tmp_path / "run" / "curve.csv")
    assert watched["accuracy"] == described["accuracy"]  # the average was watched, too
    fit(code=code_of("floats", formats=["float32"]), method=method_of("floats"), folder="plain")
    assert document(tmp_path / "run")["charges"] != document(tmp_path / "plain")["charges"]


def test_no_decay_is_no_average(fit: Callable[..., Any], tmp_path: Path) -> None:
    for folder, averaging in (("none", None), ("zero", 0.0)):
        fit(code=code_of("finetuned", averaging=averaging), method=method_of("finetuned"), folder=folder)
    assert outcome(tmp_path / "none") == outcome(tmp_path / "zero")


@pytest.mark.parametrize("step", [15, 32, 39])
def test_g11_interrupted_in_training_and_in_fine_tuning(
    fit: Callable[..., Any], tmp_path: Path, step: int
) -> None:
    class Crash(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            if trainer.global_step == step:
                raise KeyError("planted")

    def settings() -> dict[str, Any]:
        return {"code": code_of("finetuned", averaging=0.8, watched=3), "method": method_of("finetuned")}

    fit(**settings(), folder="unbroken")
    with pytest.raises(KeyError, match="planted"):
        fit(**settings(), folder="broken", callbacks=(Crash(),))
    last = str(tmp_path / "broken" / "checkpoints" / "last.ckpt")
    other = code_of("finetuned", averaging=0.7, watched=3)
    with pytest.raises(Refusal, match="the checkpoint belongs to other settings"):
        fit(code=other, method=method_of("finetuned"), folder="other", ckpt_path=last)
    fit(**settings(), folder="broken", ckpt_path=last)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")
    assert read_csv(tmp_path / "broken" / "curve.csv") == read_csv(tmp_path / "unbroken" / "curve.csv")


def test_a_decay_that_is_none_is_refused() -> None:
    for decay in (-0.1, 1.0):
        with pytest.raises(Refusal, match=r"code\.averaging must lie in \[0, 1\)"):
            code_of("floats", averaging=decay)
