"""Priors over weights, and what a Gaussian posterior costs under them.

KL(q || p) = E_q[-log p(w)] - H(q), summed over every weight. Training takes it in nats with gradients;
pricing in float64, under the prior exactly as the receiver gets it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Size, Tensor

from ibsuite.interface import Divergence, Refusal, Standardised
from ibsuite.nn.bayesian import Gaussian
from ibsuite.seeds import derive_seed, generator
from ibsuite.units import nats_to_bits

LOG_2PI = math.log(2 * math.pi)
BITS_PER_SCALE = 8.0
SCALES = torch.logspace(-4, 1, 256, dtype=torch.float64)
"""Scales of a learned prior that can be sent, 4.6 % apart: at most 0.0005 nats a weight are lost."""


class Price(NamedTuple):
    """What one tensor costs."""

    kl_nats: Tensor
    """KL(q || p), a float64 scalar."""
    standard_error_nats: float = 0.0
    """Of its Monte-Carlo estimate."""
    prior_bits: float = 0.0
    """Settings of the prior that were fitted to the labels."""


def entropy_nats(std: Tensor) -> Tensor:
    """Differential entropy of independent Gaussians, nats: sum of log std + log(2 pi e) / 2."""
    return std.log().sum() + std.numel() * (LOG_2PI + 1) / 2


class Prior(ABC):
    """A distribution over the weights of one tensor that the receiver knows. Means are less its centre."""

    @abstractmethod
    def cross_entropy_nats(self, mean: Tensor, std: Tensor) -> Tensor:
        """E_q[-log p(w)] with gradients, a scalar, nats: closed form, bound or one draw of the weights."""

    def kl_nats(self, mean: Tensor, std: Tensor) -> Tensor:
        """KL(q || p) of one tensor with gradients, a scalar, nats; for training."""
        return self.cross_entropy_nats(mean, std) - entropy_nats(std)

    def price(self, mean: Tensor, std: Tensor, samples: int, seed: int) -> Price:
        """What one tensor costs, under the prior as it is sent; ``samples`` and ``seed``: of Monte Carlo."""
        return Price(self.kl_nats(mean, std))


class IndependentGaussians(Prior):
    """N(0, scale^2) for every weight, given settings of a few bytes: draws from a posterior can be sent."""

    @abstractmethod
    def settings(self, mean: Tensor, std: Tensor) -> bytes:
        """What is sent of the prior of one tensor; as many bytes for every posterior of its shape."""

    @abstractmethod
    def scales(self, settings: bytes, shape: Size) -> Tensor:
        """Standard deviation of every weight of one tensor under ``settings``, float64."""


class FixedGaussian(IndependentGaussians):
    """N(0, std^2) for every weight: KL = log(s0/s) + (s^2 + m^2) / (2 s0^2) - 1/2 a weight, nothing to send.

    Blier & Ollivier 2018, appendix C.

    Args:
        std: standard deviation.
    """

    def __init__(self, std: float = 0.05) -> None:
        if not 0 < std < math.inf:
            raise Refusal(f"model.prior.std must be positive, got {std}")
        self.std = std

    def cross_entropy_nats(self, mean: Tensor, std: Tensor) -> Tensor:
        """Closed form."""
        squares = (mean.square() + std.square()).sum()
        return squares / (2 * self.std**2) + mean.numel() * (LOG_2PI / 2 + math.log(self.std))

    def settings(self, mean: Tensor, std: Tensor) -> bytes:
        """Nothing."""
        return b""

    def scales(self, settings: bytes, shape: Size) -> Tensor:
        """``std`` everywhere."""
        return torch.full(shape, self.std, dtype=torch.float64)


class LearnedGaussian(IndependentGaussians):
    """N(0, s0^2) with the best s0 for each group of weights, 8 bits to send for each.

    Training takes the optimum, s0^2 = mean of s^2 + m^2. What is priced is the best of 256 scales from
    0.0001 to 10 that are equally spaced in their logarithm, chosen before the KL is taken.

    Args:
        per: what has a scale of its own: each ``tensor``; or within weight matrices and kernels each
            ``output`` unit or channel, or each ``input`` unit or channel. A bias has one scale.
    """

    def __init__(self, per: Literal["tensor", "output", "input"] = "tensor") -> None:
        self.per = per

    def _squares(self, mean: Tensor, std: Tensor) -> Tensor:
        """E_q[w^2] summed over each group, (groups,)."""
        squares = mean.square() + std.square()
        if self.per == "tensor" or squares.ndim == 1:
            return squares.sum()[None]
        kept = 0 if self.per == "output" else 1
        return squares.sum([dim for dim in range(squares.ndim) if dim != kept])

    def cross_entropy_nats(self, mean: Tensor, std: Tensor) -> Tensor:
        """Closed form at the optimal scales."""
        squares = self._squares(mean, std)
        size = mean.numel() // len(squares)
        return ((squares / size).log() + LOG_2PI + 1).sum() * size / 2

    def price(self, mean: Tensor, std: Tensor, samples: int, seed: int) -> Price:
        """Closed form at the scales that are sent, and their bits."""
        nats = self._nats(mean, std)
        kl_nats = nats.min(1).values.sum() - entropy_nats(std)
        return Price(kl_nats, prior_bits=BITS_PER_SCALE * len(nats))

    def _nats(self, mean: Tensor, std: Tensor) -> Tensor:
        """E_q[-log p(w)] of each group at every scale, (groups, 256)."""
        squares = self._squares(mean, std)[:, None]
        size = mean.numel() // len(squares)
        return squares / (2 * SCALES**2) + size * (LOG_2PI / 2 + SCALES.log())

    def settings(self, mean: Tensor, std: Tensor) -> bytes:
        """A byte for each group: which of the 256 scales."""
        return bytes(self._nats(mean, std).argmin(1).tolist())

    def scales(self, settings: bytes, shape: Size) -> Tensor:
        """The scale of each weight's group."""
        chosen = SCALES[list(settings)]
        if len(settings) > 1 and self.per == "output":
            chosen = chosen.reshape(-1, *(1,) * (len(shape) - 1))
        elif len(settings) > 1:
            chosen = chosen.reshape(1, -1, *(1,) * (len(shape) - 2))
        return chosen.expand(shape)


