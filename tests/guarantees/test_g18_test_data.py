"""G18: test data touch nothing but the published test figures, and are read once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor

from ibsuite.data import Digits


class WithTest(Digits):
    """Digits with a test split that somebody may poison."""

    reads = 0

    def __init__(self, poisoned: bool) -> None:
        super().__init__(num_labels=100, batch_size=16)
        self.poisoned = poisoned

    def read_test(self) -> tuple[Tensor, Tensor]:
        self.reads += 1
        x, y = self.read_train()
        return x[1000:1100], torch.zeros(100, dtype=torch.int64) if self.poisoned else y[1000:1100]


def assert_only_test_figures_change(fit: Callable[..., Any], tmp_path: Path, *watchers: L.Callback) -> None:
    documents = []
    for poisoned in (False, True):
        data = WithTest(poisoned)
        fit(data, folder=str(poisoned), callbacks=watchers)
        assert data.reads == 1 + len(watchers)
        documents.append(json.loads((tmp_path / str(poisoned) / "codelength.json").read_text()))
    tests = [document.pop("test") for document in documents]
    assert tests[0] != tests[1]
    for document in documents:
        document.pop("cost")
        for part in document["parts"]:
            part.pop("seconds")
    assert documents[0] == documents[1]


def test_g18_poisoned_test_data_change_only_test_figures(fit: Callable[..., Any], tmp_path: Path) -> None:
    assert_only_test_figures_change(fit, tmp_path)


class StepsByTestLabels(L.Callback):
    """A choice by the test split: the learning rate depends on a test label."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        _, y = trainer.datamodule.read_test()  # type: ignore[attr-defined]
        self.rate = 0.01 * (1 + float(y.float().mean()))

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rate


def test_g18_planted_violation_a_choice_by_the_test_split(fit: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        assert_only_test_figures_change(fit, tmp_path, StepsByTestLabels())


def test_g18_test_figures_are_those_of_the_test_split(fit: Callable[..., Any], tmp_path: Path) -> None:
    code = fit(WithTest(False))
    split = code.sequence.test_split()
    x, y = split.inputs(torch.arange(100), torch.device("cpu")), split.labels
    method = code.sequence.trainer.lightning_module.eval()
    with torch.no_grad():
        logits = method(x).double()
    test = code.priced.predictions.test
    probs = (logits / test["temperature"]).softmax(1)
    assert test["accuracy"] == (probs.argmax(1) == y).double().mean().item()
    torch.testing.assert_close(
        torch.tensor(test["nll_bits"]), -probs[torch.arange(100), y].log2().sum().float(), rtol=1e-5, atol=0
    )
