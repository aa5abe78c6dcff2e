"""Why a price on the information of gates removes units: local minima for a quadratic loss.

With the weights of a network fixed and its loss, as a function of the gates z = mu + eps sigma of one
layer, replaced by a quadratic, the objective has closed forms, and the number of units that a local
minimum keeps is at most the rank of the quadratic.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SWEEPS = 3
ROUNDS = 300
TOLERANCE, CURVATURE_FLOOR, ROUNDING = 1e-10, 1e-13, 1e-14


@dataclass(frozen=True)
class GatedQuadratic:
    """A quadratic loss of Gaussian gates and the price of their rate, nats.

    With Q = A'A, q_j = Q_jj and z_j = mu_j + eps_j sigma_j ::

        L(mu, sigma) = E[z'Qz + b'z + c] + gamma / 2 sum_j log(1 + mu_j^2 / sigma_j^2)
                     = mu'Qmu + b'mu + c + sum_j [ q_j sigma_j^2 + gamma / 2 log(1 + mu_j^2 / sigma_j^2) ].

    *The best variance.* In s = sigma_j^2 the bracket is convex, and its derivative
    q - gamma mu^2 / (2 s (s + mu^2)) is zero where s^2 + s mu^2 - gamma mu^2 / (2 q) = 0. With m = |mu| and
    t = 2 gamma / q the positive root is s = (gamma / q) m / (m + sqrt(m^2 + t)). It is 0 where mu is; the
    rate of such a unit is the limit, 0.

    *The price of a mean.* At the best variance s + m^2 = m (m + sqrt(m^2 + t)) / 2, and the bracket
    is phi(m) with ::

        phi'(m)  = gamma m / (s + m^2) = q (sqrt(m^2 + t) - m) > 0,     phi'(0) = sqrt(2 gamma q),
        phi''(m) = -q (1 - m / sqrt(m^2 + t)) < 0,
        phi(m)   = q / 2 [ m sqrt(m^2 + t) + t asinh(m / sqrt t) - m^2 ]:

    increasing, strictly concave, with a kink at 0, and growing like gamma log m.

    *The number of units.* Let S be the units with mu_j != 0 at a local minimum. There the objective is smooth
    in mu_S and its second derivative, 2 A_S'A_S + diag(phi''), must not be negative in any direction. Along
    v != 0 with A_S v = 0 it is sum_j phi''_j v_j^2 < 0. So there is no such v: the columns A_S are linearly
    independent, and ``||mu||_0 <= rank(A)``. The linear term does not enter. The paper has rank(A) + 1, as
    would follow from counting the equations A mu = const and b'mu = const that leave the loss as it is: true,
    but its last unit is never there. rank(A) is attained, by orthogonal columns for instance.

    What does not hold: (i) ``||alpha||_0 = ||mu||_0`` for alpha = sigma^2 / mu^2, as the authors' program has
    it, which grows without bound as mu goes to 0; it holds for mu^2 / sigma^2. (ii) That a unit which is not
    zero has alpha < 1, the program's rule for keeping it: at the best variance alpha < 1 just where
    mu^2 > t / 8, and means between 0 and sqrt(t / 8) occur at local minima; the rule removes more. (iii) That
    there is a least value: if b is not in the range of A', the objective falls without bound along the part
    of -b that A does not see, linearly against a logarithm. If that part is small beside the kinks, there are
    local minima all the same, and they obey the bound. A loss that is bounded from below, such as any
    -log q(y | h) of classes, has b in that range.

    Args:
        a: A, (rows, units), no column of which is zero.
        b: linear term, (units,).
        gamma: price of a nat, positive.
        c: constant.

    Raises:
        ValueError: a shape or value above is broken.

    Source: Dai et al. 2018 (VIBNet), "analysis of tractable upper bounds"; the closed forms and the
    argument above are ours.
    """

    a: Array
    b: Array
    gamma: float
    c: float = 0.0

    def __post_init__(self) -> None:
        if self.a.ndim != 2 or self.b.shape != self.a.shape[1:]:
            raise ValueError(f"b must have one entry a column of A, got {self.b.shape} for {self.a.shape}")
        if not (np.isfinite(self.a).all() and np.isfinite(self.b).all() and 0 < self.gamma < np.inf):
            raise ValueError("A and b must be finite and gamma finite and positive")
        if not self.curvatures.all():
            j = int(self.curvatures.argmin())
            raise ValueError(f"column {j} of A is zero: noise in that unit costs nothing; leave it out")

    @property
    def curvatures(self) -> Array:
        """q_j = (A'A)_jj, (units,)."""
        return np.square(self.a).sum(0)

    @property
    def rank(self) -> int:
        """Rank of A: how many units a local minimum can keep."""
        return int(np.linalg.matrix_rank(self.a))

    @property
    def kinks(self) -> Array:
        """sqrt(2 gamma q_j), the slope of the price at mean 0, (units,); less of a gain keeps no unit."""
        return np.sqrt(2 * self.gamma * self.curvatures)

    def objective(self, mu: Array, variance: Array) -> float:
        """L(mu, sigma), nats; infinite where a unit has a mean and no noise.

        Args:
            mu: means, (units,).
            variance: sigma^2, (units,), not negative.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(mu == 0, 0.0, np.square(mu) / variance)
        rate = 0.5 * np.log1p(ratio).sum()
        return self._loss(mu) + float(self.curvatures @ variance + self.gamma * rate)

    def best_variance(self, mu: Array) -> Array:
        """The sigma_j^2 at which the objective is least for given means, (units,)."""
        m = np.abs(mu)
        return self.gamma / self.curvatures * m / (m + self._root(m))

    def price(self, mu: Array) -> Array:
        """phi_j(|mu_j|): what a mean costs at its best variance, nats, (units,)."""
        m, root, t = np.abs(mu), self._root(mu), 2 * self.gamma / self.curvatures
        # m (sqrt(m^2 + t) - m), written without the difference of large numbers.
        return self.curvatures / 2 * (t * m / (root + m) + t * np.arcsinh(m / np.sqrt(t)))

    def profile(self, mu: Array) -> float:
        """The objective at the best variances, nats."""
        return self._loss(mu) + float(self.price(mu).sum())

    def gradient(self, mu: Array) -> Array:
        """Derivative of the profile in the means, (units,); without the price where the mean is 0."""
        slope = 2 * self.gamma / (np.abs(mu) + self._root(mu))
        return 2 * self.a.T @ (self.a @ mu) + self.b + np.sign(mu) * slope

    def hessian(self, mu: Array) -> Array:
        """Second derivative of the profile in the means that are not 0, (kept, kept)."""
        some = mu != 0
        concave = self.curvatures * (1 - np.abs(mu) / self._root(mu))
        return 2 * self.a[:, some].T @ self.a[:, some] - np.diag(concave[some])

    def _loss(self, mu: Array) -> float:
        return float(np.square(self.a @ mu).sum() + self.b @ mu + self.c)

    def _root(self, mu: Array) -> Array:
        """sqrt(mu^2 + t)."""
        return np.sqrt(np.square(mu) + 2 * self.gamma / self.curvatures)


class LocalMinimum(NamedTuple):
    """Where a descent ended, with what shows that it is a local minimum."""

    mu: Array
    """Means, (units,); removed units have exactly 0."""
    variance: Array
    """sigma^2, (units,)."""
    value: float
    """The objective, nats."""
    slope: float
    """Greatest derivative over the kept units, as a share of |b_j| plus the kink: 0 but for rounding."""
    least_curvature: float
    """Least eigenvalue of the ``hessian`` where 2 q_j is the unit: positive; 1 if no unit is kept."""
    slack: float
    """1 - |derivative| / kink, least over the removed units: positive; 1 where nothing was removed."""

    @property
    def kept(self) -> int:
        """||mu||_0."""
        return int(np.count_nonzero(self.mu))


def find_local_minimum(problem: GatedQuadratic, start: Array) -> LocalMinimum:
    """Descend from given means to a local minimum, to rounding error.

    Three exact steps take turns, and none of them raises the objective:

    - One unit at a time, the others held: with g the derivative of the loss there at mean 0,
      q m^2 + g m + phi(m) is convex, and its minimum is m = -sign(g) max(0, |g| / (2 q) - gamma / |g|).
    - Newton's step in the means that are not 0, with absolute values of the curvatures, halved until the
      objective falls; a mean that would change its sign becomes 0.
    - From a saddle, where that leads nowhere, a step along the direction of the most negative curvature.

    It ends where the derivatives of kept units are zero, the second derivative is positive and no removed
    unit has a gain above its kink: conditions that suffice for a strict local minimum.

    Args:
        problem: the objective.
        start: means to start from, (units,).

    Raises:
        ValueError: the objective falls without bound on the way, as it may where b is not in the range of A',
            or no minimum was reached to the accuracy wanted.
    """
    mu = np.array(start, dtype=np.float64)
    if mu.shape != problem.b.shape or not np.isfinite(mu).all():
        raise ValueError(f"start must be finite, {problem.b.shape}, got {mu.shape}")
    for _ in range(ROUNDS):
        _sweep(problem, mu)
        found = _examine(problem, mu)
        if found.slope < TOLERANCE and found.least_curvature > 0 and found.slack >= 0:
            return found
        mu = _step_in_kept_units(problem, mu)
    seen = problem.a.T @ np.linalg.lstsq(problem.a.T, problem.b, rcond=None)[0]
    if np.linalg.norm(problem.b - seen) > 1e-9 * np.linalg.norm(problem.b):
        raise ValueError("b is not in the range of A', and from this start the objective falls without bound")
    raise ValueError(f"no local minimum after {ROUNDS} rounds: some columns of A all but depend on others")


def _examine(problem: GatedQuadratic, mu: Array) -> LocalMinimum:
    """The conditions of a strict local minimum at ``mu``, free of units."""
    some, variance = mu != 0, problem.best_variance(mu)
    gradient = np.abs(problem.gradient(mu))
    scales = np.sqrt(2 * problem.curvatures[some])
    curvature = np.linalg.eigvalsh(problem.hessian(mu) / np.outer(scales, scales)).min(initial=1.0)
    slope = (gradient / (np.abs(problem.b) + problem.kinks))[some].max(initial=0.0)
    slack = (1 - gradient / problem.kinks)[~some].min(initial=1.0)
    value = problem.objective(mu, variance)
    return LocalMinimum(mu + 0.0, variance, value, float(slope), float(curvature), float(slack))


def _sweep(problem: GatedQuadratic, mu: Array) -> None:
    """Set every mean to its best given the others, several times over; in place."""
    residual, q = problem.a @ mu, problem.curvatures
    for _ in range(SWEEPS):
        for j, column in enumerate(problem.a.T):
            residual -= column * mu[j]
            gain = float(2 * column @ residual + problem.b[j])
            size = abs(gain) / (2 * q[j]) - problem.gamma / abs(gain) if gain else 0.0
            mu[j] = -np.sign(gain) * max(size, 0.0)
            residual += column * mu[j]


def _step_in_kept_units(problem: GatedQuadratic, mu: Array) -> Array:
    """One step of Newton's method; where that leads nowhere, one along a direction of negative curvature."""
    some = mu != 0
    # In means scaled by their own curvature, so that units of different size are comparable.
    scales = np.sqrt(2 * problem.curvatures[some])
    values, vectors = np.linalg.eigh(problem.hessian(mu) / np.outer(scales, scales))
    slope = vectors.T @ (problem.gradient(mu)[some] / scales)
    newton, escape = np.zeros_like(mu), np.zeros_like(mu)
    # Absolute values: downhill along every eigenvector, whatever the sign of its curvature.
    newton[some] = -vectors @ (slope / np.maximum(np.abs(values), CURVATURE_FLOOR)) / scales
    convex = bool(values[0] > 0)
    reached = _downhill(problem, mu, newton, ROUNDING if convex else 0.0)
    if reached is None and not convex:
        escape[some] = (-1.0 if slope[0] > 0 else 1.0) * vectors[:, 0] / scales
        reached = _downhill(problem, mu, escape * np.abs(mu).max() / np.abs(escape).max(), 0.0)
    return mu if reached is None else reached


def _downhill(problem: GatedQuadratic, mu: Array, direction: Array, rounding: float) -> Array | None:
    """``mu`` plus the first of 1, 1/2, 1/4, ... times ``direction`` that is lower; signs do not change."""
    before, step = problem.profile(mu), 1.0
    while step > ROUNDING:
        reached = mu + step * direction
        reached[reached * mu < 0] = 0.0
        change = problem.profile(reached) - before
        if change < 0 or change < rounding * abs(before):
            return reached
        step /= 2
    return None
