"""Mutual information from density models: difference of entropies, and an upper bound where noise is known.

A model's cross-entropy on samples that it has not seen is at least the entropy, in expectation.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from ibsuite.information.autoregressive import fit_autoregressive
from ibsuite.information.estimates import Estimate, Kind
from ibsuite.information.samples import Parts, normal_scores, paired, split
from ibsuite.units import nats_to_bits


class Density(Protocol):
    """A fitted density of y given x, or of y alone."""

    def log_density(self, y: Tensor, x: Tensor | None = None) -> Tensor:
        """Log p(y | x) of each sample, nats, (n,), float64; y and x are (n, d)."""


class LinearGaussian:
    """y | x ~ N(A x + b, S) by maximum likelihood; without x a Gaussian.

    Args:
        y: samples that it is fitted to, (n, d).
        x: what is given, (n, c), or None.

    Raises:
        ValueError: too few samples for the covariance.
    """

    def __init__(self, y: Tensor, x: Tensor | None = None) -> None:
        design = self._design(y, x)
        if len(y) <= design.shape[1] + y.shape[1]:
            raise ValueError(f"{len(y)} samples are too few for a Gaussian of {y.shape[1]} coordinates "
                             f"given {design.shape[1] - 1}")  # fmt: skip
        self.weights = torch.linalg.lstsq(design, y.double()).solution
        rest = y.double() - design @ self.weights
        root, failed = torch.linalg.cholesky_ex(rest.T @ rest / len(y))
        if bool(failed) or bool((root.diagonal() <= 1e-9 * y.double().square().mean(0).sqrt()).any()):
            raise ValueError("y is a linear function of x, or of itself: the information is infinite")
        self.root = root

    def log_density(self, y: Tensor, x: Tensor | None = None) -> Tensor:
        """Log p(y | x) of each sample, nats, (n,)."""
        rest = (y.double() - self._design(y, x) @ self.weights).T
        squares = torch.linalg.solve_triangular(self.root, rest, upper=False).square().sum(0)
        constant = y.shape[1] * math.log(2 * math.pi) / 2 + self.root.diagonal().log().sum()
        return -squares / 2 - constant

    @staticmethod
    def _design(y: Tensor, x: Tensor | None) -> Tensor:
        one = torch.ones(len(y), 1, dtype=torch.float64, device=y.device)
        return one if x is None else torch.cat([one, x.double()], 1)


FAMILIES = ("gaussian", "autoregressive")
"""Families of density models: linear-Gaussian in closed form; mixtures of logistics, trained."""


def difference_of_entropies(
    x: Tensor, y: Tensor, family: str = "autoregressive", seed: int = 0, normal_marginals: bool = False
) -> Estimate:
    """I(X; Y) as cross-entropy of Y minus cross-entropy of Y given X, a plug-in, bits.

    Each of the two is an upper bound on an entropy, so their difference is no bound of any kind. It needs no
    pairs from the marginals and does not saturate with their number.

    Args:
        x: (n, ...).
        y: (n, ...), continuous.
        family: ``gaussian`` or ``autoregressive``.
        seed: of the split and of the training.
        normal_marginals: map every coordinate of x and y to normal scores first, which changes no
            information; ``gaussian`` is then the Gaussian copula.

    Raises:
        ValueError: the family is unknown or there are too few samples.

    Source: McAllester & Stratos 2020 (difference of entropies).
    """
    a, b = paired(x, y)
    parts = split(len(a), seed)
    if normal_marginals:
        a, b = (normal_scores(each[parts.fit], each) for each in (a, b))
    marginal, conditional = _fit(family, b, None, parts, seed), _fit(family, b, a, parts, seed)
    gains = [
        conditional.log_density(b[rows], a[rows]) - marginal.log_density(b[rows])
        for rows in (parts.fit, parts.heldout)
    ]
    return _estimate(Kind.PLUG_IN, *gains)


def noisy_upper(
    t: Tensor, noise_covariance: Tensor, family: str = "autoregressive", seed: int = 0
) -> Estimate:
    """Upper bound on I(X; T) of T = f(X) + Gaussian noise, whatever f is, bits.

    I(X; T) = h(T) - h(noise), and h(noise) is known; a density model's cross-entropy on T that it has not
    seen is at least h(T) in expectation. No critic, no pairs from the marginals, nothing to saturate.

    Args:
        t: noisy outputs of independent inputs, one draw of the noise for each, (n, d).
        noise_covariance: of the noise, (d, d), positive definite.
        family: ``gaussian`` or ``autoregressive``.
        seed: of the split and of the training.

    Raises:
        ValueError: the family is unknown, a shape is wrong, or there are too few samples.

    Source: Elad et al. 2019, equations 3 and 4, with the cross-entropy in the place of h(L + eps).
    """
    t, _ = paired(t, t)
    noise = noise_covariance.double().to(t.device)
    if noise.shape != (t.shape[1], t.shape[1]) or bool(torch.linalg.cholesky_ex(noise).info):
        raise ValueError(f"noise_covariance must be positive definite, ({t.shape[1]}, {t.shape[1]})")
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * noise))
    parts = split(len(t), seed)
    density = _fit(family, t, None, parts, seed)
    excess = [-density.log_density(t[rows]) - entropy for rows in (parts.fit, parts.heldout)]
    return _estimate(Kind.UPPER, *excess)


def _fit(family: str, y: Tensor, x: Tensor | None, parts: Parts, seed: int) -> Density:
    if family == "gaussian":
        return LinearGaussian(y[parts.fit], None if x is None else x[parts.fit])
    if family == "autoregressive":
        return fit_autoregressive(y, x, parts, seed)
    raise ValueError(f"unknown family {family!r}: one of {', '.join(FAMILIES)}")


def _estimate(kind: Kind, train: Tensor, heldout: Tensor) -> Estimate:
    """Means of nats a sample as an estimate."""
    fitted, value = (nats_to_bits(float(each.mean())) for each in (train, heldout))
    error = nats_to_bits(float(heldout.std())) / math.sqrt(len(heldout))
    wrong = None if math.isfinite(value) else "the density model is not finite: rescale the samples"
    return Estimate(kind, fitted, value, standard_error_bits=error, diverged=wrong)
