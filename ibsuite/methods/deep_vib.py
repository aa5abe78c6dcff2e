"""Training a classifier through a stochastic bottleneck: Deep VIB."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ibsuite.interface import Batch, Refusal
from ibsuite.methods.representation import RepresentationMethod
from ibsuite.methods.schedules import Decay


class DeepVIB(RepresentationMethod):
    """Distortion and rate of a representation z, nats a sample: E[-log q(y|z)] + beta KL(p(z|x) || r(z)).

    z ~ p(z|x) is a draw of the encoder's Gaussian, q the decoder, r the marginal (``ibsuite.nn.Bottleneck``).
    The mean rate is an upper bound on I(Z;X), and H(Y) less the mean distortion a lower one on I(Z;Y): what
    is minimised is, up to the constant H(Y), an upper bound on beta I(Z;X) - I(Z;Y). beta is a pure number:
    distortion and rate have the same unit. With beta = 0 this is cross entropy of a noisy network, whose
    noise may die.

    In evaluation logits are those of the mean prediction over the network's fixed draws.

    Source: Alemi, Fischer, Dillon & Murphy 2017 (Deep VIB), the objective J_IB.

    Args:
        network: ``Bottleneck``, with an encoder of any kind.
        optimizer: a torch optimiser class with its settings, without the parameters.
        beta: weight of the rate against the distortion.
        samples: draws of z for each input in each step, over which the loss is averaged.
        warmup: share of a training in which the learning rate rises to its peak.
        decay: how the learning rate falls after the warm-up.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        beta: float = 1e-3,
        samples: int = 1,
        warmup: float = 0.0,
        decay: Decay = "exponential",
    ) -> None:
        super().__init__(network, optimizer, beta, samples, warmup, decay)
        if beta == 0 and self.network.marginal is not None:
            raise Refusal("with model.beta=0 nothing trains a marginal: use model.network.components=0")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Distortion and rate; shares are weighted so that the mean over ranks is the global mean."""
        encoding, noise, loss = self.draw(batch)
        if self.beta:
            loss = loss + self.beta * self.network.rate_nats(encoding, noise).sum()
        return loss * batch.weight
