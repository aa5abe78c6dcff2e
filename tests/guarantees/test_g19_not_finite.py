"""G19: the first NaN in a loss, gradient or parameter stops the run and says where."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from small_runs import small_method

from ibsuite.callbacks import NotFinite


class Break(L.Callback):
    """Makes one number NaN at one step."""

    def __init__(self, what: str, step: int) -> None:
        self.what, self.step = what, step

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any
    ) -> None:
        weight = next(p for p in pl_module.parameters() if p.ndim == 2)
        if trainer.global_step == self.step and self.what == "gradient":
            assert weight.grad is not None
            weight.grad[0, 0] = float("nan")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.global_step == self.step and self.what == "parameter":
            next(p for p in pl_module.parameters() if p.ndim == 2).data[0, 0] = float("inf")


@pytest.mark.parametrize("what", ["gradient", "parameter"])
def test_g19_the_first_broken_number_stops_the_run(fit: Callable[..., Any], what: str) -> None:
    with pytest.raises(NotFinite, match=rf"the {what} of network|the {what} network") as stopped:
        fit(callbacks=(Break(what, 9),))
    assert "step 9" in str(stopped.value)
    assert "checkpoints/last.ckpt" in str(stopped.value)


def test_g19_a_broken_loss_is_named(fit: Callable[..., Any]) -> None:
    class NanLoss(type(small_method())):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return super().training_step(batch, batch_idx) * (
                float("nan") if self.trainer.global_step == 9 else 1
            )

    with pytest.raises(NotFinite, match="the loss is not finite at optimiser step 9"):
        fit(method=NanLoss(small_method().network))


def test_g19_planted_violation_without_the_guard_the_run_goes_on(fit: Callable[..., Any]) -> None:
    """The break itself does not stop anything: the guard does."""
    from ibsuite.callbacks import StopWhenNotFinite

    blind = {"on_before_backward": lambda *_: None, "on_before_optimizer_step": lambda *_: None}
    with pytest.MonkeyPatch.context() as patch:
        for name, nothing in {**blind, "on_train_epoch_end": lambda *_: None}.items():
            patch.setattr(StopWhenNotFinite, name, nothing)
        fit(callbacks=(Break("gradient", 9),))
