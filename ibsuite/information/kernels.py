"""I(X; T) of T = f(X) + Gaussian noise, bounded by the distances between the centres f(x); no training.

The noisy output of n inputs is a mixture of n Gaussians, and pairwise distances bound its entropy.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ibsuite.units import nats_to_bits


class KernelBounds(NamedTuple):
    """Bounds on I(X; f(X) + noise), bits."""

    lower_bits: float
    """Of the n inputs, and in expectation of the distribution that they come from; at most log2 n."""
    sample_upper_bits: float
    """Of the n inputs, each with probability 1 / n; at most log2 n. Of their distribution it is none."""
    upper_bits: float
    """In expectation of the distribution that they come from: no input is compared with itself."""


def kernel_bounds(centres: Tensor, noise_std: float | Tensor, chunk: int = 1024) -> KernelBounds:
    """Lower and upper bounds on I(X; f(X) + noise), bits, float64.

    Each is -mean_i log mean_j exp(-c |f_i - f_j|^2 / s^2): c = 1/2, from the divergence of two components,
    is an upper bound; c = 1/8, from their Bhattacharyya coefficient, a lower bound. Both hold for the mixture
    of the n components. The mixture's information is on average below that of the distribution (entropy is
    concave), so the lower bound stays one. With j = i left out the mean over j is that of independent draws,
    -log is convex, and the average is at least the upper bound of the distribution.

    Args:
        centres: f(x) of independent inputs, (n, d).
        noise_std: standard deviation s of the noise, one number or (d,), positive.
        chunk: rows of the distance matrix at a time.

    Raises:
        ValueError: fewer than two centres, or noise that is not positive.

    Source: Kolchinsky & Tracey 2017 (estimating mixture entropy with pairwise distances), the KL and the
    Chernoff bound at 1/2; without j = i by the argument above.
    """
    scaled = centres.detach().double()
    nats = [
        float(kernel_information_nats(scaled, noise_std, c, alone, chunk))
        for c, alone in ((0.125, False), (0.5, False), (0.5, True))
    ]
    return KernelBounds(*(nats_to_bits(each) for each in nats))


def kernel_information_nats(
    centres: Tensor, noise_std: float | Tensor, c: float = 0.5, leave_one_out: bool = False, chunk: int = 1024
) -> Tensor:
    """-mean_i log mean_j exp(-c |f_i - f_j|^2 / s^2), nats, float64, differentiable in centres and noise.

    Arguments and source: ``kernel_rates_nats``, of which it is the mean.
    """
    return kernel_rates_nats(centres, noise_std, c, leave_one_out, chunk).mean()


def kernel_rates_nats(
    centres: Tensor, noise_std: float | Tensor, c: float = 0.5, leave_one_out: bool = False, chunk: int = 1024
) -> Tensor:
    """-log mean_j exp(-c |f_i - f_j|^2 / s^2) of each input, nats, float64, differentiable, (n,).

    Args:
        centres: f(x) of independent inputs, (n, d).
        noise_std: standard deviation s of the noise, one number or (d,), positive.
        c: 1/2 for the upper and 1/8 for the lower bound of ``kernel_bounds``.
        leave_one_out: whether an input is not compared with itself.
        chunk: rows of the distance matrix at a time.

    Raises:
        ValueError: fewer than two centres, or noise that is not positive.

    Source: Kolchinsky & Tracey 2017; as an objective Kolchinsky, Tracey & Wolpert 2017 (nonlinear IB).
    """
    noise = torch.as_tensor(noise_std, dtype=torch.float64, device=centres.device)
    _check(centres, noise)
    scaled, n = centres.double() / noise, len(centres)  # float32 would lose small distances
    rates = []
    for start in range(0, n, chunk):
        rows = scaled[start : start + chunk]
        exponents = -c * _squared_distances(rows, scaled)
        if leave_one_out:
            own = torch.arange(start, start + len(rows), device=centres.device)
            exponents = exponents.scatter(1, own[:, None], -math.inf)
        rates.append(math.log(n - leave_one_out) - exponents.logsumexp(1))
    return torch.cat(rates)


def gaussian_information_nats(centres: Tensor, noise_std: float | Tensor) -> Tensor:
    """1/2 log |I + C / s^2|, nats, float64, C the covariance of the centres; differentiable in both.

    Of all f(X) with that covariance a Gaussian one has most information: with the covariance of the
    distribution it is an upper bound on I(X; f(X) + noise), and for a Gaussian X and a linear f the truth.
    The covariance of a few samples makes it too small on average (log det is concave).

    Args:
        centres: f(x) of independent inputs, (n, d).
        noise_std: standard deviation s of the noise, one number or (d,), positive.

    Raises:
        ValueError: fewer than two centres, or noise that is not positive.

    Source: Elad et al. 2019, equation 5, less the entropy of the noise.
    """
    noise = torch.as_tensor(noise_std, dtype=torch.float64, device=centres.device)
    _check(centres, noise)
    scaled = centres.double() / noise
    scaled = (scaled - scaled.mean(0)) / math.sqrt(len(centres) - 1)
    narrow = scaled.shape[1] <= len(scaled)
    gram = scaled.T @ scaled if narrow else scaled @ scaled.T  # of equal determinant, with the unit matrix
    log_det: Tensor = torch.logdet(gram + torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
    return 0.5 * log_det


def _check(centres: Tensor, noise: Tensor) -> None:
    if centres.ndim != 2 or len(centres) < 2:
        raise ValueError(f"centres must be (n, d) of at least two inputs, got {tuple(centres.shape)}")
    if not bool((noise > 0).all()):
        raise ValueError("noise must be positive: without it the information is infinite")


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2 by a product of matrices; the mean goes first, for large common parts would cancel."""
    middle = b.detach().mean(0)
    a, b = a - middle, b - middle
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0.0)
