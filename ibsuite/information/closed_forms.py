"""Mutual information that is known exactly, bits, float64: what every estimator is checked against."""

from typing import NamedTuple

import torch
from torch import Tensor

from ibsuite.units import bits_to_nats, nats_to_bits


def correlation_mi_bits(correlation: Tensor) -> float:
    """I(X; Y) of pairs of Gaussians that are correlated one by one, bits.

    I = -1/2 sum_i log(1 - rho_i^2), where (X_i, Y_i) has correlation rho_i and different i are independent.

    Args:
        correlation: rho, (pairs,) or one number, each inside (-1, 1).

    Raises:
        ValueError: a correlation is not inside (-1, 1).

    Source: Cover & Thomas 2006, Section 8.5, example of correlated Gaussians.
    """
    rho = correlation.double()
    if not bool((rho.abs() < 1).all()):
        raise ValueError("correlations must lie inside (-1, 1): at 1 the information is infinite")
    return nats_to_bits(float(-0.5 * torch.log1p(-rho.square()).sum()))


def correlation_of(mi_bits: float, pairs: int = 1) -> float:
    """The positive correlation at which that many equal pairs have that information.

    rho = sqrt(1 - exp(-2 I / pairs)), I in nats: the inverse of ``correlation_mi_bits``.

    Args:
        mi_bits: information of all pairs together, bits, at least 0.
        pairs: independent pairs (X_i, Y_i), at least 1.

    Raises:
        ValueError: an argument is outside the above.
    """
    if not (mi_bits >= 0 and pairs >= 1):
        raise ValueError(f"information must be at least 0 and pairs at least 1, got {mi_bits} and {pairs}")
    exponent = torch.tensor(-2 * bits_to_nats(mi_bits) / pairs, dtype=torch.float64)
    return float((-torch.expm1(exponent)).sqrt())


def gaussian_mi_bits(covariance: Tensor, split: int) -> float:
    """I(X; Y) of jointly Gaussian vectors, bits.

    I = 1/2 [log det S_xx + log det S_yy - log det S].

    Args:
        covariance: S of (X, Y), (d, d), symmetric and positive definite.
        split: how many of the d coordinates are X; they come first.

    Raises:
        ValueError: a shape is wrong or the covariance is not positive definite.

    Source: Cover & Thomas 2006, Theorem 8.4.1 (entropy of a Gaussian) and I = h(X) + h(Y) - h(X, Y).
    """
    s = _covariance(covariance, "covariance")
    if not 0 < split < len(s):
        raise ValueError(f"split must leave coordinates to both of {len(s)}, got {split}")
    nats = 0.5 * (_log_det(s[:split, :split]) + _log_det(s[split:, split:]) - _log_det(s))
    return nats_to_bits(float(nats))


def linear_gaussian_mi_bits(weight: Tensor, input_covariance: Tensor, noise_covariance: Tensor) -> float:
    """I(X; W X + b + eps) of a linear layer with Gaussian input and noise, bits. The bias says nothing.

    I = 1/2 log det(W S_x W^T + S_eps) - 1/2 log det S_eps.

    Args:
        weight: W, (outputs, inputs).
        input_covariance: S_x, (inputs, inputs), positive definite.
        noise_covariance: S_eps, (outputs, outputs), positive definite: without noise I is infinite.

    Raises:
        ValueError: a shape is wrong or a covariance is not positive definite.

    Source: Elad et al. 2019, equation 5 with its constant.
    """
    return nats_to_bits(float(linear_gaussian_mi_nats(weight, input_covariance, noise_covariance).detach()))


