"""What passes a multiplicative Gaussian gate h = (mu + eps sigma) f, eps ~ N(0, 1), in bits.

Every unit has one eps for each sample. The training charges 1/2 log(1 + mu^2 / sigma^2) a unit. Here
is the divergence of which this is a part, and a bound on the information that stays finite where
activations are exactly zero, as behind every ReLU.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ibsuite.units import nats_to_bits


def gate_kl_bits(f: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Expected divergence of p(h | f) from the best zero-mean Gaussian, bits for each unit, (units,).

    p(h | f) = N(f mu, f^2 sigma^2), q(h) = N(0, xi), and the expectation is the mean over the rows of f::

        E KL(p || q) = 1/2 E [ log xi - log(f^2 sigma^2) + f^2 (mu^2 + sigma^2) / xi - 1 ].

    The derivative in xi is 1/2 [1 / xi - (mu^2 + sigma^2) E f^2 / xi^2], so xi = (mu^2 + sigma^2) E f^2 is
    best; the last two terms then cancel and ::

        E KL = 1/2 [ log((mu^2 + sigma^2) / sigma^2) + log E f^2 - E log f^2 ]
             = 1/2 [ log(1 + mu^2 / sigma^2) + psi ],    psi = log E f^2 - E log f^2 >= 0.

    psi is what one common q costs for activations of different sizes; it does not change when f is scaled.
    The objective of the paper drops it: it depends neither on mu nor on sigma, so not on the parameters of
    this gate (but on the layers before it), and it is infinite as soon as some f is 0. Without
    psi the sum over the units is no bound on the information.

    Args:
        f: activations in front of the gate, (n, units), none of them zero.
        mu: mean of each gate, (units,).
        sigma: standard deviation of each gate, (units,), positive.

    Raises:
        ValueError: an activation is zero, or a shape or value above is broken.

    Source: Dai et al. 2018 (VIBNet), the bound and the parametric forms; psi by the derivation above.
    """
    if bool((f == 0).any()):
        raise ValueError("the divergence is infinite where activations are zero: use the upper bound instead")
    statistics = GateInformation(mu.numel())
    statistics.update(f)
    return nats_to_bits(0.5 * (_log_signal_to_noise(mu, sigma) + statistics.spread_nats()))


