"""A short training of a network that was pruned or quantised, which Gao et al. 2019 leave as future work."""

import math
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from ibsuite.callbacks.sent import load_weights, narrowed, sent_tensors
from ibsuite.callbacks.straight_through import StraightThrough
from ibsuite.interface import LabelSequence, Message, Refusal, Stretch
from ibsuite.seeds import derive_seed

RETRAINING = 1008
"""Key of the randomness of these trainings; keeps their generators apart from others."""


@dataclass(frozen=True)
class Retraining:
    """How long, and how fast.

    Args:
        epochs: passes over the labels that the network was trained on; 0: none.
        rate: share of the method's own learning rate.

    Raises:
        Refusal: epochs are negative, or the rate is not positive.
    """

    epochs: float = 0.0
    rate: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.epochs < math.inf:
            raise Refusal(f"--retrain_epochs={self.epochs} must be a number of passes, 0 or more")
        if not 0 < self.rate < math.inf:
            raise Refusal(f"--retrain_rate={self.rate} must be a positive share of the learning rate")

    def __call__(
        self,
        method: L.LightningModule,
        data: LabelSequence,
        rows: Tensor,
        message: Message,
        seed: int,
    ) -> Message:
        """The message after the training, its zeros where they were and its values as few.

        Quantised weights are trained through their quantiser (``StraightThrough``); pruned floats with their
        zeros kept. It is a plain loop over the method's own loss, optimiser and schedule.

        Args:
            method: takes the message; it is left as it was trained.
            data: its ``train_dataloader`` walks over ``rows``.
            rows: positions of the labels that may be trained on.
            message: where the training begins.
            seed: of shuffling, augmentation and dropout.

        Raises:
            Refusal: the method steps its optimisers itself.
        """
        if not method.automatic_optimization:
            raise Refusal(f"{type(method).__name__} steps its optimisers itself; leave --retrain_epochs out")
        whole = {name: value.detach().clone() for name, value in method.state_dict().items()}
        before = (method.training_steps, data.stretch)
        load_weights(method, message)
        steps = max(1, round(self.epochs * len(rows) / data.batch_size))
        method.training_steps = steps  # type: ignore[assignment]
        configured: Any = method.configure_optimizers()
        optimiser, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
        schedule.base_lrs = [lr * self.rate for lr in schedule.base_lrs]
        for group in optimiser.param_groups:
            group["lr"] *= self.rate
        quantiser, parameters = StraightThrough(message), dict(method.named_parameters())
        left = {
            name: (sent != 0).to(method.device)
            for name, sent in message.items()
            if isinstance(sent, Tensor) and sent.ndim > 1 and name in parameters
        }
        key = derive_seed(seed, RETRAINING)
        data.stretch = Stretch(rows, steps, key)
        torch.manual_seed(key)
        method.train()
        for i, batch in enumerate(data.train_dataloader()):  # type: ignore[attr-defined]
            quantiser.coarsen(method)
            optimiser.zero_grad()
            loss = method.training_step(batch, i)
            assert isinstance(loss, Tensor)
            loss.backward()
            quantiser.restore(method)
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                for name, kept in left.items():
                    parameters[name].mul_(kept)
        method.eval()
        quantiser.coarsen(method)
        floats = {name: narrowed(value, torch.float16) for name, value in sent_tensors(method).items()}
        method.zero_grad()
        method.load_state_dict(whole)
        method.training_steps, data.stretch = before
        return {name: quantiser.quantised.get(name, floats[name]) for name in message}
