"""How few bits describe a linear model f_w(x) = w'x up to a given distortion, bits, float64.

Weights are drawn from N(0, S_W) and the distortion, in the unit of the squared output, is ::

    D = E[(f_W(X) - f_W_hat(X))^2] = E[(W - W_hat)' S_X (W - W_hat)].

A mean that both ends know changes nothing: subtract it first. For other models the weight importance matrix,
equation 5, takes the place of S_X, and everything is about the quadratic it makes.

Source: Gao et al. 2019 (Rate distortion for model compression), sections 3 and 4 and appendix A.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ibsuite.units import nats_to_bits


def gaussian_rate_bits(variance: Tensor | float, distortion: Tensor | float) -> Tensor:
    """R(D) of one Gaussian number under squared error, bits.

    R = max(0, 1/2 log(variance / D)).

    Args:
        variance: of the source, at least 0; any shape.
        distortion: D, positive; any shape that broadcasts.

    Raises:
        ValueError: an argument is outside the above.

    Source: Gao et al. 2019, example 1.
    """
    v = torch.as_tensor(variance, dtype=torch.float64)
    if not bool((v.isfinite() & (v >= 0)).all()):
        raise ValueError("a variance must be finite and at least 0")
    return nats_to_bits(0.5 * (v / _distortion(distortion)).log().clamp(min=0.0))


class WaterFilling:
    """Weighted water-filling over independent weights: levels and R(D) for as many D as wanted, exact.

    Weight i is a rectangle of width lambda_i and height E W_i^2. The same volume mu of water flows into all
    that are not full::

        D_i = min(mu / lambda_i, E W_i^2),    sum_i lambda_i D_i = D,
        R(D) = 1/2 sum_i log(E W_i^2 / D_i),  0 from D = sum_i lambda_i E W_i^2 on.

    Between two of the volumes lambda_i E W_i^2, mu is linear in D, so one sort answers every D. A weight
    without importance is left out (D_i = E W_i^2, as its rectangle has no width), and one without variance is
    known (D_i = 0): neither takes part in D or R.

    Args:
        importance: lambda, (m,), at least 0: variances of the inputs, or the diagonal of equation 5.
        variance: E W_i^2, (m,), at least 0.

    Raises:
        ValueError: an argument is outside the above.

    Source: Gao et al. 2019, theorem 2 and appendix A.2.
    """

    def __init__(self, importance: Tensor, variance: Tensor) -> None:
        self.importance, self.variance = _diagonal(importance, "importance"), _diagonal(variance, "variance")
        if self.importance.shape != self.variance.shape:
            raise ValueError(f"{len(self.importance)} importances do not fit {len(self.variance)} variances")
        volumes = self.importance * self.variance
        self._volumes = volumes[volumes > 0].sort().values
        self._left = torch.arange(len(self._volumes), 0, -1, device=volumes.device)
        self._below = torch.cat([volumes.new_zeros(1), self._volumes])[:-1]
        # Sums of steps that are never negative: sorted for the search below, and no difference of large sums.
        self._ends = (self._left * (self._volumes - self._below)).cumsum(0)
        steps = 0.5 * self._left[1:] * (self._volumes[1:] / self._volumes[:-1]).log()
        self._rates_nats = torch.cat([steps.flip(0).cumsum(0).flip(0), steps.new_zeros(1)])

    @property
    def break_points(self) -> "BreakPoints":
        """Where a rectangle gets full: the curve is smooth in between, and 0 from the last one on."""
        return BreakPoints(self._ends, nats_to_bits(self._rates_nats[: len(self._ends)]))

    def mu(self, distortion: Tensor | float) -> Tensor:
        """Volume of water in every rectangle that is not full, in units of D and in its shape.

        From the last break point on all are full, and mu stays the largest of the volumes.

        Args:
            distortion: D, positive; any shape.

        Raises:
            ValueError: a distortion is not positive.
        """
        return self._search(_distortion(distortion))[1]

    def levels(self, distortion: Tensor | float) -> Tensor:
        """Squared error D_i left to each weight, (*D, m), in units of W^2.

        Args:
            distortion: D, positive; any shape.

        Raises:
            ValueError: a distortion is not positive.
        """
        mu = self.mu(distortion).unsqueeze(-1)
        full = self.importance * self.variance <= mu
        return torch.where(full, self.variance, mu / self.importance)

    def rate_bits(self, distortion: Tensor | float) -> Tensor:
        """R(D) of all weights together, bits, in the shape of D.

        Args:
            distortion: D, positive; any shape.

        Raises:
            ValueError: a distortion is not positive.
        """
        full, mu = self._search(_distortion(distortion))
        if not len(self._volumes):
            return torch.zeros_like(mu)
        k = full.clamp(max=len(self._volumes) - 1)
        nats = self._rates_nats[k] + 0.5 * self._left[k] * (self._volumes[k] / mu).log()
        return nats_to_bits(torch.where(full < len(self._volumes), nats, 0.0))

    def _search(self, d: Tensor) -> tuple[Tensor, Tensor]:
        """How many rectangles are full at each D, and mu."""
        d = d.to(self._ends.device)
        if not len(self._volumes):
            return torch.zeros_like(d, dtype=torch.int64), torch.zeros_like(d)
        full = torch.searchsorted(self._ends, d, right=True)
        k = full.clamp(max=len(self._volumes) - 1)
        begins = torch.cat([self._ends.new_zeros(1), self._ends])[k]
        mu = torch.minimum(self._below[k] + (d - begins) / self._left[k], self._volumes[k])
        return full, mu


class BreakPoints(NamedTuple):
    """Where a rectangle of the water-filling gets full, least distortion first; equal ones are repeated."""

    distortion: Tensor
    """D, (weights that matter,)."""
    rate_bits: Tensor
    """R(D), (weights that matter,), bits."""


def linear_rate_bound_bits(importance: Tensor, covariance: Tensor, distortion: Tensor | float) -> Tensor:
    """Lower bound on R(D) of a linear model with independent inputs, bits, in the shape of D.

    With D_i of ``WaterFilling`` for the variances of W ::

        R(D) >= max(0, 1/2 log det S_W - 1/2 sum_i log D_i).

    That is R(D) of independent weights less their total correlation, -1/2 log det of the correlations. For a
    diagonal S_W it is R(D) itself. For another it lies below ``linear_rate_bits`` and without the maximum it
    would turn negative. Weights without importance or variance are left out of S_W first: W_hat says at least
    as much about all of W as about the rest. Where the rest is singular nothing but 0 remains of the bound.

    Args:
        importance: lambda, the diagonal of S_X, (m,), at least 0.
        covariance: S_W, (m, m), positive semidefinite, or its diagonal, (m,).
        distortion: D, positive; any shape.

    Raises:
        ValueError: an argument is outside the above.

    Source: Gao et al. 2019, theorem 2.
    """
    s = _semidefinite(covariance, "covariance")
    filling = WaterFilling(importance, s if s.ndim == 1 else s.diagonal())
    bits = filling.rate_bits(distortion)
    if s.ndim == 1:
        return bits
    matter = filling.importance * filling.variance > 0
    deviation = filling.variance[matter].sqrt()
    correlation = s[matter][:, matter] / deviation / deviation[:, None]
    factor, singular = torch.linalg.cholesky_ex(correlation)
    if bool(singular):
        return torch.zeros_like(bits)
    return (bits + nats_to_bits(factor.diagonal().log().sum())).clamp(min=0.0)


def linear_rate_bits(importance: Tensor, covariance: Tensor, distortion: Tensor | float) -> Tensor:
    """R(D) of a linear model, exact for all inputs and Gaussian weights, bits, in the shape of D.

    V = S_X^1/2 W is Gaussian and D = E |V - V_hat|^2, so this is reverse water-filling on the eigenvalues s_j
    of S_X^1/2 S_W S_X^1/2::

        R(D) = 1/2 sum_j max(0, log(s_j / mu)),    sum_j min(mu, s_j) = D.

    Args:
        importance: S_X, (m, m), positive semidefinite, or its diagonal, (m,).
        covariance: S_W, (m, m), positive semidefinite, or its diagonal, (m,).
        distortion: D, positive; any shape.

    Raises:
        ValueError: an argument is outside the above.

    Source: Cover & Thomas 2006, theorem 10.3.3 (parallel Gaussian sources), after that change of coordinates.
    """
    s_x, s_w = _semidefinite(importance, "importance"), _semidefinite(covariance, "covariance")
    if len(s_x) != len(s_w):
        raise ValueError(f"importance of {len(s_x)} weights does not fit a covariance of {len(s_w)}")
    if s_x.ndim == s_w.ndim == 1:
        return WaterFilling(s_x, s_w).rate_bits(distortion)
    root = _root(s_x)
    spectrum = torch.linalg.eigvalsh(root @ (s_w.diag() if s_w.ndim == 1 else s_w) @ root)
    # Zeros of singular matrices come out as rounding errors of either sign.
    spectrum = spectrum.clamp(min=0.0)
    return WaterFilling(torch.ones_like(spectrum), spectrum).rate_bits(distortion)


def entropy_bound_bits(covariance: Tensor, squared_errors: Tensor) -> Tensor:
    """Lower bound on I(W; W_hat) of any compressor that leaves those errors to Gaussian weights, bits.

    I >= h(W) - sum_i min{h(W_i), 1/2 log(2 pi e E_i)} = 1/2 log det S_W - 1/2 sum_i log min{E W_i^2, E_i}.

    Not cut off at 0. The least of it over all E with sum_i lambda_i E_i <= D is theorem 2.

    Args:
        covariance: S_W, (m, m), positive definite, or its diagonal, (m,), positive.
        squared_errors: E_i = E[(W_i - W_hat_i)^2], (..., m), at least 0; a single 0 costs infinitely
            many bits.

    Raises:
        ValueError: an argument is outside the above.

    Source: Gao et al. 2019, lemma 1.
    """
    s, errors = _semidefinite(covariance, "covariance"), squared_errors.double()
    if not errors.ndim or errors.shape[-1] != len(s) or not bool((errors >= 0).all()):
        raise ValueError(f"squared errors must be (..., {len(s)}) and at least 0, got {tuple(errors.shape)}")
    factor, singular = torch.linalg.cholesky_ex(s.diag() if s.ndim == 1 else s)
    if bool(singular):
        raise ValueError("the covariance must be positive definite: leave out weights that are known")
    variance = s if s.ndim == 1 else s.diagonal()
    nats = factor.diagonal().log().sum() - 0.5 * torch.minimum(variance, errors).log().sum(-1)
    return nats_to_bits(nats)


def gaussian_test_channel(
    weights: Tensor, importance: Tensor, variance: Tensor, distortion: float, generator: torch.Generator
) -> Tensor:
    """Compressed weights W_hat that reach D at exactly R(D) bits of information, (n, m), float64.

    With D_i of ``WaterFilling``, where W_i = W_hat_i + Z_i, W_hat_i ~ N(0, E W_i^2 - D_i), Z_i ~ N(0, D_i)::

        W_hat_i = a_i W_i + sqrt(a_i D_i) eps_i,    a_i = 1 - D_i / E W_i^2,    eps_i ~ N(0, 1).

    A full rectangle, D_i = E W_i^2, gives W_hat_i = 0. (Algorithm 1 as printed has its two branches the other
    way round.) It is the law that codes of many models together come near to, not a code for one model.

    Args:
        weights: draws of W from N(0, diag(variance)), (n, m).
        importance: lambda, (m,), at least 0.
        variance: E W_i^2, (m,), at least 0.
        distortion: D, positive.
        generator: of the draws eps.

    Raises:
        ValueError: an argument is outside the above.

    Source: Gao et al. 2019, theorem 3 and algorithm 1.
    """
    filling = WaterFilling(importance, variance)
    if weights.ndim != 2 or weights.shape[1] != len(filling.variance):
        raise ValueError(f"weights must be (n, {len(filling.variance)}), got {tuple(weights.shape)}")
    levels = filling.levels(distortion)
    kept = torch.where(filling.variance > 0, 1 - levels / filling.variance, 0.0)
    noise = torch.randn(weights.shape, dtype=torch.float64, generator=generator)
    return kept * weights.double() + (kept * levels).sqrt() * noise


class UniformCode(NamedTuple):
    """Weights rounded to multiples of their steps, and what an entropy coder needs for them."""

    weights: Tensor
    """Rounded, in the shape of the weights, float64."""
    bits: Tensor
    """Of each weight, in the same shape: -log2 of the probability that a Gaussian weight is rounded to it."""


def entropy_coded_uniform(weights: Tensor, variance: Tensor, step: Tensor) -> UniformCode:
    """Uniform scalar quantisation of Gaussian weights, with the ideal code for its integers, bits.

    For q = round(w / step) and a weight of standard deviation s it is ::

        -log2[Phi((q + 1/2) step / s) - Phi((q - 1/2) step / s)].

    Its mean over draws estimates the entropy of q, without the bias of counted frequencies. At small steps
    the squared error is step^2 / 12 and the entropy R(D) plus 1/2 log2(2 pi e / 12) = 0.2546 bits a weight.

    Args:
        weights: draws of W, (..., m).
        variance: E W_i^2, (m,), positive.
        step: (m,) or one number, positive.

    Raises:
        ValueError: an argument is outside the above.

    Source: Cover & Thomas 2006, theorem 8.3.1 (entropy of a quantised variable).
    """
    w, v, step = weights.double(), _diagonal(variance, "variance"), torch.as_tensor(step).double()
    if not (bool((v > 0).all()) and bool((step > 0).all())):
        raise ValueError("variances and steps must be positive")
    q = (w / step).round()
    scale = step / v.sqrt()
    # Both ends on the side where erfc is small: torch's own normal distribution function is 0 in the tail.
    inner, outer = (0.5 * torch.erfc((q.abs() - shift) * scale * 0.5**0.5) for shift in (0.5, -0.5))
    return UniformCode(q * step, nats_to_bits(-(inner - outer).log()))


def _distortion(distortion: Tensor | float) -> Tensor:
    d = torch.as_tensor(distortion, dtype=torch.float64)
    if not bool((d > 0).all()):
        raise ValueError("a distortion must be positive: weights without any error cost infinitely many bits")
    return d


def _diagonal(values: Tensor, name: str) -> Tensor:
    v = values.detach().double()
    if v.ndim != 1 or not bool((v.isfinite() & (v >= 0)).all()):
        raise ValueError(f"{name} must be (m,), finite and at least 0, got {tuple(v.shape)}")
    return v


def _semidefinite(matrix: Tensor, name: str) -> Tensor:
    """A checked covariance, as a diagonal (m,) or a matrix (m, m)."""
    if matrix.ndim == 1:
        return _diagonal(matrix, name)
    s = matrix.detach().double()
    if s.ndim != 2 or s.shape[0] != s.shape[1] or not bool(s.isfinite().all()) or not torch.allclose(s, s.T):
        raise ValueError(f"{name} must be (m,) or a finite symmetric (m, m), got {tuple(s.shape)}")
    spectrum = torch.linalg.eigvalsh(s)
    least = float(spectrum[0])
    if least < -1e-9 * float(spectrum.abs().max()):
        raise ValueError(f"{name} must be positive semidefinite, its least eigenvalue is {least:g}")
    return s


def _root(s: Tensor) -> Tensor:
    """The symmetric square root, (m, m), of a matrix or a diagonal."""
    if s.ndim == 1:
        return s.sqrt().diag()
    values, vectors = torch.linalg.eigh(s)
    return (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
