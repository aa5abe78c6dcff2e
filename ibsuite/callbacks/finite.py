"""Stopping at the first number that is not finite."""

from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.optim import Optimizer


class NotFinite(RuntimeError):
    """A loss, gradient or parameter became NaN or infinite."""


class StopWhenNotFinite(L.Callback):
    """Stop at the first NaN or infinity in a loss, gradient or parameter, and say which and when.

    The check before each optimiser step sums the norms of all gradients, one number to look at;
    parameters are checked where a stretch ends. Names are looked up only once something is wrong.

    Args:
        checkpoint: name of the checkpoint to point to, relative to the run folder.
    """

    def __init__(self, checkpoint: str = "checkpoints/last.ckpt") -> None:
        self.checkpoint = checkpoint

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Check the loss, and if it is broken look for a broken parameter behind it."""
        if not torch.isfinite(loss):
            self._check_parameters(trainer, pl_module)
            self._stop(trainer, "the loss")

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        """Check all gradients, unless a loss scaler is there to skip such steps itself."""
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            return
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if not torch.isfinite(torch.stack(torch._foreach_norm(gradients)).sum()):
            for name, parameter in pl_module.named_parameters():
                if parameter.grad is not None and not parameter.grad.isfinite().all():
                    self._stop(trainer, f"the gradient of {name}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check all parameters."""
        self._check_parameters(trainer, pl_module)

    def _check_parameters(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        named: list[tuple[str, Any]] = list(pl_module.named_parameters())
        for name, tensor in named:
            if not tensor.isfinite().all():
                self._stop(trainer, f"the parameter {name}")

    def _stop(self, trainer: L.Trainer, what: str) -> None:
        raise NotFinite(
            f"{what} is not finite at optimiser step {trainer.global_step}; the last good state is "
            f"{self.checkpoint}: lower the learning rate, or look at the inputs"
        )
