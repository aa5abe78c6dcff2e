"""G5, G6: whatever predicts, stops or tunes sees only labels already sent, or is charged for."""

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from small_runs import small_code, small_method
from torch import Tensor

from ibsuite.callbacks import PrequentialCode
from ibsuite.callbacks.predictions import Predictions
from ibsuite.codes import codelength_bits
from ibsuite.data import Affine, Digits
from ibsuite.interface import Refusal

CHANGED = 40
"""From this position on the labels are replaced. Blocks end at 8, 16, 32, 64, 100."""


class Replaced(Digits):
    def setup(self, stage: str | None = None) -> None:
        fresh = not self._placed
        super().setup(stage)
        if fresh:
            y = self._placed[torch.device("cpu")].y
            y[CHANGED:] = (y[CHANGED:] + torch.arange(1, len(y) - CHANGED + 1) % 9 + 1) % 10


def everything_sent_before(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, data: Digits, code: PrequentialCode
) -> tuple[Tensor, list[Any]]:
    """Predictive distributions of labels up to CHANGED, and all that is behind them."""
    tables: list[Tensor] = []
    mix = Predictions.mix

    def spy(every: list[Tensor], weights: Any) -> Tensor:
        tables.append(mix(every, weights))
        return tables[-1]

    monkeypatch.setattr(Predictions, "mix", staticmethod(spy))
    fit(data, code)
    monkeypatch.undo()
    predictions = code.priced.predictions
    mixed = torch.cat(tables)[: CHANGED + 1 - predictions.first]  # the label at CHANGED is not known either
    behind = [
        predictions.model_hashes[:3],
        predictions.plain[:2],
    ]  # blocks 8-16, 16-32, and the models for 32-64
    return mixed, behind


def assert_no_peeking(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, make: Callable[[], PrequentialCode]
) -> None:
    settings: dict[str, Any] = {
        "num_labels": 100,
        "batch_size": 16,
        "augment": Affine(6),
        "view_augment": Affine(6),
    }
    true = everything_sent_before(fit, monkeypatch, Digits(**settings), make())
    other = everything_sent_before(fit, monkeypatch, Replaced(**settings), make())
    assert torch.equal(true[0], other[0])
    assert true[1] == other[1]


@pytest.mark.parametrize(
    "settings",
    [
        {"views": 1},
        {"mixture": "block"},
        {"patience": 1, "withheld": 0.3, "stops": [0.25, 0.5, 0.75, 1.0]},
        {"averaging": 0.9},
        {"start": "warm"},
        {"start": "warm", "members": 2, "views": 1},
    ],
    ids=["switch", "block", "stop rule", "averaging", "warm", "members"],
)
def test_g5_labels_not_sent_change_nothing(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    assert_no_peeking(fit, monkeypatch, lambda: small_code(**settings))


class StopsOnTheNextBlock(PrequentialCode):
    """What a released prequential program does: its validation set is the block to be coded."""

    def _price_stop(self, trainer: L.Trainer, module: L.LightningModule, now: Any) -> bool:
        super()._price_stop(trainer, module, now)
        if now.stop == now.prefix:
            return False
        labels = self.sequence.labels[now.prefix : now.stop]
        bits = [codelength_bits(logits, labels) for logits in self.stop_logits]
        return len(bits) > 1 and bits[-1] > bits[-2]


def test_g5_planted_violation_stopping_on_the_next_block(
    fit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = [0.2, 0.4, 0.6, 0.8, 1.0]
    few = {"epochs": 1, "min_steps": 40, "max_steps": 40, "temperatures": [1.0]}
    with pytest.raises(AssertionError):
        assert_no_peeking(fit, monkeypatch, lambda: StopsOnTheNextBlock(stops=stops, **few))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "watcher", [EarlyStopping("code/block_bits"), ModelCheckpoint(monitor="code/total_bits")]
)
def test_g5_a_callback_that_monitors_a_priced_quantity_is_refused_by_name(
    fit: Callable[..., Any], watcher: L.Callback
) -> None:
    with pytest.raises(Refusal, match=f"{type(watcher).__name__} monitors 'code/"):
        fit(callbacks=(watcher,))


def assert_charged(chosen: Predictions, alone: Predictions, compared: int) -> None:
    """The best of several settings costs what it costs alone and the name of one among them."""
    assert chosen.charges["choices"] == math.log2(compared)
    assert chosen.total_bits == pytest.approx(alone.total_bits + math.log2(compared), abs=1e-9)


def test_g6_settings_that_were_compared_are_charged(fit: Callable[..., Any]) -> None:
    alone = fit(code=small_code()).priced.predictions
    assert_charged(fit(code=small_code(settings_compared=64)).priced.predictions, alone, 64)


def test_g6_planted_violation_the_best_of_some_seeds_for_nothing(fit: Callable[..., Any]) -> None:
    tried = [fit(code=small_code(seed=seed), folder=str(seed)).priced.predictions for seed in range(3)]
    best = min(tried, key=lambda predictions: predictions.total_bits)
    with pytest.raises((AssertionError, KeyError)):
        assert_charged(best, best, len(tried))


def test_g6_a_free_choice_is_refused() -> None:
    with pytest.raises(Refusal, match="not a code"):
        small_code(mixture=None)
    assert small_code(mixture=None, stops=[1.0], temperatures=[1.0]).mixture is None


def test_g5_method_of_the_tests_learns(fit: Callable[..., Any]) -> None:
    """Otherwise nothing above would mean anything."""
    code = fit(Digits(num_labels=400, batch_size=32), small_code(min_steps=60, max_steps=60), small_method())
    assert code.priced.predictions.compression_ratio < 0.8