class ConjugateGaussian(Prior):
    """N(0, v) with v ~ InvGamma(shape, rate) for each tensor, integrated out: nothing to send.

    The weights w of a tensor, n in all, then have a multivariate Student distribution,
    -log p(w) = log G(a) - log G(a + n/2) + n/2 log(2 pi) - a log b + (a + n/2) log(b + |w|^2 / 2),
    whose expectation is bounded from above by Jensen: E log(b + |w|^2 / 2) <= log(b + E|w|^2 / 2). So the
    figure is an upper bound on the KL: too much by half a nat a tensor where all weights are alike.

    Args:
        shape: a of the inverse gamma distribution of the variance.
        rate: b of it; sqrt(b / a) is a typical standard deviation of a weight.
    """

    def __init__(self, shape: float = 0.5, rate: float = 0.005) -> None:
        if not (0 < shape < math.inf and 0 < rate < math.inf):
            raise Refusal(f"model.prior.shape and model.prior.rate must be positive, got {shape} and {rate}")
        self.shape, self.rate = shape, rate

    def cross_entropy_nats(self, mean: Tensor, std: Tensor) -> Tensor:
        """Upper bound in closed form."""
        a, b, half = self.shape, self.rate, mean.numel() / 2
        constant = math.lgamma(a) - math.lgamma(a + half) + half * LOG_2PI - a * math.log(b)
        return constant + (a + half) * (b + (mean.square() + std.square()).sum() / 2).log()


