"""Beginning a training anew inside one ``trainer.fit``."""

from typing import Literal

import lightning.pytorch as L
import torch

from ibsuite.interface import Classifier, Refusal
from ibsuite.seeds import derive_seed

INITIALISATION = 0
"""Key of the randomness of initialisations; stretches of training use keys from 1 on."""


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
            raise Refusal("code.start needs shrink and perturb in [0, 1]")
        self.kind, self.shrink, self.perturb = kind, shrink, perturb

    def begin(self, trainer: L.Trainer, module: L.LightningModule, steps: int, *key: int) -> None:
        """Reproducible parameters, a new optimiser and a new schedule.

        Args:
            trainer: whose optimisers are made anew.
            module: what is trained again.
            steps: optimiser steps of the training that begins.
            key: what the initialisation is derived from: (seed, block).
        """
        assert isinstance(module, Classifier)
        warm = self.kind == "warm" and key[-1] > 1
        old = {name: value.detach().clone() for name, value in module.state_dict().items()} if warm else {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(*key, INITIALISATION))
            module.reset_parameters()
        with torch.no_grad():
            for name, now in (module.state_dict() if warm else {}).items():
                # Scales, shifts and batch statistics are taken over: they have no scale to shrink.
                now.copy_(self.shrink * old[name] + self.perturb * now if now.ndim > 1 else old[name])
        module.training_steps = steps
        trainer.strategy.setup_optimizers(trainer)
