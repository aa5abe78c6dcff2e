"""Plain cross-entropy training of a classifier."""

from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from ibsuite.interface import Batch
from ibsuite.methods.schedules import Decay, learning_rate_factor
from ibsuite.nn import pristine_state, reset_network


class CrossEntropy(L.LightningModule):
    """Cross entropy, -sum log q(y|x) in nats, minimised by any optimiser under a schedule.

    Args:
        network: gives logits, (n, *input_shape) -> (n, num_classes). Any ``nn.Module``; where its
            constructor has ``num_classes`` or ``input_shape`` they are taken from the data. Every
            training starts from a redrawn network: pretrained weights are lost (code features of
            a frozen network instead, as ``data.Tensors``).
        optimizer: a torch optimiser class with its settings, without the parameters.
        warmup: share of a training in which the learning rate rises to its peak.
        decay: how the learning rate falls after the warm-up.
        label_smoothing: share of probability that the target spreads over all classes.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.AdamW,
        warmup: float = 0.25,
        decay: Decay = "cosine",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.warmup, self.decay = warmup, decay
        self.label_smoothing = label_smoothing
        self.training_steps: int | None = None
        # A plain dict, not buffers: what an untrained network looked like is no part of the model.
        self._pristine = pristine_state(network)

    def logits(self, x: Tensor) -> Tensor:
        """Unnormalised log-probabilities, (n, *input_shape) -> (n, num_classes)."""
        logits: Tensor = self.network(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """The same as ``logits``."""
        return self.logits(x)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross entropy of this rank's share, weighted so that the mean over ranks is the global mean."""
        loss = F.cross_entropy(
            self.logits(batch.x), batch.y, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return loss * batch.weight

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained, in groups for the optimiser; ``rate`` multiplies a group's learning rate."""
        # Scales, shifts and biases are not decayed: it would only fight their job.
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": [p for p in parameters if p.ndim > 1]}]
        groups.append({"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0})
        return groups

    def configure_optimizers(self) -> Any:
        """A fresh optimiser and a schedule over the steps of the present training."""
        optimizer = self.optimizer(group for group in self.parameter_groups() if group["params"])
        for group in optimizer.param_groups:
            group["lr"] *= group.setdefault("rate", 1.0)

        def factor(step: int) -> float:
            return learning_rate_factor(self.progress(step), self.warmup, self.decay)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def planned_steps(self) -> int:
        """Optimiser steps of the present training."""
        return self.training_steps or int(self.trainer.estimated_stepping_batches)

    def progress(self, step: int) -> float:
        """Share of a schedule that is done when so many steps of the present training are."""
        return step / self.planned_steps

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation of the network from torch's global generator."""
        reset_network(self.network, self._pristine)