def best_marginal_variance(f: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Variance at which N(0, xi) is nearest to p(h | f) on average, (units,).

    xi = (mu^2 + sigma^2) E f^2.

    Args:
        f: activations in front of the gate, (n, units).
        mu: mean of each gate, (units,).
        sigma: standard deviation of each gate, (units,).

    Source: derived in ``gate_kl_bits``.
    """
    return (mu.double().square() + sigma.double().square()) * f.double().square().mean(0)


class GateUpperBits(NamedTuple):
    """Upper bound on the information that passes a gate."""

    per_unit: Tensor
    """Bits for each unit, (units,), float64."""

    @property
    def total(self) -> float:
        """Bits of all units together."""
        return float(self.per_unit.sum())


class GateInformation:
    """Upper bound on I(h; f) of a gate over units, bits, from activations that come batch by batch.

    I(h; f) <= E KL(p(h | f) || q(h)) for every q. With p = P(f_j != 0), the marginal of a unit is ::

        q_j = (1 - p) delta_0 + p N(0, xi),    xi = (mu^2 + sigma^2) E[f^2 | f != 0].

    Where f = 0, h is 0 exactly and KL = -log(1 - p). Where it is not, h is 0 with probability zero, and
    KL = -log p + KL(N(f mu, f^2 sigma^2) || N(0, xi)). Together, as in ``gate_kl_bits`` ::

        bound_j = H(p) + p / 2 [ log(1 + mu^2 / sigma^2) + psi ],
        psi = log E[f^2 | f != 0] - E[log f^2 | f != 0].

    The draws eps of different units are independent, so p(h | f) factorises; as q does too, the divergences
    add up to one of the whole layer: the sum over the units bounds the information of all of them together,
    however dependent they are. By data processing it also bounds what h says about the network's input.
    A unit that was removed is 0 whatever f is and passes nothing.

    What it is not: (i) tight, in general: q_j has mean zero, so even a constant f is charged for
    mu^2 / sigma^2. (ii) About the network in evaluation, which has no noise. (iii) More certain than the
    sample: it is a bound for the empirical distribution of the given f, which must have been drawn as the
    noisy network draws them. (iv) For maps. There one eps multiplies all positions of a channel, and p(h | f)
    lies on a line through f: h_1 / h_2 = f_1 / f_2 arrives without any noise, and no multiple of the bound
    for one position holds for the map, whose information is infinite for continuous f. Maps are refused.

    Args:
        units: number of units.
    """

    def __init__(self, units: int) -> None:
        self.count = 0
        self.nonzero, self.squares, self.log_squares = torch.zeros(3, units, dtype=torch.float64)

    @torch.no_grad()
    def update(self, f: Tensor) -> None:
        """Take in more samples.

        Args:
            f: activations in front of the gate, (n, units).

        Raises:
            ValueError: ``f`` has other units or positions, or is not finite.
        """
        if f.ndim != 2 or f.shape[1] != len(self.nonzero):
            raise ValueError(
                f"activations must be (n, {len(self.nonzero)}), got {tuple(f.shape)}; one draw for many "
                "positions of a map has no finite bound"
            )
        if not bool(f.isfinite().all()):
            raise ValueError("activations are not finite; nothing can be said about them")
        sizes = f.detach().double().abs()
        there = sizes > 0
        self.count += len(f)
        self.nonzero += there.sum(0).cpu()
        self.squares += sizes.square().sum(0).cpu()
        self.log_squares += 2 * torch.where(there, sizes, 1.0).log().sum(0).cpu()

    def spread_nats(self) -> Tensor:
        """Spread psi of the activations that are not zero, nats, (units,); 0 where there are none."""
        there = self.nonzero > 0
        number, squares = self.nonzero.clamp(min=1), torch.where(there, self.squares, 1.0)
        # Never negative (Jensen), but for rounding where all activations are alike.
        return torch.where(there, (squares / number).log() - self.log_squares / number, 0.0).clamp(min=0.0)

    def upper_bits(self, mu: Tensor, sigma: Tensor, kept: Tensor | None = None) -> GateUpperBits:
        """The bound for the samples so far, bits.

        Args:
            mu: mean of each gate, (units,).
            sigma: standard deviation of each gate, (units,), positive.
            kept: which units were not removed, (units,), bool; all if None.

        Raises:
            ValueError: no samples yet, or a shape or value above is broken.
        """
        if not self.count:
            raise ValueError("no activations yet: call update first")
        p = self.nonzero / self.count
        switch = torch.special.entr(p) + torch.special.entr(1 - p)
        nats = switch + 0.5 * p * (_log_signal_to_noise(mu, sigma, len(p)) + self.spread_nats())
        if kept is not None:
            if kept.dtype != torch.bool or kept.shape != p.shape:
                raise ValueError(f"kept must be boolean, ({len(p)},), got {kept.dtype}, {tuple(kept.shape)}")
            nats = torch.where(kept.cpu(), nats, 0.0)
        return GateUpperBits(nats_to_bits(nats))


def gate_information_upper_bits(
    f: Tensor, mu: Tensor, sigma: Tensor, kept: Tensor | None = None
) -> GateUpperBits:
    """Upper bound on the information that passes a gate, bits, from all activations at once.

    What it says, and what not: ``GateInformation``.

    Args:
        f: activations in front of the gate, (n, units); zeros are welcome.
        mu: mean of each gate, (units,).
        sigma: standard deviation of each gate, (units,), positive.
        kept: which units were not removed, (units,), bool; all if None.

    Raises:
        ValueError: a shape or value above is broken.
    """
    statistics = GateInformation(mu.numel())
    statistics.update(f)
    return statistics.upper_bits(mu, sigma, kept)


def _log_signal_to_noise(mu: Tensor, sigma: Tensor, units: int | None = None) -> Tensor:
    """log(1 + mu^2 / sigma^2), nats, (units,), float64."""
    units = mu.numel() if units is None else units
    if mu.shape != (units,) or sigma.shape != (units,):
        raise ValueError(f"mu and sigma must be ({units},), got {tuple(mu.shape)} and {tuple(sigma.shape)}")
    mu, sigma = mu.detach().double().cpu(), sigma.detach().double().cpu()
    if not bool((mu.isfinite() & sigma.isfinite() & (sigma > 0)).all()):
        raise ValueError("mu must be finite and sigma finite and positive: a gate without noise has no bound")
    return (mu / sigma).square().log1p()
