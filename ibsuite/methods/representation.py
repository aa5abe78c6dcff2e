"""What all methods with a stochastic representation share: draws of z, distortion, and how they are read."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from ibsuite.interface import Batch, BottleneckReading, Refusal
from ibsuite.methods.cross_entropy import CrossEntropy
from ibsuite.methods.global_batch import GlobalBatch
from ibsuite.methods.schedules import Decay
from ibsuite.nn import Bottleneck, Encoding, mean_prediction
from ibsuite.units import nats_to_bits


class RepresentationMethod(CrossEntropy):
    """A classifier of a representation z ~ p(z|x) = N(mean, S S'), whose distortion is E[-log q(y|z)].

    A subclass says in its training step what of z is charged, and in ``rates_nats`` what is read of it. In
    evaluation logits are those of the mean prediction over the network's fixed draws.

    Args:
        network: ``Bottleneck``, with an encoder of any kind.
        optimizer: a torch optimiser class with its settings, without the parameters.
        beta: weight of what is charged against the distortion.
        samples: draws of z for each input in each step, over which the loss is averaged.
        warmup: share of a training in which the learning rate rises to its peak.
        decay: how the learning rate falls after the warm-up.

    Raises:
        Refusal: the network has no stochastic bottleneck, or a number is out of range.
    """

    network: Bottleneck
    whole_batch = False
    """Whether the loss looks at the global batch as a whole, so that it is no sum over pieces."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer],
        beta: float,
        samples: int,
        warmup: float,
        decay: Decay,
    ) -> None:
        if not isinstance(network, Bottleneck):
            raise Refusal(
                f"{type(self).__name__} needs a network with a stochastic bottleneck, not "
                f"{type(network).__name__}: use --model.network=Bottleneck, and any network as its encoder"
            )
        if not beta >= 0 or samples < 1:
            raise Refusal(
                f"model.beta must not be negative and model.samples 1 or more; got {beta} and {samples}"
            )
        super().__init__(network, optimizer, warmup, decay)
        self.beta, self.samples = beta, samples

    def draw(self, batch: Batch) -> tuple[Encoding, Tensor, Tensor]:
        """The encoding of this rank's share, fresh noise, and the distortion summed over the share, nats."""
        encoding = self.network.encode(batch.x)
        mean = encoding.mean
        noise = torch.randn(self.samples, *mean.shape, device=mean.device, dtype=mean.dtype)
        logits = self.network.decoder(encoding.sample(noise)).flatten(0, 1)
        nats = F.cross_entropy(logits, batch.y.repeat(self.samples), reduction="sum")
        return encoding, noise, nats / self.samples

    def setup(self, stage: str) -> None:
        """Refuse to be trained in pieces, where the loss is no sum over them."""
        if self.whole_batch and self.trainer.accumulate_grad_batches > 1:
            raise Refusal(
                f"{type(self).__name__} looks at a batch as a whole: leave "
                "trainer.accumulate_grad_batches out"
            )

    @staticmethod
    def everyone(batch: Batch) -> GlobalBatch:
        """The global batch that this share belongs to."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        world, rank = (
            (torch.distributed.get_world_size(), torch.distributed.get_rank()) if distributed else (1, 0)
        )
        return GlobalBatch(batch, world, rank)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """p(z|x) = N(mean, S S') of each input: means, (n, K), and factors S, (n, K, K)."""
        encoding = self.network.encode(x)
        diagonal = encoding.scale.ndim == 2
        return encoding.mean, torch.diag_embed(encoding.scale) if diagonal else encoding.scale

    def decode(self, z: Tensor) -> Tensor:
        """Logits of q(y|z), (n, K) -> (n, num_classes)."""
        logits: Tensor = self.network.decoder(z)
        return logits

    def rates_nats(self, encoding: Encoding, y: Tensor) -> Tensor:
        """Of each input a number whose mean is an upper bound on I(Z;X): KL(p(z|x) || r(z)), nats, (n,)."""
        return self.network.rate_nats(encoding, self.network.noise[:, None])

    @torch.no_grad()
    def read_bottleneck(self, x: Tensor, y: Tensor) -> BottleneckReading:
        """Rate, distortion and errors of each input, bits; means over the network's fixed draws."""
        encoding = self.network.encode(x)
        draws = self.network.draw_logits(encoding).double()
        nats = -draws.log_softmax(-1)[:, torch.arange(len(y), device=y.device), y]
        return BottleneckReading(
            rate_bits=nats_to_bits(self.rates_nats(encoding, y).double()),
            distortion_bits=nats_to_bits(nats.mean(0)),
            wrong_one_draw=(draws.argmax(-1) != y).double().mean(0),
            wrong=(mean_prediction(draws).argmax(-1) != y).double(),
        )
