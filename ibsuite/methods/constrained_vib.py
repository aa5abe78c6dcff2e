"""Deep VIB with a limit on the rate in place of a price: the price is found by dual ascent."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ibsuite.interface import Batch, Refusal
from ibsuite.methods.representation import RepresentationMethod
from ibsuite.methods.schedules import Decay
from ibsuite.units import bits_to_nats


class ConstrainedVIB(RepresentationMethod):
    """Least distortion E[-log q(y|z)] under a mean rate E KL(p(z|x) || r(z)) <= I_c.

    The Lagrangian, nats a sample, is

        D + beta (R - I_c)

    in which beta >= 0 is the multiplier of the limit. Weights descend in it, beta ascends: R - I_c is the
    gradient of the dual function. The step is taken on the logarithm,

        log beta <- log beta + dual_rate log(R / I_c),

    which has the sign of that gradient and vanishes with it, keeps beta positive, and does not depend on the
    scale of R. R is the mean over the global batch. Where the limit does not bind beta falls towards 0.

    I(Z;X) <= R, so that the information is limited as well. The limit is met by the last steps of a training
    on average, and by a minibatch at a time only roughly. beta is saved with a run, begins anew with every
    training, and stands in ``bottleneck.json`` as it was reached.

    Source: Alemi, Fischer, Dillon & Murphy 2017 (Deep VIB), the constraint I(X;Z) <= I_c before its
    multiplier is fixed; dual ascent as in Arrow, Hurwicz & Uzawa 1958.

    Args:
        network: ``Bottleneck``, with an encoder of any kind.
        optimizer: a torch optimiser class with its settings, without the parameters.
        rate_limit_bits: I_c, bits a sample.
        dual_rate: step size on log beta.
        beta: multiplier at the beginning of a training.
        samples: draws of z for each input in each step, over which the loss is averaged.
        warmup: share of a training in which the learning rate rises to its peak.
        decay: how the learning rate falls after the warm-up.
    """

    whole_batch = True

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        rate_limit_bits: float = 10.0,
        dual_rate: float = 0.01,
        beta: float = 1e-3,
        samples: int = 1,
        warmup: float = 0.0,
        decay: Decay = "exponential",
    ) -> None:
        super().__init__(network, optimizer, beta, samples, warmup, decay)
        if not (rate_limit_bits > 0 and dual_rate > 0 and beta > 0):
            raise Refusal(
                "model.rate_limit_bits, model.dual_rate and model.beta must be positive; "
                f"got {rate_limit_bits}, {dual_rate} and {beta}"
            )
        self.limit_nats, self.dual_rate, self.first_beta = bits_to_nats(rate_limit_bits), dual_rate, beta

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The Lagrangian, for the weights; then a step of the multiplier."""
        encoding, noise, distortion = self.draw(batch)
        rate = self.network.rate_nats(encoding, noise).sum()
        lagrangian = distortion + self.beta * (rate - self.limit_nats * len(batch.x))
        everyone = self.everyone(batch)
        mean_rate = float(everyone.gather(rate.detach().double()[None]).sum()) / everyone.count
        self.beta = dual_step(self.beta, mean_rate, self.limit_nats, self.dual_rate)
        return lagrangian * batch.weight

    def reset_parameters(self) -> None:
        """Draw a fresh initialisation of the network, and take the multiplier back to its beginning."""
        super().reset_parameters()
        self.beta = self.first_beta

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the multiplier: no tensor of the model, which would be averaged and sent."""
        checkpoint["multiplier"] = self.beta

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the multiplier."""
        self.beta = checkpoint["multiplier"]


def dual_step(beta: float, rate: float, limit: float, step: float) -> float:
    """The multiplier after one step: beta (rate / limit)^step.

    Args:
        beta: multiplier, positive.
        rate: what is limited, as it was measured; from 1 / 1000 of the limit down it counts as that much.
        limit: of the same unit.
        step: size of the step on log beta.
    """
    return beta * max(rate / limit, 1e-3) ** step
