"""Training a classifier through a stochastic bottleneck: Deep VIB."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from ibsuite.interface import Batch, BottleneckReading, Refusal
from ibsuite.methods.cross_entropy import CrossEntropy
from ibsuite.methods.schedules import Decay
from ibsuite.nn import Bottleneck, mean_prediction
from ibsuite.units import nats_to_bits


class DeepVIB(CrossEntropy):
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

    network: Bottleneck

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        beta: float = 1e-3,
        samples: int = 1,
        warmup: float = 0.0,
        decay: Decay = "exponential",
    ) -> None:
        if not isinstance(network, Bottleneck):
            raise Refusal(
                f"DeepVIB needs a network with a stochastic bottleneck, not {type(network).__name__}: use "
                "--model.network=Bottleneck, and any network as its encoder"
            )
        if not beta >= 0 or samples < 1:
            raise Refusal(
                f"model.beta must not be negative and model.samples 1 or more; got {beta} and {samples}"
            )
        if beta == 0 and network.marginal is not None:
            raise Refusal("with model.beta=0 nothing trains a marginal: use model.network.components=0")
        super().__init__(network, optimizer, warmup, decay)
        self.beta, self.samples = beta, samples

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Distortion and rate; shares are weighted so that the mean over ranks is the global mean."""
        encoding = self.network.encode(batch.x)
        mean = encoding.mean
        noise = torch.randn(self.samples, *mean.shape, device=mean.device, dtype=mean.dtype)
        logits = self.network.decoder(encoding.sample(noise)).flatten(0, 1)
        loss = F.cross_entropy(logits, batch.y.repeat(self.samples), reduction="sum") / self.samples
        if self.beta:
            loss = loss + self.beta * self.network.rate_nats(encoding, noise).sum()
        return loss * batch.weight

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """p(z|x) = N(mean, S S') of each input: means, (n, K), and factors S, (n, K, K)."""
        encoding = self.network.encode(x)
        diagonal = encoding.scale.ndim == 2
        return encoding.mean, torch.diag_embed(encoding.scale) if diagonal else encoding.scale

    def decode(self, z: Tensor) -> Tensor:
        """Logits of q(y|z), (n, K) -> (n, num_classes)."""
        logits: Tensor = self.network.decoder(z)
        return logits

    @torch.no_grad()
    def read_bottleneck(self, x: Tensor, y: Tensor) -> BottleneckReading:
        """Rate, distortion and errors of each input, bits; means over the network's fixed draws."""
        encoding = self.network.encode(x)
        draws = self.network.draw_logits(encoding).double()
        nats = -draws.log_softmax(-1)[:, torch.arange(len(y), device=y.device), y]
        return BottleneckReading(
            rate_bits=nats_to_bits(self.network.rate_nats(encoding, self.network.noise[:, None]).double()),
            distortion_bits=nats_to_bits(nats.mean(0)),
            wrong_one_draw=(draws.argmax(-1) != y).double().mean(0),
            wrong=(mean_prediction(draws).argmax(-1) != y).double(),
        )