def linear_gaussian_mi_nats(weight: Tensor, input_covariance: Tensor, noise_covariance: Tensor) -> Tensor:
    """``linear_gaussian_mi_bits`` in nats, differentiable in the weight.

    Args:
        weight: W, (outputs, inputs).
        input_covariance: S_x, (inputs, inputs), positive definite.
        noise_covariance: S_eps, (outputs, outputs), positive definite.

    Raises:
        ValueError: a shape is wrong or a covariance is not positive definite.
    """
    w, s = weight.double(), _covariance(input_covariance, "input_covariance")
    noise = _covariance(noise_covariance, "noise_covariance")
    if w.shape != (len(noise), len(s)):
        raise ValueError(f"weight must be ({len(noise)}, {len(s)}), got {tuple(w.shape)}")
    # With the noise whitened, 1/2 log det(1 + M M^T): no difference of two large numbers for little noise.
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(noise), w, upper=False)
    return 0.5 * torch.linalg.svdvals(whitened @ torch.linalg.cholesky(s)).square().log1p().sum()


def table_mi_bits(joint: Tensor) -> float:
    """I(X; Y) of a discrete joint distribution, or of a table of counts, bits.

    I = sum_xy p(x, y) log [p(x, y) / (p(x) p(y))]; of counts it is the plug-in estimate.

    Args:
        joint: probabilities or counts, (values of x, values of y), not negative, not all zero.

    Raises:
        ValueError: the table is broken.
    """
    p = joint.double()
    if p.ndim != 2 or not bool((p.isfinite() & (p >= 0)).all()) or not float(p.sum()) > 0:
        raise ValueError("a joint table must be two-dimensional, not negative, finite and not all zero")
    p = p / p.sum()
    entropies = [torch.special.entr(each).sum() for each in (p.sum(0), p.sum(1), p)]
    return nats_to_bits(float((entropies[0] + entropies[1] - entropies[2]).clamp(min=0.0)))


class BottleneckPoint(NamedTuple):
    """One point of an information-bottleneck curve."""

    rate_bits: float
    """I(X; T), what the representation keeps of the input."""
    relevance_bits: float
    """I(Y; T), what it keeps of the target."""


def gaussian_bottleneck(covariance: Tensor, split: int, beta: float) -> BottleneckPoint:
    """The best I(Y; T) - beta I(X; T) over all T made from X, for jointly Gaussian X and Y, bits.

    With r_i the squared canonical correlations of X and Y, and sums over those r_i that are above beta ::

        I(X; T) = 1/2 sum log[(1 - beta) r_i / (beta (1 - r_i))]
        I(Y; T) = 1/2 sum log[(1 - beta) / (1 - r_i)].

    Args:
        covariance: of (X, Y), (d, d), symmetric and positive definite.
        split: how many of the d coordinates are X; they come first.
        beta: price of a bit about the input, inside (0, 1); from the largest r_i on nothing is worth it.

    Raises:
        ValueError: an argument is outside the above.

    Source: Chechik et al. 2005 (information bottleneck for Gaussian variables); their beta is 1 / beta here.
    """
    if not 0 < beta < 1:
        raise ValueError(f"beta must lie inside (0, 1), got {beta}")
    s = _covariance(covariance, "covariance")
    if not 0 < split < len(s):
        raise ValueError(f"split must leave coordinates to both of {len(s)}, got {split}")
    roots = [torch.linalg.cholesky(each) for each in (s[:split, :split], s[split:, split:])]
    half = torch.linalg.solve_triangular(roots[0], s[:split, split:], upper=False)
    r = torch.linalg.svdvals(torch.linalg.solve_triangular(roots[1], half.T, upper=False)).square()
    r = r[r > beta]
    rate = 0.5 * ((1 - beta) * r / (beta * (1 - r))).log().sum()
    relevance = 0.5 * ((1 - beta) / (1 - r)).log().sum()
    return BottleneckPoint(nats_to_bits(float(rate)), nats_to_bits(float(relevance)))


def _covariance(matrix: Tensor, name: str) -> Tensor:
    s = matrix.double()
    if s.ndim != 2 or s.shape[0] != s.shape[1] or not bool(s.isfinite().all()):
        raise ValueError(f"{name} must be a finite square matrix, got {tuple(s.shape)}")
    if not torch.allclose(s, s.T) or bool(torch.linalg.cholesky_ex(s).info):
        raise ValueError(f"{name} must be symmetric and positive definite")
    return s


def _log_det(matrix: Tensor) -> Tensor:
    return 2 * torch.linalg.cholesky(matrix).diagonal().log().sum()
