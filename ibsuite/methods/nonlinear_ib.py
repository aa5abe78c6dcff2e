"""The nonlinear information bottleneck: what a noisy representation knows of x, by pairwise distances."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ibsuite.information import kernel_information_nats, kernel_rates_nats
from ibsuite.interface import Batch, Refusal
from ibsuite.methods.representation import RepresentationMethod
from ibsuite.methods.schedules import Decay
from ibsuite.nn import Encoding


class NonlinearIB(RepresentationMethod):
    """Distortion and a function of the information, nats a sample: E[-log q(y|z)] + beta u(I).

    z = f(x) + s noise, with noise that is the same for every x, so that a batch of n inputs is a mixture of n
    Gaussians of one shape, of which pairwise distances say

        I = -mean_i log mean_j exp(-|f_i - f_j|^2 / 2 s^2),

    an upper bound on I(Z;X) of the n inputs, each with probability 1 / n, and never more than log n. It is
    taken over the global batch. Where labels are a function of inputs, u(I) = I finds a few points of the
    information plane only, whatever beta; u(I) = I^2 has a solution for every rate in between.

    The reading ``rate_bits`` compares no input with itself: with j = i left out the mean is, in expectation,
    an upper bound on I(Z;X) of the distribution that the inputs come from. Inputs are compared with those
    that are read with them, 512 at most.

    Source: Kolchinsky, Tracey & Wolpert 2017 (nonlinear information bottleneck), the upper bound; Kolchinsky,
    Tracey & Van Kuyk 2019 (caveats for information bottleneck in deterministic scenarios), the square.

    Args:
        network: ``Bottleneck`` with ``covariance=shared``: s is learnt, for each dimension of z; or
            ``identity``: s = 1.
        optimizer: a torch optimiser class with its settings, without the parameters.
        beta: weight of u(I) against the distortion.
        penalty: u, ``square`` or ``identity``.
        samples: draws of z for each input in each step, over which the loss is averaged.
        warmup: share of a training in which the learning rate rises to its peak.
        decay: how the learning rate falls after the warm-up.
    """

    whole_batch = True

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        beta: float = 0.01,
        penalty: Literal["square", "identity"] = "square",
        samples: int = 1,
        warmup: float = 0.0,
        decay: Decay = "exponential",
    ) -> None:
        super().__init__(network, optimizer, beta, samples, warmup, decay)
        if self.network.covariance not in ("shared", "identity") or self.network.marginal is not None:
            raise Refusal(
                "NonlinearIB needs noise that is the same for every input, and no marginal: use "
                "model.network.covariance=shared (or identity) and model.network.components=0"
            )
        if penalty not in ("square", "identity"):
            raise Refusal(f"model.penalty must be square or identity, got {penalty!r}")
        self.penalty = penalty

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Distortion of this share, and the penalty of the global batch, which every rank has whole."""
        encoding, _, distortion = self.draw(batch)
        loss = distortion * batch.weight
        everyone = self.everyone(batch)
        if not self.beta or everyone.count < 2:
            return loss
        information = kernel_information_nats(everyone.samples(encoding.mean), encoding.scale[0])
        return loss + self.beta * (information**2 if self.penalty == "square" else information)

    def rates_nats(self, encoding: Encoding, y: Tensor) -> Tensor:
        """-log mean_{j != i} exp(-|f_i - f_j|^2 / 2 s^2) of each input, nats, (n,)."""
        if len(encoding.mean) < 2:
            raise Refusal("NonlinearIB compares inputs: hold out no labels, or two and more")
        return kernel_rates_nats(encoding.mean, encoding.scale[0], leave_one_out=True)
