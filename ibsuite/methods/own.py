"""A LightningModule of the user's own as codes need it."""

import inspect
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from torch import Tensor

from ibsuite.interface import Batch, Classifier, Refusal
from ibsuite.nn import pristine_state, reset_network
from ibsuite.nn.given import copy_of_given


class _Coded:
    """What stands in front of a user's class: (x, y) for its steps, and a way back to its beginning."""

    training_steps: int | None = None
    _pristine: Mapping[str, Tensor]
    _resetting = False

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        """The user's loss, a mean over (x, y), weighted so that the mean over ranks is the global mean."""
        module: Any = self
        step: Any = super().training_step  # type: ignore[misc]
        given = ((batch.x, batch.y), batch_idx)[: len(inspect.signature(step).parameters)]
        found = step(*given)
        loss = found.get("loss") if isinstance(found, Mapping) else found
        if not isinstance(loss, Tensor):
            raise Refusal(f"training_step of {type(self).__name__} must return the loss, got {type(loss)}")
        if module.trainer.world_size > 1:
            loss = loss * (batch.weight * len(batch.y))
        return {**found, "loss": loss} if isinstance(found, Mapping) else loss

    def on_train_start(self) -> None:
        """Refuse a schedule that counts epochs: a code trains in stretches of any length."""
        module: Any = self
        super().on_train_start()  # type: ignore[misc]
        if any(config.interval == "epoch" for config in module.trainer.lr_scheduler_configs):
            raise Refusal(
                f"{type(self).__name__} has a schedule by epochs, which a code does not have: give it "
                "interval='step', over self.trainer.estimated_stepping_batches steps"
            )

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation from torch's global generator."""
        module: Any = self
        if self._resetting:  # the module itself comes last
            getattr(super(), "reset_parameters", lambda: None)()
            return
        self._resetting = True
        try:
            reset_network(module, self._pristine)
        finally:
            self._resetting = False


class _Forward:
    """Logits are what the module itself gives."""

    def logits(self, x: Tensor) -> Tensor:
        """Unnormalised log-probabilities, (n, *input_shape) -> (n, num_classes)."""
        module: Any = self
        logits: Tensor = module(x)
        return logits


def as_classifier(module: L.LightningModule) -> L.LightningModule:
    """The module itself, so that codes can train and price it (``interface.Classifier``).

    A module that is none has ``training_step`` with batches (x, y) and a loss that is their mean,
    ``configure_optimizers``, and logits as ``logits(x)`` or ``forward(x)``. It keeps its hooks, and gets
    ``reset_parameters``: its values at construction, and every layer drawn anew that knows how.

    Args:
        module: untrained; changed in place.

    Raises:
        Refusal: it lacks one of these, or steps its optimisers itself.
    """
    kind, name = type(module), type(module).__name__
    if isinstance(module, Classifier):
        return module
    for needed in ("training_step", "configure_optimizers"):
        if getattr(kind, needed) is getattr(L.LightningModule, needed):
            raise Refusal(f"{name} has no {needed}: a code has to train it")
    if not hasattr(module, "logits") and kind.forward is L.LightningModule.forward:
        raise Refusal(f"{name} has neither logits nor forward: a code has to price labels by its logits")
    if not module.automatic_optimization:
        raise Refusal(f"{name} steps its optimisers itself; leave that to the trainer")
    own = (_Coded, kind) if hasattr(module, "logits") else (_Coded, _Forward, kind)
    pristine = pristine_state(module)
    module.__class__ = type(name, own, {"__doc__": kind.__doc__, "__module__": kind.__module__})
    module._pristine = pristine  # type: ignore[assignment]
    return module


class PlannedTrainer(L.Trainer):
    """The trainer, where the code that is measured plans the steps of every training."""

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Optimiser steps of the present training, for schedules."""
        planned: int | None = getattr(self.lightning_module, "training_steps", None)
        return super().estimated_stepping_batches if planned is None else planned


class GivenModule(L.LightningModule):
    """A LightningModule of the user's, given from Python (``ibsuite.code``): a copy of it is what one gets.

    Args:
        name: of its class.
        sha256: ``nn.given.network_sha256`` of it.
    """

    def __new__(cls, name: str, sha256: str) -> Any:
        """The copy."""
        return copy_of_given(name, sha256)

    def __init__(self, name: str, sha256: str) -> None:
        super().__init__()  # never called: it is the user's class that is made
