"""Training a distribution over weights on the length of the variational code."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from ibsuite import nn as networks
from ibsuite.interface import Batch, Divergence, LabelSequence, Refusal, Standardised
from ibsuite.methods.schedules import Decay, learning_rate_factor, risen
from ibsuite.nn import Prior, make_bayesian, posterior, pristine_state, recenter, reset_network
from ibsuite.nn.bayesian import Center, Sampling


class Variational(L.LightningModule):
    """The variational code's length per label, nats: E_q[-log p(y|x,w)] + KL(q || p) / n, minimised.

    q is a Gaussian for every weight and bias. Blier & Ollivier 2018, Definition 2 and appendix C; bits-back
    coding (Hinton & van Camp 1993) attains it. n is the number of labels that are trained on, so that the
    KL counts once against the sum over all of them.

    Args:
        network: gives logits, (n, *input_shape) -> (n, num_classes), from linear and convolution layers;
            where its constructor has ``num_classes`` or ``input_shape`` they are taken from the data.
        prior: over weights; each tensor's weights are priced under it.
        sampling: how a step draws weights: ``weights``, ``local`` or ``flipout``.
        samples: draws in each step, whose losses are averaged.
        initial_std: standard deviation of every weight at first.
        center: what the prior is centred at: ``zero``, or the ``initialisation`` that the seed gives.
        optimizer: a torch optimiser class with its settings, without the parameters. Its weight decay is
            set to 0: the prior has that part.
        scale_rate: learning rate of the scales, as a multiple of that of the means.
        warmup: share of a training in which the learning rate rises to its peak.
        hold: share of a training at the peak.
        decay: how the learning rate falls after that.
        kl_warmup: share of a training in which the weight of the KL rises from 0 to 1.
    """

    def __init__(
        self,
        network: nn.Module,
        prior: Prior,
        sampling: Sampling = "local",
        samples: int = 1,
        initial_std: float = 0.02,
        center: Center = "zero",
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        scale_rate: float = 5.0,
        warmup: float = 0.0,
        hold: float = 0.5,
        decay: Decay = "linear",
        kl_warmup: float = 0.2,
    ) -> None:
        super().__init__()
        if samples < 1:
            raise Refusal(f"model.samples must be 1 or more, got {samples}")
        if not 0 <= kl_warmup <= 1:
            raise Refusal(f"model.kl_warmup must lie in [0, 1], got {kl_warmup}")
        make_bayesian(network, initial_std, sampling, center)
        self.network, self.prior, self.samples = network, prior, samples
        self.optimizer, self.scale_rate = optimizer, scale_rate
        self.warmup, self.hold, self.decay, self.kl_warmup = warmup, hold, decay, kl_warmup
        self.training_steps: int | None = None
        # A plain dict, not buffers: what an untrained network looked like is no part of the model.
        self._pristine = pristine_state(network)

    def logits(self, x: Tensor) -> Tensor:
        """Unnormalised log-probabilities, (n, *input_shape) -> (n, num_classes).

        Those of the means in evaluation, of a fresh draw in training; within ``fixed`` those it names.
        """
        logits: Tensor = self.network(x)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """The same as ``logits``."""
        return self.logits(x)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Length per label; shares are weighted so that the mean over ranks is that of the global batch."""
        draws = (
            F.cross_entropy(self.network(batch.x), batch.y, reduction="sum") for _ in range(self.samples)
        )
        return sum(draws) * (batch.weight / self.samples) + self.kl_per_label_nats()

    def kl_per_label_nats(self) -> Tensor:
        """KL(q || p) over all weights, weighed by its warm-up, for one of the labels trained on."""
        data: LabelSequence = self.trainer.datamodule  # type: ignore[attr-defined]
        labels = data.num_labels if data.stretch is None else len(data.stretch.rows)
        weight = risen(self, self.kl_warmup)
        kl_nats = [self.prior.kl_nats(mean, std) for mean, std in posterior(self.network).values()]
        return torch.stack(kl_nats).sum() * (weight / labels)

    def _steps(self) -> int:
        """Optimiser steps of the present training."""
        return self.training_steps or int(self.trainer.estimated_stepping_batches)

    def configure_optimizers(self) -> Any:
        """A fresh optimiser and a schedule over the steps of the present training."""
        groups: list[dict[str, Any]] = [{"params": [], "weight_decay": 0.0} for _ in range(2)]
        for name, parameter in self.network.named_parameters():
            groups[name.endswith("_rho")]["params"].append(parameter)
        optimizer = self.optimizer(groups)
        optimizer.param_groups[1]["lr"] *= self.scale_rate

        def factor(step: int) -> float:
            return learning_rate_factor(step / self._steps(), self.warmup, self.decay, self.hold)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def reset_parameters(self) -> None:
        """Draw fresh means from torch's global generator, put the scales back, and centre the prior anew."""
        reset_network(self.network, self._pristine)
        recenter(self.network)

    def divergence(self, samples: int, seed: int) -> Divergence:
        """KL(q || p) over all weights and what the prior's settings cost, float64, bits.

        Args:
            samples: draws of a KL that is estimated by Monte Carlo.
            seed: of these draws.
        """
        return networks.divergence(self.prior, posterior(self.network, exact=True), samples, seed)

    def fixed(self, seed: int | None) -> AbstractContextManager[None]:
        """Within it logits are those of one draw of the weights, or of their means for ``None``."""
        return networks.fixed_weights(self.network, seed)

    def standardised(self) -> Standardised | None:
        """The posterior as it looks from the prior that is sent; None for a prior that is not Gaussian."""
        return networks.standardised(self.prior, posterior(self.network, exact=True))

    def set_draw(self, draw: Tensor, settings: bytes) -> None:
        """Make such a draw the means."""
        q = posterior(self.network, exact=True)
        networks.set_means(self.network, networks.from_standardised(self.prior, q, draw, settings))
