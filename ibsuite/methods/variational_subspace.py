"""Training a distribution over the coordinates of a network in a random subspace."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from ibsuite import nn as networks
from ibsuite.compression.subspaces import ProjectionKind
from ibsuite.interface import Batch, Divergence, LabelSequence, Refusal, Standardised
from ibsuite.methods.schedules import Decay, risen
from ibsuite.methods.subspace import Subspace
from ibsuite.nn import Prior
from ibsuite.nn.bayesian import Gaussian
from ibsuite.seeds import generator


class VariationalSubspace(Subspace):
    """The variational code's length per label, nats: E_q[-log p(y|x,z)] + KL(q || p) / n, over z alone.

    theta = theta_0 + P z as in ``Subspace``; q is a Gaussian for every coordinate. In a random subspace all
    directions are alike, which is what a posterior with independent coordinates and a prior with one
    scale suppose; and a draw is one vector, so that a step costs no more than that of a plain network.
    It joins the two codes of Blier & Ollivier 2018, sections 3.2 and 3.3.

    Args:
        network: gives logits, (n, *input_shape) -> (n, num_classes); where its constructor has
            ``num_classes`` or ``input_shape`` they are taken from the data. Its weights become theta_0.
        dimension: coordinates, at most as many as there are weights.
        prior: over coordinates.
        projection: ``dense``, ``sparse``, ``fastfood`` or ``kronecker``.
        initial_std: standard deviation of every coordinate at first.
        optimizer: a torch optimiser class with its settings, without the parameters. Its weight decay is
            set to 0: the prior has that part.
        scale_rate: learning rate of the scales, as a multiple of that of the means.
        warmup: share of a training in which the learning rate rises to its peak.
        decay: how the learning rate falls after the warm-up.
        kl_warmup: share of a training in which the weight of the KL rises from 0 to 1.
    """

    def __init__(
        self,
        network: nn.Module,
        dimension: int,
        prior: Prior,
        projection: ProjectionKind = "sparse",
        initial_std: float = 0.1,
        optimizer: Callable[[Iterable[Any]], Optimizer] = torch.optim.Adam,
        scale_rate: float = 1.0,
        warmup: float = 0.0,
        decay: Decay = "cosine",
        kl_warmup: float = 0.2,
    ) -> None:
        if not initial_std > 0:
            raise Refusal(f"model.initial_std must be positive, got {initial_std}")
        if not 0 <= kl_warmup <= 1:
            raise Refusal(f"model.kl_warmup must lie in [0, 1], got {kl_warmup}")
        self.initial_std = initial_std
        super().__init__(network, dimension, projection, optimizer, warmup, decay)
        self.prior, self.scale_rate, self.kl_warmup = prior, scale_rate, kl_warmup
        self._fixed: Tensor | None = None

    def coordinates(self) -> Tensor:
        """A fresh draw in training; the means in evaluation, or within ``fixed`` what that names."""
        if self.training and self._fixed is None:
            return self.z + F.softplus(self.z_rho) * torch.randn_like(self.z)
        return self.z if self._fixed is None else self._fixed

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Length per label; shares are weighted so that the mean over ranks is that of the global batch."""
        data: LabelSequence = self.trainer.datamodule  # type: ignore[attr-defined]
        labels = data.num_labels if data.stretch is None else len(data.stretch.rows)
        weight = risen(self, self.kl_warmup)
        kl_nats = self.prior.kl_nats(self.z, F.softplus(self.z_rho))
        return super().training_step(batch, batch_idx) + kl_nats * (weight / labels)

    def divergence(self, samples: int, seed: int) -> Divergence:
        """KL(q || p) over all coordinates and what the prior's settings cost, float64, bits."""
        return networks.divergence(self.prior, self._posterior(), samples, seed)

    def _posterior(self) -> dict[str, Gaussian]:
        mean, rho = self.z.detach().cpu().double(), self.z_rho.detach().cpu().double()
        return {"z": Gaussian(mean, F.softplus(rho))}

    def standardised(self) -> Standardised | None:
        """The posterior as it looks from the prior that is sent; None for a prior that is not Gaussian."""
        return networks.standardised(self.prior, self._posterior())

    @torch.no_grad()
    def set_draw(self, draw: Tensor, settings: bytes) -> None:
        """Make such a draw the means."""
        self.z.copy_(networks.from_standardised(self.prior, self._posterior(), draw, settings)["z"])

    @contextmanager
    def fixed(self, seed: int | None) -> Iterator[None]:
        """Within it logits are those of one draw of the coordinates, or of their means for ``None``."""
        z = self.z.detach()
        if seed is not None:
            # On the CPU in float64, so that every device and rank finds the same draw.
            noise = torch.randn(len(z), generator=generator(seed), dtype=torch.float64)
            std = F.softplus(self.z_rho.detach().cpu().double())
            z = (z.cpu().double() + std * noise).to(z)
        before, self._fixed = self._fixed, z
        try:
            yield
        finally:
            self._fixed = before

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Means, and scales at a rate of their own."""
        scales = {"params": [self.z_rho], "weight_decay": 0.0, "rate": self.scale_rate}
        return [{"params": [self.z], "weight_decay": 0.0}, scales]

    def resize(self, dimension: int) -> None:
        """Another number of coordinates in a fresh subspace, as after ``reset_parameters``."""
        self.z_rho = nn.Parameter(torch.zeros(dimension, device=self.seed.device))
        super().resize(dimension)

    def reset_parameters(self) -> None:
        """A fresh subspace; z = 0, and the scales as they were at first."""
        super().reset_parameters()
        with torch.no_grad():
            self.z_rho.fill_(self.initial_std + math.log(-math.expm1(-self.initial_std)))
