"""The conditional entropy bottleneck: only what z knows of x beyond the label is charged."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ibsuite.interface import Batch, BottleneckReading, Refusal
from ibsuite.methods.representation import RepresentationMethod
from ibsuite.methods.schedules import Decay
from ibsuite.nn import Encoding
from ibsuite.units import nats_to_bits


class CEB(RepresentationMethod):
    """Distortion and residual information, nats a sample: E[-log c(y|z)] + gamma E[log e(z|x) - log b(z|y)].

    e is the encoder, c the classifier, and b(z|y) the backward encoder, a Gaussian for each class: the learnt
    mixture of the network, which has a component for each. Given x and y the second term is a divergence of
    two Gaussians, and is taken in closed form.

    What bounds what, over the labels that the means are taken of:

    - E KL(e(z|x) || b(z|y)) >= I(X;Z|Y) = I(X;Z) - I(Y;Z), the residual information: what is charged, and the
      reading ``mi_zx_given_y_upper_bits``;
    - H(Y) - E[-log c(y|z)] <= I(Y;Z), as in Deep VIB;
    - E KL(e(z|x) || m(z)) >= I(X;Z) with m the mean of b(z|y) over all classes, each counted alike: the
      reading ``rate_bits``, by which representations of all methods are compared. It is not charged. It is
      the residual information and E log b(z|y) / m(z), a mean over the fixed draws of z of a number that is
      at most the logarithm of the number of classes.

    gamma = 0 would leave b untrained. gamma = 1 aims at I(X;Z) = I(X;Y) = I(Y;Z), the minimum necessary
    information; a smaller gamma keeps more. With ``network.covariance=identity`` the Gaussians of b have unit
    covariance as well.

    Source: Fischer 2020 (the conditional entropy bottleneck), the objective VCEB; its gamma is e^-rho.

    Args:
        network: ``Bottleneck`` with as many ``components`` as there are classes.
        optimizer: a torch optimiser class with its settings, without the parameters.
        gamma: weight of the residual information against the distortion.
        samples: draws of z for each input in each step, over which the loss is averaged.
        warmup: share of a training in which the learning rate rises to its peak.
        decay: how the learning rate falls after the warm-up.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        gamma: float = 0.01,
        samples: int = 1,
        warmup: float = 0.0,
        decay: Decay = "exponential",
    ) -> None:
        if not gamma > 0:
            raise Refusal(f"model.gamma must be positive, for nothing else trains b(z|y); got {gamma}")
        super().__init__(network, optimizer, gamma, samples, warmup, decay)
        classes = self.network.decoder.out_features
        found = self.network.marginal
        if found is None or len(found.means) != classes:
            raise Refusal(
                "CEB needs a Gaussian for each class in place of a marginal: use "
                f"model.network.components={classes}"
            )
        found.log_weights.requires_grad_(False)  # classes count alike
        found.log_stds.requires_grad_(self.network.covariance != "identity")

    def residual_nats(self, encoding: Encoding, y: Tensor) -> Tensor:
        """KL(e(z|x) || b(z|y)) of each input, nats, (n,)."""
        b = self.network.marginal
        assert b is not None
        return encoding.kl_to_normal_nats(b.means[y], b.log_stds[y])

    def rates_nats(self, encoding: Encoding, y: Tensor) -> Tensor:
        """KL(e(z|x) || m(z)) of each input, nats, (n,)."""
        b = self.network.marginal
        assert b is not None
        told = []
        for noise in self.network.noise:  # one at a time, as in ``Bottleneck.rate_nats``
            z = encoding.sample(noise)
            own = b.log_densities(z).gather(-1, y[:, None])[:, 0]
            told.append(own - b.log_density(z))
        return self.residual_nats(encoding, y) + torch.stack(told).mean(0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Distortion and residual information; the mean over ranks is the global mean."""
        encoding, _, distortion = self.draw(batch)
        return (distortion + self.beta * self.residual_nats(encoding, batch.y).sum()) * batch.weight

    @torch.no_grad()
    def read_bottleneck(self, x: Tensor, y: Tensor) -> BottleneckReading:
        """Rate, distortion, errors and residual information of each input, bits."""
        residual = self.residual_nats(self.network.encode(x), y).double()
        return super().read_bottleneck(x, y)._replace(residual_bits=nats_to_bits(residual))