class ScaleMixture(Prior):
    """pi N(0, std1^2) + (1 - pi) N(0, std2^2) for every weight; its KL is a Monte-Carlo estimate.

    Blundell et al. 2015. The entropy of the posterior is exact, which leaves less to estimate.

    Args:
        pi: weight of the first component, in (0, 1].
        std1: its standard deviation.
        std2: that of the second component.
    """

    def __init__(self, pi: float = 0.5, std1: float = 0.3, std2: float = 0.1) -> None:
        if not (0 < pi <= 1 and 0 < std1 < math.inf and 0 < std2 < math.inf):
            raise Refusal(
                "model.prior.pi must lie in (0, 1], std1 and std2 must be positive, "
                f"got {pi}, {std1} and {std2}"
            )
        self.pi, self.std1, self.std2 = pi, std1, std2

    def _log_density(self, weights: Tensor) -> Tensor:
        """Log p(w) summed over all weights, nats."""
        parts = [
            (math.log(share) if share else -math.inf) - math.log(std) - (weights / std).square() / 2
            for share, std in ((self.pi, self.std1), (1 - self.pi, self.std2))
        ]
        return torch.logaddexp(*parts).sum() - weights.numel() * LOG_2PI / 2

    def cross_entropy_nats(self, mean: Tensor, std: Tensor) -> Tensor:
        """An unbiased estimate by one draw."""
        return -self._log_density(torch.addcmul(mean, std, torch.randn_like(std)))

    def price(self, mean: Tensor, std: Tensor, samples: int, seed: int) -> Price:
        """Mean over ``samples`` draws, with its standard error."""
        if samples < 2:
            raise Refusal(f"the KL to a ScaleMixture is estimated: it needs 2 samples or more, not {samples}")
        draws = generator(seed)
        estimates = torch.stack(
            [
                -self._log_density(mean + std * torch.randn(std.shape, generator=draws, dtype=std.dtype))
                for _ in range(samples)
            ]
        )
        return Price(estimates.mean() - entropy_nats(std), float(estimates.std()) / math.sqrt(samples))


def divergence(prior: Prior, posterior: Mapping[str, Gaussian], samples: int, seed: int) -> Divergence:
    """What a posterior costs beside the labels: the sum over all its tensors, float64, bits.

    Args:
        prior: of each tensor.
        posterior: what ``ibsuite.nn.posterior`` gives with ``exact=True``.
        samples: draws of a Monte-Carlo KL.
        seed: of these draws.

    Raises:
        Refusal: a variance is zero or something is not finite, where the KL is infinite.
    """
    prices = []
    for index, (name, (mean, std)) in enumerate(posterior.items()):
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise Refusal(f"the posterior of {name!r} is not finite; lower the learning rate")
        if not (std.float() > 0).all():
            raise Refusal(
                f"the posterior of {name!r} has zero variance, so its KL is infinite; "
                "raise initial_std or lower the learning rate of the scales"
            )
        prices.append(prior.price(mean, std, samples, derive_seed(seed, index)))
    return Divergence(
        kl_bits=nats_to_bits(math.fsum(float(price.kl_nats) for price in prices)),
        standard_error_bits=nats_to_bits(math.hypot(*(price.standard_error_nats for price in prices))),
        prior_bits=math.fsum(price.prior_bits for price in prices),
    )


def standardised(prior: Prior, posterior: Mapping[str, Gaussian]) -> Standardised | None:
    """A posterior as it looks from its prior, whose settings are sent; None for another kind of prior.

    Args:
        prior: of each tensor.
        posterior: what ``ibsuite.nn.posterior`` gives with ``exact=True``.
    """
    if not isinstance(prior, IndependentGaussians):
        return None
    settings = [prior.settings(*q) for q in posterior.values()]
    scales = [prior.scales(each, q.mean.shape) for each, q in zip(settings, posterior.values(), strict=True)]
    mean, std = (
        torch.cat([(part / s).flatten() for part, s in zip(parts, scales, strict=True)])
        for parts in zip(*posterior.values(), strict=True)
    )
    return Standardised(mean, std, b"".join(settings))


def from_standardised(
    prior: Prior, posterior: Mapping[str, Gaussian], draw: Tensor, settings: bytes
) -> dict[str, Tensor]:
    """Tensors less their centres, float64, of what is measured in standard deviations of the prior.

    Args:
        prior: of each tensor.
        posterior: any posterior over the same tensors.
        draw: of all weights, (n,), float64.
        settings: of the prior, as ``standardised`` gives them.
    """
    assert isinstance(prior, IndependentGaussians)
    found = {}
    for name, q in posterior.items():
        count = len(prior.settings(*q))
        scales, settings = prior.scales(settings[:count], q.mean.shape), settings[count:]
        found[name], draw = draw[: q.mean.numel()].reshape(q.mean.shape) * scales, draw[q.mean.numel() :]
    return found
