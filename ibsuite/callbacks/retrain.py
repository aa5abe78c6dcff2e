"""Beginning a training anew inside one ``trainer.fit``."""

from collections.abc import Sequence
from typing import Any, Literal

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from ibsuite.interface import Classifier, Refusal
from ibsuite.seeds import derive_seed

INITIALISATION = 0
"""Key of the randomness of initialisations; stretches of training use keys from 1 on."""


def initialise(module: nn.Module, key: tuple[int, ...]) -> None:
    """A reproducible initialisation, derived from (seed, block, member)."""
    assert isinstance(module, Classifier)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(*key, INITIALISATION))
        module.reset_parameters()


class Start:
    """How each block's training begins.

    Args:
        kind: ``fresh``: from a new initialisation; ``warm``: from the network of the block before,
            its weight matrices and kernels shrunk and perturbed (Ash & Adams 2020).
        shrink: factor on the old weights of a warm start.
        perturb: factor on a new initialisation, added to them.
    """

    def __init__(
        self, kind: Literal["fresh", "warm"] = "fresh", shrink: float = 0.5, perturb: float = 0.5
    ) -> None:
        if not (0 <= shrink <= 1 and 0 <= perturb <= 1):
            raise Refusal(f"code.shrink and code.perturb must lie in [0, 1], got {shrink} and {perturb}")
        self.kind, self.shrink, self.perturb = kind, shrink, perturb

    def begin(
        self,
        trainer: L.Trainer,
        module: L.LightningModule,
        steps: int,
        key: tuple[int, ...],
        old: Sequence[Tensor] = (),
    ) -> None:
        """Reproducible parameters, a new optimiser and a new schedule.

        Args:
            trainer: whose optimisers are made anew.
            module: what is trained again.
            steps: optimiser steps of the training that begins.
            key: what the initialisation is derived from: (seed, block, member).
            old: what ``snapshot`` gave at the end of the training before; empty at the first.
        """
        assert isinstance(module, Classifier)
        initialise(module, key)
        with torch.no_grad():
            warm = self.kind == "warm" and len(old) > 0
            for now, before in zip(_tensors(module), old, strict=True) if warm else ():
                # Scales, shifts and batch statistics are taken over: they have no scale to shrink.
                weights, before = isinstance(now, nn.Parameter) and now.ndim > 1, before.to(now.device)
                now.copy_(self.shrink * before + self.perturb * now if weights else before)
        module.training_steps = steps
        trainer.strategy.setup_optimizers(trainer)

    def snapshot(self, module: nn.Module) -> list[Tensor]:
        """What a later ``begin`` needs of a trained module: nothing for a fresh start."""
        return [tensor.detach().cpu().clone() for tensor in _tensors(module)] if self.kind == "warm" else []


def restart(
    trainer: L.Trainer,
    module: L.LightningModule,
    steps: int,
    rate: float = 1.0,
    weight_decay: float | None = None,
) -> None:
    """A new optimiser and a new schedule for a module as it is, whatever parameters it has now.

    Args:
        trainer: whose optimisers are made anew.
        module: what is trained further; it may have got other layers.
        steps: optimiser steps of the training that begins.
        rate: share of the method's own learning rate.
        weight_decay: in place of the method's own, where that is not 0; None: the method's own.
    """
    assert isinstance(module, Classifier)
    module.training_steps = steps
    strategy: Any = trainer.strategy
    if trainer.world_size > 1:
        # Buckets of gradients belong to parameters that may be gone.
        strategy.model = module
        strategy.configure_ddp()
    trainer.strategy.setup_optimizers(trainer)
    for configured in trainer.lr_scheduler_configs:
        scheduler = configured.scheduler
        scheduler.base_lrs = [lr * rate for lr in scheduler.base_lrs]
    for group in trainer.optimizers[0].param_groups:
        group["lr"] *= rate
        if weight_decay is not None and group["weight_decay"]:
            group["weight_decay"] = weight_decay


def _tensors(module: nn.Module) -> list[Tensor]:
    """Every parameter and buffer, once each."""
    return [*module.parameters(), *module.buffers()]
